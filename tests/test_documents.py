"""genner_cli.files.documents and folders: files of other kinds -> documents whose text the record has."""

from __future__ import annotations

import csv
import gzip
import io
import os
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from resuming import write_documents
from strategies import examples, hostile_text

from genner_cli.errors import UsageError
from genner_cli.files.annotations import input_format
from genner_cli.files.blocks import Shard
from genner_cli.files.documents import DOCUMENT_FORMATS, document_format
from genner_cli.files.reading import document_of, expand, read_documents, total_bytes
from genner_cli.types import Document, FailedDocument

Record = Document | FailedDocument


def read(folder: Path, name: str, content: bytes, **options: Any) -> list[Record]:
    path = folder / name
    path.write_bytes(content)
    return list(read_documents(expand([str(path)]), **options))


def one(folder: Path, name: str, content: bytes, **options: Any) -> Document:
    (document,) = read(folder, name, content, **options)
    assert isinstance(document, Document), document.message
    return document


# tables of documents


def test_a_row_is_a_document_and_the_other_columns_are_carried_through(tmp_path: Path) -> None:
    content = '\ufeffid,text,page\n7,"Ann said ""no"",\r\nand left.",1\n\n8,Bob,\n'.encode()
    first, second = read(tmp_path, "docs.csv", content)
    assert first == Document(
        'Ann said "no",\r\nand left.', "7", fields={"id": "7", "page": "1"}, source=f"{tmp_path}/docs.csv:2"
    )
    assert (second.id, second.fields, second.source) == ("8", {"id": "8", "page": ""}, f"{tmp_path}/docs.csv:5")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text;n\nAnn, here;1\n"),
        ("a.csv", b"text\tn\nAnn, here\t1\n"),
        ("a.tsv", b"text\tn\nAnn, here\t1\n"),
        ("a.tsv.gz", gzip.compress(b"text\tn\r\nAnn, here\t1\r\n", mtime=0)),
        ("a.csv", b'text,n\n"Ann, here",1'),
    ],
)
def test_the_separator_is_that_of_the_header(tmp_path: Path, name: str, content: bytes) -> None:
    document = one(tmp_path, name, content)
    assert (document.text, document.fields) == ("Ann, here", {"n": "1"})


cells = st.one_of(hostile_text(most=20), st.sampled_from(['"', '""', "\r", "\n", "a\r\nb", ",", " x ", "\t"]))


@examples(60)
@given(st.lists(st.tuples(cells, cells), max_size=5), st.sampled_from(["docs.csv", "docs.tsv"]))
def test_what_a_csv_writer_writes_is_read_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], name: str
) -> None:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if name.endswith("tsv") else ",")
    writer.writerows([("text", "other"), *rows])
    found = read(tmp_path_factory.mktemp("csv"), name, buffer.getvalue().encode())
    assert [record.fields for record in found] == [{"other": other} for _, other in rows]
    for record, (text, _) in zip(found, rows, strict=True):
        assert isinstance(record, FailedDocument) if "\0" in text else record.text == text


def test_a_broken_row_is_a_failure_with_its_line_and_the_next_one_follows(tmp_path: Path) -> None:
    rows = [b"id,text", b"1,Ann,more", b'2,"Bob"x', b"3", b"4,\xe9t\xe9", b"5,Eve", b'6,"never closed', b"7,lost"]
    found = read(tmp_path, "docs.csv", b"\n".join(rows))
    assert [record.source.rpartition(":")[2] for record in found] == ["2", "3", "4", "5", "6", "7"]
    assert [type(record) for record in found] == [FailedDocument] * 4 + [Document, FailedDocument]
    assert "lines 7 to 8 are left out" in found[-1].message
    assert (found[0].id, found[3].id) == ("1", "4")
    assert "not UTF-8 at byte 2 (0xe9)" in found[3].message


def test_the_place_of_a_byte_that_is_not_utf8_is_in_the_message(tmp_path: Path) -> None:
    header, row = (read(tmp_path, "a.csv", rows)[0] for rows in (b"text,\xe9\nx,y\n", b'text,n\n"a\nb\xe9",1\n'))
    assert header.message.startswith(f"{tmp_path}/a.csv:1: not UTF-8 at byte 5 (0xe9)")
    assert row.message.startswith(f"{tmp_path}/a.csv:3: not UTF-8 at byte 1 (0xe9)"), "the line in which it is"
    assert row.source == f"{tmp_path}/a.csv:2"


def test_quotes_between_tabs_that_are_not_those_of_csv_are_text(tmp_path: Path) -> None:
    found = read(tmp_path, "docs.tsv", b'text\tid\n"Ann" she said\t1\n"Bob ""B."" Ray"\t2\n"Eve" \t3\t4\nZoe\t5\n')
    assert [record.text for record in (found[0], found[1], found[3])] == ['"Ann" she said', 'Bob "B." Ray', "Zoe"]
    assert isinstance(found[2], FailedDocument)
    assert found[0].fields == {"id": "1"}


def test_a_table_without_the_column_is_one_failure(tmp_path: Path) -> None:
    (failed,) = read(tmp_path, "docs.csv", b"id,body\n1,Ann\n2,Bob\n")
    assert "'id', 'body'" in failed.message
    (failed,) = read(tmp_path, "tokens.tsv", b"token\ttag\nAnn\tB-PER\n")
    assert "genner data convert" in failed.message
    (failed,) = read(tmp_path, "twice.csv", b"text,text\nAnn,Bob\n")
    assert "several columns" in failed.message
    assert read(tmp_path, "empty.csv", b"") == []


def test_a_row_over_the_limit_fails_and_the_next_one_is_read(tmp_path: Path) -> None:
    long, document = read(tmp_path, "docs.csv", b"text\n" + b"x" * 300_000 + b"\nAnn\n", max_document_bytes=200_000)
    assert isinstance(long, FailedDocument)
    assert (document.source, document.text) == (f"{tmp_path}/docs.csv:3", "Ann")
    text = one(tmp_path, "docs.csv", b"text\n" + b"x" * 300_000 + b"\n").text
    assert len(text) == 300_000, "beyond the csv module's own limit"


def test_progress_on_a_table_adds_up_to_its_size(tmp_path: Path) -> None:
    path = write_documents(tmp_path / "x.jsonl", []).with_name("docs.csv")
    path.write_bytes(b"text\n" + b"Ann went home\n" * 10_000)
    counted: list[int] = []
    assert sum(1 for _ in read_documents([str(path)], progress=counted.append)) == 10_000
    assert sum(counted) == total_bytes([str(path)])
    assert min(counted) >= 0


# fields


def test_a_text_may_be_in_a_field_of_a_field_or_be_joined_of_several() -> None:
    record = {"title": "T", "data": {"body": "Ann", "none": None}, "a.b": "flat", "n": 1}
    for name, text in {"data.body": "Ann", "a.b": "flat", "title,data.body,data.none": "T\n\nAnn"}.items():
        document = document_of(record, "here", text_field=name)
        assert isinstance(document, Document)
        assert document.text == text
        assert document.fields == {key: value for key, value in record.items() if key != name}
    for wrong in ("data.title", "data", "title,body", "n.x", "data.none", "title,n"):
        failed = document_of(record, "here", text_field=wrong)
        assert isinstance(failed, FailedDocument)
        assert failed.message.startswith("here: ")


def test_an_empty_name_among_fields_is_refused() -> None:
    with pytest.raises(UsageError):
        read_documents(["a.jsonl"], text_field="title,")


# HTML


PAGE = """<!DOCTYPE html><html><head><title>A &amp; B</title><style>p {}</style><script>if (a<b) "x"</script></head>
<body><nav>Home</nav><h1>News</h1><p>Ann  <b>Lee</b>, the
  mayor of&nbsp;Bonn<br>left.<p>Bob &eacute;t&#233;<ul><li>one<li>two</ul>
<table><tr><th>x<td>y</td><tr><td><td>z</tr></table><pre>  a
    b</pre><!-- no --><template>no</template></body></html>"""


def test_the_text_of_a_page_is_what_a_reader_sees(tmp_path: Path) -> None:
    document = one(tmp_path, "a.html", PAGE.encode())
    assert document.text == (
        "Home\n\nNews\n\nAnn Lee, the mayor of\u00a0Bonn\nleft.\n\nBob été\n\none\ntwo\n\nx\ny\n\nz\n\n  a\n    b"
    )
    assert (document.id, document.fields) == ("a.html", {"title": "A & B"})


@pytest.mark.parametrize(
    ("encoding", "declaration"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-16", ""),
        ("cp1252", '<meta charset="iso-8859-1">'),
        ("koi8-r", '<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">'),
    ],
)
def test_a_page_is_read_in_the_encoding_that_it_declares(tmp_path: Path, encoding: str, declaration: str) -> None:
    text = "Пётр" if encoding == "koi8-r" else "“Zoë”"
    assert one(tmp_path, "a.htm", f"<html>{declaration}<p>{text}".encode(encoding)).text == text


@pytest.mark.parametrize("content", [b"<p>\xe9", b"<meta charset=nonsense><p>x", b"\xff\xfe\x00"])
def test_a_page_that_cannot_be_read_is_a_failure(tmp_path: Path, content: bytes) -> None:
    (failed,) = read(tmp_path, "a.html", content)
    assert isinstance(failed, FailedDocument)
    assert (failed.id, failed.message.startswith(f"{tmp_path}/a.html: ")) == ("a.html", True)


@pytest.mark.parametrize("piece", ["<!--", "<a", "<a b='", "</", "<![if "])
def test_what_is_never_closed_is_left_out_and_not_looked_for_again_and_again(tmp_path: Path, piece: str) -> None:
    """Python's parser takes minutes for these."""
    assert one(tmp_path, "a.html", f"<p>Ann <b>Lee</b>{piece * 100_000}".encode()).text == "Ann Lee"


# e-mail


def message(**headers: str) -> EmailMessage:
    found = EmailMessage()
    for name, value in headers.items():
        found[name] = value
    return found


def test_the_body_of_a_message_is_its_text_and_the_headers_are_fields(tmp_path: Path) -> None:
    mail = message(
        Subject="Grüße", From="Ann <ann@x.example>", To="bob@x.example", Date="Mon, 2 Nov 2026 10:00:00 +0100"
    )
    mail.set_content("Dear Bob,\r\nZoë is in Köln.\r\n", cte="quoted-printable")
    mail.add_alternative("<p>Dear <b>Bob</b></p>", subtype="html")
    mail.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="map.pdf")
    document = one(tmp_path, "1.eml", mail.as_bytes())
    assert document.text == "Dear Bob,\nZoë is in Köln.\n"
    assert document.fields == {
        "subject": "Grüße",
        "from": "Ann <ann@x.example>",
        "to": "bob@x.example",
        "date": "Mon, 02 Nov 2026 10:00:00 +0100",
        "attachments": ["map.pdf"],
    }
    joined = one(tmp_path, "1.eml", mail.as_bytes(), text_field="subject,text")
    assert joined.text == "Grüße\n\nDear Bob,\nZoë is in Köln.\n"
    assert one(tmp_path, "1.eml", mail.as_bytes(), text_field="body").text == document.text


def test_a_message_in_html_gives_the_text_of_its_page(tmp_path: Path) -> None:
    mail = message(Subject="x")
    mail.set_content("<p>Ann</p><p>Bob</p>", subtype="html")
    assert one(tmp_path, "1.eml", mail.as_bytes()).text == "Ann\n\nBob"


def test_a_forwarded_message_is_read_with_the_one_that_forwards_it(tmp_path: Path) -> None:
    inner = message(Subject="first")
    inner.set_content("Ann wrote.\n")
    mail = message(Subject="Fwd: first")
    mail.set_content("See below.\n")
    mail.add_attachment(inner)
    document = one(tmp_path, "1.eml", mail.as_bytes())
    assert document.text == "See below.\n\n\nAnn wrote.\n"
    assert document.fields == {"subject": "Fwd: first", "attachments": ["message/rfc822"]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no headers at all\n",
        b"Subject: x\nContent-Type: image/png\n\nabc",
        b"Subject: x\nContent-Type: text/plain; charset=nonsense\n\nabc",
        b"Subject: x\nContent-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\n\xe9t\xe9",
    ],
)
def test_a_message_without_a_readable_text_is_a_failure(tmp_path: Path, content: bytes) -> None:
    (failed,) = read(tmp_path, "1.eml", content)
    assert isinstance(failed, FailedDocument)


# TEI


EDITION = """<?xml version="1.0" encoding="UTF-8"?>
<TEI xmlns="http://www.tei-c.org/ns/1.0"><teiHeader><fileDesc><titleStmt><title>The <hi>Voyage</hi></title>
<author>Nobody</author></titleStmt></fileDesc></teiHeader><text><front><head>Front</head></front><body>
<div><head>Chapter <num>I</num></head><p>Ann went to <choice><sic>Bon</sic><corr>Bonn</corr></choice><note n="1">A
<hi>city</hi>.</note> and to Ber<lb break="no"/>lin<pb n="2"/>on <del>Monday</del><add>Tuesday</add>.</p>
<fw>12</fw><lg><l>Tyger, tyger</l><l>burning <app><lem>bright</lem><rdg>light</rdg></app></l></lg></div>
<list><item>one</item><item>two</item></list>
<table><row><cell>Ann<note>Lee</note></cell><cell>Bonn</cell></row><row><cell>Bob</cell></row></table></body></text></TEI>"""


def test_the_text_of_an_edition_is_its_reading_text(tmp_path: Path) -> None:
    document = one(tmp_path, "a.xml", EDITION.encode())
    assert document.text == (
        "Front\n\nChapter I\n\nAnn went to Bonn and to Berlin on Tuesday.\n\nA city.\n\n"
        "Tyger, tyger\nburning bright\n\none\ntwo\n\nAnn\nBonn\n\nLee\n\nBob"
    )
    assert (document.id, document.fields) == ("a.xml", {"title": "The Voyage"})


def test_a_corpus_is_a_document_for_each_text(tmp_path: Path) -> None:
    edition = EDITION.partition("?>")[2]
    first, second = read(tmp_path, "c.tei", f"<teiCorpus><teiHeader/>{edition}{edition}</teiCorpus>".encode())
    assert (first.id, second.id) == ("c.tei#1", "c.tei#2")
    assert first.text == second.text == one(tmp_path, "a.xml", EDITION.encode()).text


@pytest.mark.parametrize(
    "content",
    [
        b"<html><p>x</p></html>",
        b"<TEI><text>",
        b"",
        b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaaaaaaaa">' + b"".join(
            b'<!ENTITY %c "%s">' % (name, b"&%c;" % (name - 1) * 20) for name in b"bcdefgh"
        ) + b"]><TEI><text>&h;</text></TEI>",
        b'<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/hostname">]><TEI><text><p>&x;</p></text></TEI>',
    ],
)  # fmt: skip
def test_other_xml_and_hostile_xml_are_failures(tmp_path: Path, content: bytes) -> None:
    (failed,) = read(tmp_path, "a.xml", content)
    assert isinstance(failed, FailedDocument)


@pytest.mark.parametrize(
    ("name", "content"), [("a.html", b""), ("a.html", b"<p></p>"), ("a.xml", b"<TEI/>"), ("a.txt", b"")]
)
def test_a_file_without_any_text_is_an_empty_document(tmp_path: Path, name: str, content: bytes) -> None:
    (document,) = read(tmp_path, name, content)
    assert isinstance(document, Document)
    assert document.text == ""


@examples(60)
@given(st.text('<>/&;"= abp!-[]?', max_size=60), st.sampled_from(["a.html", "a.xml", "a.eml", "a.csv", "a.tsv"]))
def test_any_characters_give_records(tmp_path_factory: pytest.TempPathFactory, text: str, name: str) -> None:
    for record in read(tmp_path_factory.mktemp("any"), name, f"<p>{text}".encode()):
        assert isinstance(record, FailedDocument) or "\0" not in record.text


# folders


def test_a_folder_is_read_with_all_folders_in_it_in_sorted_order(tmp_path: Path, caplog: Any) -> None:
    folder = tmp_path / "docs"
    for name in ("b.txt", "a/c.txt", "a/.hidden.txt", ".git/x.txt", "z.pdf", "y", "t.csv", "n.ann", "n.txt"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("id,text\n5,five\n" if name == "t.csv" else "" if name == "n.ann" else f"of {name}")
    os.symlink(folder, folder / "loop")
    paths = expand([f"{folder}/"])
    found = list(read_documents(paths))
    assert [record.id for record in found] == ["a/c.txt", "b.txt", "n", "5"]
    assert found[0].source == f"{folder}/a/c.txt"
    assert ".pdf: 1" in caplog.text
    assert "pdftotext" in caplog.text
    assert len(expand([str(folder), f"{folder}/*.txt"])) == 5, "each file once, and one that only the glob names"


def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("one", "two", "two/deep"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(folder)
        (tmp_path / folder / "n.ann").write_text("")
        (tmp_path / folder / "n.txt").write_text("Ann")
    (tmp_path / "two" / "b.html").write_text("<p>b</p>")
    (tmp_path / "two" / "rows.csv").write_text("id,text\n7,x\n")

    def ids(*patterns: str) -> list[str | None]:
        paths = expand(patterns)
        assert expand(paths) == paths, "what was expanded stays as it is"
        for shards in (paths, [block for number in (1, 2, 3) for block in Shard(number, 3).blocks(paths)]):
            documents = {each.id: each for each in read_documents(shards)}
        assert all("/./" not in each.source for each in documents.values())
        return list(documents)

    assert ids("two/deep/a.txt", "two/b.html") == ["a.txt", "b.html"]
    assert ids("one/a.txt", "two/**/a.txt", "two/b.html") == ["one/a.txt", "two/a.txt", "two/deep/a.txt", "two/b.html"]
    assert ids("two") == ["a.txt", "b.html", "deep/a.txt", "deep/n", "n", "7"], "a folder tells its files apart"
    assert ids("one", "two/deep", "two/rows.csv") == ["one/a.txt", "one/n", "two/deep/a.txt", "two/deep/n", "7"]
    assert ids(str(tmp_path / "one" / "n.ann"), "two/n.ann") == [str(tmp_path / "one" / "n"), "two/n"]


def test_a_folder_without_documents_is_refused(tmp_path: Path) -> None:
    for content in ((), ("a.xyz",)):
        for name in content:
            (tmp_path / name).touch()
        with pytest.raises(UsageError):
            expand([str(tmp_path)])


@pytest.mark.parametrize(("name", "tool"), [("a.pdf", "pdftotext"), ("A.DOCX", "pandoc")])
def test_a_file_that_other_tools_make_a_text_of_is_refused_with_their_names(
    tmp_path: Path, name: str, tool: str
) -> None:
    (tmp_path / name).touch()
    for path in (tmp_path, tmp_path / name):
        with pytest.raises(UsageError, match=tool):
            expand([str(path)])


@pytest.mark.parametrize("name", ["entities.jsonl", "entities.csv"])
def test_a_folder_that_has_the_output_is_extracted_and_resumed(genner: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "de").mkdir()
    (tmp_path / "a.html").write_text(PAGE)
    (tmp_path / "de" / "1.xml").write_text(EDITION)
    (tmp_path / "mail.csv").write_text("id,text\n7,Ann Lee lives in Berlin.\n")
    call = ("extract", tmp_path, "--types", "PER,ORG,LOC", "-o", tmp_path / name)
    assert genner(*call).status == 0
    records = tmp_path / (name if name.endswith("jsonl") else f"{name}.records.jsonl")
    found = [orjson.loads(line) for line in records.read_bytes().splitlines()]
    assert [record["id"] for record in found] == ["a.html", "de/1.xml", "7"]
    for record in found:
        assert all(record["text"][e["start"] : e["end"]] == e["text"] for e in record["entities"])
    assert any(record["entities"] for record in found)
    again = genner(*call)
    assert (again.status, "nothing to do" in again.stderr) == (0, True)


@pytest.mark.parametrize("name", ["first.jsonl", "first.csv"])
def test_outputs_of_other_runs_in_a_folder_are_not_extracted_from(genner: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "a.txt").write_text("Ann Lee lives in Berlin.")
    call = ("extract", tmp_path, "--types", "PER,ORG,LOC")
    assert genner(*call, "-o", tmp_path / name).status == 0
    for output in ((), ("-o", tmp_path / "second.jsonl")):
        run = genner(*call, *output)
        assert run.status == 0
        assert "1 document," in run.stderr
        assert f"{tmp_path / name}: left out, since a run of genner wrote it" in run.stderr
    found = genner("entities", tmp_path / "second.jsonl").stdout
    (tmp_path / "first.jsonl.gz").write_bytes(gzip.compress(b'{"text": "Bob left."}\n'))
    both = genner(*call)
    assert "2 documents," in both.stderr, "an input, though its name begins as that of an output"
    assert "2 documents," in genner(*call, "-o", tmp_path / "first.jsonl", "--restart").stderr
    (tmp_path / "first.jsonl.gz").unlink()
    (tmp_path / "a.txt").unlink()
    for path in tmp_path.glob("first.*"):
        path.unlink()
    assert genner("entities", tmp_path).stdout == found, "outputs are what other commands read"


def test_joined_fields_are_in_the_record_under_their_names(genner: Any, tmp_path: Path) -> None:
    docs = write_documents(tmp_path / "d.jsonl", [{"id": 1, "title": "Berlin", "data": {"body": "Ann Lee left."}}])
    name = "title,data.body"
    run = genner("extract", docs, "--types", "PER,ORG,LOC", "--text-field", name, "-o", tmp_path / "out.jsonl")
    (record,) = [orjson.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert run.status == 0
    assert record[name] == "Berlin\n\nAnn Lee left."
    assert (record["title"], record["data"]) == ("Berlin", {"body": "Ann Lee left."})
    assert genner("entities", tmp_path / "out.jsonl", "--text-field", name).status == 0


def test_a_suffix_names_one_kind_of_documents_and_no_labelled_input() -> None:
    suffixes = [suffix for format in DOCUMENT_FORMATS.values() for suffix in format.suffixes]
    assert len(set(suffixes)) == len(suffixes)
    assert not [suffix for suffix in suffixes if input_format(f"a{suffix}")]
    for suffix in suffixes:
        assert document_format(f"A{suffix.upper()}.gz") is document_format(f"a{suffix}")
