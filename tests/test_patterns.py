"""Patterns and lists beside the model: what they find, how that meets the model's entities, and their file."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run
from hypothesis import given
from hypothesis import strategies as st
from resuming import manifest, records, write_documents
from strategies import LABELS, examples, hostile_text

from genner_cli import expressions
from genner_cli.api import Extractor
from genner_cli.data.characters import inner_offsets
from genner_cli.errors import DataError, UsageError
from genner_cli.files.patterns import read_patterns
from genner_cli.merging import merge
from genner_cli.patterns import PatternFinder
from genner_cli.types import Entity, Pattern, Patterns

Genner = Callable[..., Run]


def found(text: str, *patterns: Pattern, allowed: tuple[str, ...] = ()) -> list[tuple[str, str]]:
    return [(each.label, each.text) for each in PatternFinder(Patterns(patterns, allowed)).find(text)]


def checked(check: str, text: str, **more: Any) -> list[str]:
    return [mention for _, mention in found(text, Pattern("X", check=check, **more))]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Write to ada.lovelace@example.org.", ["ada.lovelace@example.org"]),
        ("<o'neill+x@a-b.co.uk>, jürgen@müller.de", ["o'neill+x@a-b.co.uk", "jürgen@müller.de"]),
        ("a@b, a..b@c.org .a@c.org a@-c.org a@c.o1 @x.org", []),
        (f"{'a' * 65}@example.org", []),
    ],
)
def test_addresses(text: str, expected: list[str]) -> None:
    assert checked("email", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("card 4111 1111 1111 1111 123 and 4111-1111-1111-1112", ["4111 1111 1111 1111"]),
        ("order 12 4111111111111111, 0000000000000000", ["4111111111111111"]),
        ("41111111111111111111111111", []),
        (
            "3782 822463 10005, 5555 5555 5555 4444, 1 2 3 4 5 6 7 8 9 0 1 2",
            ["3782 822463 10005", "5555 5555 5555 4444"],
        ),
    ],
)
def test_cards(text: str, expected: list[str]) -> None:
    assert checked("luhn", text) == expected


def test_bank_accounts_end_where_their_country_says() -> None:
    text = "DE89 3704 0044 0532 0130 00 IS RIGHT, NO9386011117947 too, DE88 3704 0044 0532 0130 00 not"
    assert checked("iban", text) == ["DE89 3704 0044 0532 0130 00", "NO9386011117947"]


def test_telephone_numbers_of_a_region_and_of_the_world() -> None:
    text = "Call +47 22 84 50 50 or 22 84 50 50, not 12 34."
    assert checked("phone", text) == ["+47 22 84 50 50"]
    assert checked("phone", text, region="NO") == ["+47 22 84 50 50", "22 84 50 50"]
    assert checked("phone", text, region="NO", expression=r"(?<=or )[\d ]+\d") == ["22 84 50 50"]


def test_a_check_of_stdnum_with_an_expression() -> None:
    assert checked("us.ssn", "536-90-4399, 666-90-4399", expression=r"\d{3}-\d{2}-\d{4}") == ["536-90-4399"]


def test_the_longer_match_stays_and_of_equals_that_of_the_first_pattern() -> None:
    numbers, names = Pattern("N", r"\d+"), Pattern("NAME", words=("Studio 54", "Studio"))
    assert found("Studio 54, 54, Studio", numbers, names) == [("NAME", "Studio 54"), ("N", "54"), ("NAME", "Studio")]
    assert found("54", numbers, Pattern("M", r"\d\d")) == [("N", "54")]


def test_matches_have_no_outer_white_space_and_are_never_empty() -> None:
    assert found("a  b  c", Pattern("X", r"\s+b\s+|\s+")) == [("X", "b")]
    assert found("axbx", Pattern("X", r"(?=x)|b")) == [("X", "b")]


def test_no_visible_character_is_cut() -> None:
    acute = "\u0301"
    assert found(f"Rene{acute}e, {acute}Ann", Pattern("X", "Rene|Ann")) == [("X", f"Rene{acute}"), ("X", "Ann")]
    assert found("1\ufe0f\u20e3 👍🏽!", Pattern("X", r"\d|👍")) == [("X", "1\ufe0f\u20e3"), ("X", "👍🏽")]
    assert found(f"{acute}Ann", Pattern("X", f"{acute}A")) == [("X", f"{acute}A")]
    rest = [("N", "12", "pattern"), ("LOC", f".{acute}Oslo", 0.5)]
    assert merged(f"12.{acute}Oslo", [("LOC", f"12.{acute}Oslo")], Pattern("N", r"\d+")) == rest


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern("X", "(a"),
        Pattern("X", "a*"),
        Pattern("X", check="no_such"),
        Pattern("X", check="us.no_such"),
        Pattern("X", check="util", expression="a"),
        Pattern("X", check="../luhn"),
        Pattern("X", check="isbn"),
        Pattern("X", check="phone", region="XX"),
    ],
)
def test_a_wrong_pattern_is_refused_with_its_place(pattern: Pattern) -> None:
    from dataclasses import replace

    with pytest.raises(UsageError, match=r"^p\.yaml:3: "):
        PatternFinder(Patterns((replace(pattern, source="p.yaml:3"),)))


def test_a_text_that_takes_too_long_is_an_error_of_that_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expressions, "SECONDS", 0.05)
    finder = PatternFinder(Patterns((Pattern("X", r"(a|aa)+$", source="p.yaml:3"),)))
    with pytest.raises(DataError, match=r"p\.yaml:3"):
        finder.find("a" * 60 + "!")
    assert [each.text for each in finder.find("aaa")] == ["aaa"]


# the model's entities


def merged(text: str, spans: list[tuple[str, str]], *patterns: Pattern, depth: int = 1, **more: Any) -> list[Any]:
    entities = [Entity(text.index(m), text.index(m) + len(m), label, m, 0.5) for label, m in spans]
    both = PatternFinder(Patterns(patterns, **more)).merged(text, entities, depth)
    return [(each.label, each.text, each.source or each.score) for each in both]


def test_what_a_match_leaves_of_an_entity_stays() -> None:
    text = "Hauptstr. 5, 10115 Berlin"
    postcode = Pattern("ZIP", r"\b\d{5}\b")
    parts = [("LOC", "Hauptstr. 5", 0.5), ("ZIP", "10115", "pattern"), ("LOC", "Berlin", 0.5)]
    assert merged(text, [("LOC", text)], postcode) == parts
    nested = [("LOC", text, 0.5), ("ZIP", "10115", "pattern")]
    assert merged(text, [("LOC", text)], postcode, depth=2) == nested


def test_a_match_in_a_longer_entity_of_its_label_is_that_entity() -> None:
    ada = Pattern("PER", words=("Ada",))
    assert merged("Ada Lovelace, Ada", [("PER", "Ada Lovelace")], ada) == [
        ("PER", "Ada Lovelace", 0.5), ("PER", "Ada", "pattern")
    ]  # fmt: skip
    assert merged("Ada", [("PER", "Ada")], ada) == [("PER", "Ada", "pattern")]
    assert merged("Ada", [("LOC", "Ada")], ada) == [("PER", "Ada", "pattern")]


def test_allowed_mentions_are_no_entities_of_anyone() -> None:
    oslo = Pattern("LOC", words=("Oslo",))
    assert merged("Oslo Times of\nBergen in Oslo", [("ORG", "Oslo Times")], oslo, allowed=("Oslo Times",)) == [
        ("LOC", "Oslo", "pattern"), ("LOC", "Oslo", "pattern")
    ]  # fmt: skip
    assert merged("Ada\nLee", [("PER", "Ada\nLee")], oslo, allowed=("Ada Lee",)) == []


@st.composite
def merging(draw: st.DrawFn) -> tuple[str, list[Entity], PatternFinder, int]:
    """A text, entities as a model has them, patterns, and the depth."""
    text, depth = draw(hostile_text()), draw(st.integers(1, 3))
    offset = st.integers(0, len(text))
    spans = draw(st.lists(st.tuples(offset, offset, st.sampled_from(LABELS), st.floats(0, 1)), max_size=6))
    ranges = [(min(one, other), max(one, other), *rest) for one, other, *rest in spans if one != other]
    ranges = [(s, e, *rest) for s, e, *rest in ranges if text[s:e] == text[s:e].strip()]  # as models write them
    entities = [Entity(start, end, str(label), text[start:end], score) for start, end, label, score in ranges]
    words = draw(st.lists(st.sampled_from(text.split() or ["a"]), max_size=3))
    patterns = [Pattern(draw(st.sampled_from(LABELS)), r"\w\W\w|[A-Z]\w*"), Pattern("W", words=tuple(words) or ("a",))]
    return text, list(merge(entities, depth)), PatternFinder(Patterns(tuple(patterns))), depth


@examples(400)
@given(merging())
def test_every_match_is_covered_by_its_label_and_nothing_is_uncovered(
    case: tuple[str, list[Entity], PatternFinder, int],
) -> None:
    text, entities, finder, depth = case
    both = finder.merged(text, entities, depth)
    assert all(text[each.start : each.end] == each.text for each in both)
    for match in finder.find(text):
        assert inner_offsets(text).isdisjoint((match.start, match.end))
        assert any(e.label == match.label and e.start <= match.start and match.end <= e.end for e in both)
    covered = {at for each in both for at in range(each.start, each.end)}
    assert all(not text[at].isalnum() for each in entities for at in {*range(each.start, each.end)} - covered)
    assert merge(both, 16) == both, "they nest or stand side by side"
    if depth == 1:
        assert merge(both, 1) == both


# the file


def test_a_file_of_patterns(tmp_path: Path) -> None:
    (tmp_path / "staff.txt").write_text("\ufeffAda Lee\n\n Bob Ray \n")
    path = tmp_path / "p.yaml"
    path.write_text(
        "patterns:\n"
        "  - {label: PHONE, check: phone, region: NO}\n"
        "  - label: YEAR\n    words: [1984, yes]\n    ignore_case: true\n"
        "  - {label: STAFF, words_file: staff.txt}\n"
        "allow: [The Oslo Times]\n"
    )
    assert read_patterns(str(path)) == Patterns(
        (
            Pattern("PHONE", check="phone", region="NO"),
            Pattern("YEAR", words=("1984", "yes"), ignore_case=True),
            Pattern("STAFF", words=("Ada Lee", "Bob Ray")),
        ),
        ("The Oslo Times",),
    )
    assert read_patterns(str(path)).patterns[1].source == f"{path}:3"


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("", ""),
        ("- a\n", ":1"),
        ("allow: []\n", ""),
        ("pattern: []\n", ":1"),
        ("patterns:\n  label: X\n", ":2"),
        ("patterns:\n  - {label: X}\n", ":2"),
        ("patterns:\n  - {check: email}\n", ":2"),
        ("patterns:\n  - {label: 'A|B', check: email}\n", ":2"),
        ("patterns:\n  - {label: X, regexp: a}\n", ":2"),
        ("patterns:\n  - {label: X, regex: a, regex: b}\n", ":2"),
        ("patterns:\n  - {label: X, words: []}\n", ":2"),
        ("patterns:\n  - {label: X, words: [[a]]}\n", ":2"),
        ("patterns:\n  - {label: X, words: [a], ignore_case: maybe}\n", ":2"),
        ("patterns:\n  - {label: X, words_file: none.txt}\n", ":2"),
        ("patterns: [\n", ":"),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(tmp_path: Path, content: str, line: str) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as error:
        read_patterns(str(path))
    assert str(error.value).startswith(f"{path}{line}")


# commands

TEXTS = ["Write to ada@example.org in London.", "John Smith sailed on the Fram to New York."]
FILE = "patterns:\n  - {label: EMAIL, check: email}\n  - {label: SHIP, words: [Fram, New York]}\n"


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "p.yaml").write_text(FILE)
    return write_documents(tmp_path / "in.jsonl", [{"text": text} for text in TEXTS]), tmp_path / "p.yaml"


def mentions(record: dict[str, Any]) -> list[tuple[str, str]]:
    return [(entity["text"], entity.get("source", "model")) for entity in record["entities"]]


def test_extract_by_patterns_alone_opens_no_model(
    genner: Genner, inputs: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genner_cli.hub.BUNDLED", tmp_path / "none.gguf")
    run = genner("extract", inputs[0], "--patterns", inputs[1], "--no-model")
    assert run.status == 0
    first, second = run.records
    assert first["entities"] == [
        {"start": 9, "end": 24, "label": "EMAIL", "text": "ada@example.org", "source": "pattern"}
    ]
    assert mentions(second) == [("Fram", "pattern"), ("New York", "pattern")]


def test_extract_by_model_and_patterns(genner: Genner, inputs: tuple[Path, Path]) -> None:
    run = genner("extract", inputs[0], "--patterns", inputs[1], "--types", "PER,ORG,LOC")
    first, second = run.records
    assert {("ada@example.org", "pattern"), ("London", "model")} <= set(mentions(first))
    assert {("John Smith", "model"), ("Fram", "pattern"), ("New York", "pattern")} <= set(mentions(second))
    with Extractor("PER,ORG,LOC", patterns=str(inputs[1]), threads=1, gpu_layers=0) as extractor:
        assert [record["entities"] for record in extractor.extract(TEXTS)] == [first["entities"], second["entities"]]


def test_evaluate_and_plan_take_patterns(genner: Genner, inputs: tuple[Path, Path]) -> None:
    gold = [{"text": TEXTS[0], "entities": [{"start": 9, "end": 24, "label": "EMAIL"}]}]
    path = write_documents(inputs[0].with_name("gold.jsonl"), gold)
    run = genner("evaluate", path, "--patterns", inputs[1], "--json")
    assert run.status == 0, run.stderr
    assert orjson.loads(run.stdout)["labels"]["EMAIL"]["recall"]["value"] == 1
    run = genner("plan", inputs[0], "--patterns", inputs[1], "--sample", 1, "--json")
    assert f"--patterns {inputs[1]}" in orjson.loads(run.stdout)["command"]


def test_the_content_of_the_file_counts_when_a_run_is_resumed(genner: Genner, inputs: tuple[Path, Path]) -> None:
    out = inputs[0].with_name("out.parquet")
    command = ("extract", inputs[0], "--patterns", inputs[1], "--no-model", "-o", out)
    assert genner(*command).status == 0
    inputs[1].write_text("# the same\n" + FILE)
    assert "nothing to do" in genner(*command).stderr
    inputs[1].write_text(FILE.replace("Fram", "Maud"))
    run = genner(*command)
    assert (run.status, "patterns" in run.stderr) == (2, True)
    assert manifest(out)["state"] == "complete"


def test_the_source_is_kept_in_parquet_and_when_read_again(genner: Genner, inputs: tuple[Path, Path]) -> None:
    out, back = inputs[0].with_name("out.parquet"), inputs[0].with_name("back.jsonl")
    assert genner("extract", inputs[0], "--patterns", inputs[1], "--no-model", "-o", out).status == 0
    write_documents(inputs[0], [{"text": text} for text in [*TEXTS, "The Fram."]])
    assert genner("extract", inputs[0], "--patterns", inputs[1], "--no-model", "-o", out).status == 0
    run = genner("data", "convert", out, back)
    assert (run.status, "not carried over" in run.stderr) == (0, False)
    run = genner("data", "convert", out, back.with_suffix(".conll"))
    assert (run.status, "sources of entities: 4" in run.stderr) == (0, True)
    assert [mentions(record) for record in records(back)][1:] == [
        [("Fram", "pattern"), ("New York", "pattern")], [("Fram", "pattern")]
    ]  # fmt: skip


def test_a_slow_pattern_costs_its_document_alone(
    genner: Genner, inputs: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expressions, "SECONDS", 0.05)
    inputs[1].write_text("patterns:\n  - {label: X, regex: '(a|aa)+$'}\n")
    write_documents(inputs[0], [{"text": "a" * 60 + "!"}, {"text": "so aa"}])
    run = genner("extract", inputs[0], "--patterns", inputs[1], "--no-model")
    assert run.status == 1
    slow, good = run.records
    assert f"{inputs[1]}:2" in slow["error"]["message"]
    assert mentions(good) == [("aa", "pattern")]
    assert "1 pattern" in run.stderr


@pytest.mark.parametrize("options", [["--no-model"], ["--patterns", "p.yaml", "--no-model", "--types", "PER"]])
def test_options_that_contradict_each_other_are_refused(genner: Genner, tmp_path: Path, options: list[str]) -> None:
    source = write_documents(tmp_path / "in.jsonl", [{"text": "Ann"}])
    assert genner("extract", source, *options).status == 2


def test_patterns_travel_between_processes() -> None:
    patterns = Patterns((Pattern("X", "a", source="p.yaml:1"),), ("b",))
    assert pickle.loads(pickle.dumps(patterns)) == patterns
