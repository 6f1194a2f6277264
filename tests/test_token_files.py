"""Files of tokens as corpora and tools write them: quotes, empty lines, comments, columns and tags."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from labelled import read

from genner_cli.data.tags import Span, decode, is_tag
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, format_of
from genner_cli.files.converting import Conversion, convert


def converted(tmp_path: Path, name: str, content: str, **options: Any) -> tuple[list[dict[str, Any]], Conversion]:
    """The records of a file with this content, and what was dropped."""
    path, out = tmp_path / name, tmp_path / "out.jsonl"
    path.write_text(content, newline="")
    format = format_of(name, option="--from")
    done = convert((str(path), format), (str(out), "jsonl"), AnnotationOptions(**options))
    return read(out), done


def tokens(record: dict[str, Any]) -> list[str]:
    return [record["text"][start:end] for start, end in record["tokens"]]


def found(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entity["label"], entity["text"]) for entity in record["entities"]]


def lines_of(done: Conversion) -> list[str]:
    """The file line of each problem."""
    return [problem.message.split(":")[1] for problem in done.problems]


# quotes, empty rows and lines of tables


def test_a_double_quote_is_a_token_of_a_tsv(tmp_path: Path) -> None:
    (record,), done = converted(tmp_path, "a.tsv", 'token\ttag\n"\tO\nAda\tB-PER\n"\tO\nsang\tO\n')
    assert tokens(record) == ['"', "Ada", '"', "sang"]
    assert found(record) == [("PER", "Ada")]
    assert not done.dropped.counts


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.tsv", 'token\ttag\n"\tO\nAda\tB-PER\nsang\tO\n'),
        ("a.tsv", 'token\tlemma\ttag\n"\t"\tO\nAda\tAda\tB-PER\n'),
        ("a.csv", 'token,tag\n",O\nAda,B-PER\n",O\n'),
        ("a.csv", 'token,tag\n"""",O\n"Ada",B-PER\n'),
        ("a.tsv", 'token\ttag\n""""\tO\nAda\tB-PER\n'),
        ("a.tsv", 'token\ttag\n"a "b"\tO\nAda\tB-PER\n'),
    ],
)
def test_quotes_are_tokens_where_they_do_not_quote(tmp_path: Path, name: str, content: str) -> None:
    (record,), done = converted(tmp_path, name, content)
    assert tokens(record)[0].startswith('"')
    assert len(tokens(record)) == content.count("\n") - 1
    assert found(record) == [("PER", "Ada")]
    assert not done.problems


def test_quoted_cells_of_a_csv_hold_separators_quotes_and_line_ends(tmp_path: Path) -> None:
    content = 'token,note,tag\n"1,000","a\nb",O\n"say ""x""",,B-X\n","," ",O\n'
    (record,), _ = converted(tmp_path, "a.csv", content)
    assert tokens(record) == ["1,000", 'say "x"', ","]
    assert found(record) == [("X", 'say "x"')]


def test_empty_rows_divide_a_table_without_a_column_of_documents(tmp_path: Path) -> None:
    records, _ = converted(tmp_path, "a.tsv", "token\ttag\nAda\tB-PER\nsang\tO\n\nBob\tB-PER\n")
    assert [record["text"] for record in records] == ["Ada sang", "Bob"]
    records, _ = converted(tmp_path, "a.csv", "token,tag\nAda,B-PER\n,\n\nBob,B-PER\r\n\r\n")
    assert [found(record) for record in records] == [[("PER", "Ada")], [("PER", "Bob")]]
    records, _ = converted(tmp_path, "a.csv", "id,token,tag\n1,Ada,B-PER\n\n,sang,O\n2,Bob,O\n")
    assert [(record["id"], record["text"]) for record in records] == [("1", "Ada sang"), ("2", "Bob")]


def test_a_row_with_a_cell_too_few_or_too_many_spoils_its_document_alone(tmp_path: Path) -> None:
    content = "token,tag\nAda,B-PER\nsang\n\nBob,O\n\na,b,O\n\nEve,B-\n"
    records, done = converted(tmp_path, "a.csv", content)
    assert [record["text"] for record in records] == ["Bob"]
    assert lines_of(done) == ["3", "7", "9"]


def test_a_file_behind_tsv_that_is_no_table_is_named(tmp_path: Path) -> None:
    for content, what in {
        "Ada\tB-PER\nsang\tO\n": "--from conll",
        "#FORMAT=WebAnno TSV 3.3\n\n": "WebAnno TSV",
        "": "no header",
    }.items():
        records, done = converted(tmp_path, "a.tsv", content)
        assert not records
        assert what in done.problems[0].message


def test_hipe_tables_have_comments_and_say_where_no_space_is(tmp_path: Path) -> None:
    content = (
        "TOKEN\tNE-COARSE-LIT\tNE-FINE-LIT\tMISC\n# hipe2022:document_id = NZZ-1\n# hipe2022:date = 1798\n"
        'Ada\tB-pers\t_\tNoSpaceAfter\n"\tO\t_\t_\n# segment_iiif_link = _\nsang\tO\t_\tEndOfLine\n\n'
        "# hipe2022:document_id = NZZ-2\nBob\tB-pers\t_\t_\n"
    )
    records, done = converted(tmp_path, "a.tsv", content)
    assert [(record["document"], record["text"]) for record in records] == [("NZZ-1", 'Ada" sang'), ("NZZ-2", "Bob")]
    assert [found(record) for record in records] == [[("pers", "Ada")], [("pers", "Bob")]]
    assert done.dropped.counts == {"comments": 2, "columns 'NE-FINE-LIT'": 1}


# comments and markers


def test_comments_and_markers_are_no_tokens_and_lose_no_sentence(tmp_path: Path) -> None:
    content = (
        "#begin document (a); part 000\nAda B-PER\nsang O\n#end document\n#begin document (a); part 001\nBob B-PER\n"
        "#end document\n"
    )
    records, done = converted(tmp_path, "a.conll", content)
    assert [(record["document"], record["text"]) for record in records] == [
        ("a; part 000", "Ada sang"),
        ("a; part 001", "Bob"),
    ]
    assert not done.dropped.counts
    whole, _ = converted(tmp_path, "a.conll", content, whole=True)
    assert [record["id"] for record in whole] == ["a; part 000", "a; part 001"]


def test_multiconer_comments_give_ids_and_fields(tmp_path: Path) -> None:
    content = "# id 7-a\tdomain=en\nAda _ _ B-PER\nsang _ _ O\n\n# id 7-b\tdomain=en\n# _ _ O\n"
    records, done = converted(tmp_path, "a.conll", content)
    assert [(r["id"], r["domain"], r["text"]) for r in records] == [("7-a", "en", "Ada sang"), ("7-b", "en", "#")]
    assert found(records[0]) == [("PER", "Ada")]
    assert not done.dropped.counts


@pytest.mark.parametrize("between", ["\n", ""])
def test_germeval_has_numbered_tokens_and_two_columns_of_tags(tmp_path: Path, between: str) -> None:
    content = (
        "#\thttp://x.example\t[2010-03-13]\n1\tUni\tB-ORG\tO\n2\tOslo\tI-ORG\tB-LOC\n"
        f"{between}#\thttp://y.example\t[2011-01-01]\n1\tAda\tB-PER\tO\n"
    )
    records, done = converted(tmp_path, "a.conll", content)
    assert [record["text"] for record in records] == ["Uni Oslo", "Ada"]
    assert (records[0]["source"], records[0]["date"]) == ("http://x.example", "2010-03-13")
    assert found(records[0]) == [("ORG", "Uni Oslo"), ("LOC", "Oslo")]
    assert not done.dropped.counts


def test_conll_u_comments_ranges_empty_nodes_and_glued_tokens(tmp_path: Path) -> None:
    content = (
        "# global.columns = ID FORM NER MISC\n# newdoc id = d1\n# newpar id = p1\n# sent_id = s1\n# text_en = x\n"
        "1-2\tdu\t_\tSpaceAfter=No\n1\tde\tO\t_\n2\tle\tB-LOC\t_\n2.1\tbe\tO\t_\n3\t.\tO\t_\n\n"
        "# newdoc\n1\tAda\tB-PER\t_\n"
    )
    records, done = converted(tmp_path, "a.conll", content, tag_column="2")
    assert [(r.get("id"), r["document"], r["text"]) for r in records] == [("s1", "d1", "du."), (None, 1, "Ada")]
    assert found(records[0]) == [("LOC", "du")]
    assert done.dropped.counts["comments"] == 2


@pytest.mark.parametrize(
    ("marker", "document"),
    [
        ("-DOCSTART- -X- -X- O", 0),
        ("-DOCSTART-\tO", 0),
        ("-DOCSTART- (947testa CRICKET)", "947testa CRICKET"),
        ("###MEDLINE:95369245", "MEDLINE:95369245"),
        ("# newdoc", 0),
        ("# doc_id = 354896", "354896"),
        ("# document_id = NZZ-1", "NZZ-1"),
        ("#begin document bc/x", "bc/x"),
    ],
)
@pytest.mark.parametrize("between", ["", "\n", "\n\n"])
def test_a_marker_begins_a_document_with_or_without_an_empty_line(
    tmp_path: Path, marker: str, document: str | int, between: str
) -> None:
    records, _ = converted(tmp_path, "a.conll", f"Ada B-PER{between}\n{marker}\n{between}Bob B-PER\n")
    assert [record["text"] for record in records] == ["Ada", "Bob"]
    assert [record.get("document") for record in records] == [None, document]


def test_names_of_documents_come_back(tmp_path: Path) -> None:
    converted(tmp_path, "a.conll", "#begin document (a); part 000\nAda B-PER\n\n#end document\n")
    convert((str(tmp_path / "out.jsonl"), "jsonl"), (str(tmp_path / "b.conll"), "conll"), AnnotationOptions())
    records, _ = converted(tmp_path, "c.conll", (tmp_path / "b.conll").read_text())
    assert [(record["document"], record["text"]) for record in records] == [("a; part 000", "Ada")]


@pytest.mark.parametrize("line", ["# O", "#1 O", "#\tO", "#tag NN B-X", "# I-X"])
@pytest.mark.parametrize("before", ["", "Ada O\n"])
def test_a_number_sign_with_a_tag_is_a_token(tmp_path: Path, line: str, before: str) -> None:
    (record,), _ = converted(tmp_path, "a.conll", f"{before}{line}\nsang O\n")
    assert len(tokens(record)) == 2 + bool(before)
    assert line.split()[0] in tokens(record)


def test_columns_of_conll_2012_are_known_and_its_brackets_read(tmp_path: Path) -> None:
    row = "bc/x 0 {} {} NN * - - - A {} * -"
    words = [("Ada", "(PERSON*"), ("King", "*)"), ("saw", "*"), ("Oslo", "(GPE)")]
    rows = [row.format(number, word, tag).replace(" ", "   ") for number, (word, tag) in enumerate(words)]
    content = "\n".join(["#begin document (bc/x); part 000", *rows, "", "#end document", ""])
    (record,), _ = converted(tmp_path, "a.conll", content)
    assert record["text"] == "Ada King saw Oslo"
    assert found(record) == [("PERSON", "Ada King"), ("GPE", "Oslo")]


# separators, empty tokens, tags


def test_a_separator_at_the_end_and_runs_of_spaces_are_no_columns(tmp_path: Path) -> None:
    (record,), done = converted(tmp_path, "a.conll", "Ada\tB-PER\t\nKing\tI-PER \t\nsang\tO\n")
    assert found(record) == [("PER", "Ada King")]
    assert not done.dropped.counts
    (record,), _ = converted(tmp_path, "a.conll", "Ada   B-PER  \nsang O\n")
    assert found(record) == [("PER", "Ada")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.conll", "Ada\tB-PER\n\tI-PER\n \tO\n\u00a0\tO\nsang\tO\n"),
        ("a.conll", "Ada B-PER\n I-PER\n\u00a0 O\n\ufeff O\nsang O\n"),
        ("a.tsv", "token\ttag\nAda\tB-PER\n\tI-PER\n \tO\n\u2003\tO\nsang\tO\n"),
    ],
)
def test_a_token_of_white_space_is_left_out_and_counted(tmp_path: Path, name: str, content: str) -> None:
    (record,), done = converted(tmp_path, name, content)
    assert tokens(record) == ["Ada", "sang"]
    assert found(record) == [("PER", "Ada")]
    assert done.dropped.counts == {"tokens of white space alone": 3}


def test_a_message_names_the_line_of_the_tag(tmp_path: Path) -> None:
    content = "# id = a\n# x\nAda\tB-PER\n# y\nsang\tFOO\n\nBob\tO\nEve\n"
    records, done = converted(tmp_path, "a.conll", content)
    assert not records
    assert lines_of(done) == ["5", "8"]


def test_scripts_without_spaces_are_joined_without(tmp_path: Path) -> None:
    (record,), _ = converted(tmp_path, "a.conll", "สมชาย\tB-PER\nไป\tO\nกรุงเทพ\tB-LOC")
    assert record["text"] == "สมชายไปกรุงเทพ"
    assert [(e["label"], e["start"], e["end"]) for e in record["entities"]] == [("PER", 0, 5), ("LOC", 7, 14)]


@pytest.mark.parametrize(
    "tags",
    [
        "B-A I-A O B-B",
        "I-A I-A O I-B",
        "B-A L-A O U-B",
        "B-A E-A O S-B",
        "B-A M-A E-A O S-B",
        "B-A M-A E-A O W-B",
        "I-A E-A O E-B",
        "B_A I_A O B_B",
        "(A* *) * (B)",
        "(A* * *) * (B*)",
    ],
)
def test_tags_of_other_schemes_are_read(tags: str) -> None:
    every = tags.split()
    length = len(every)
    assert all(map(is_tag, every))
    assert decode(every) == [Span(0, length - 2, "A"), Span(length - 1, length, "B")]


@pytest.mark.parametrize("tags", ["(A* *", "*)", "(A* (B*)", "* O", "(A* )"])
def test_brackets_that_do_not_match_are_refused(tags: str) -> None:
    with pytest.raises(DataError):
        decode(tags.split())
