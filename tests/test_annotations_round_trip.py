"""Every annotation format: what it can carry comes back as it was, and what it cannot is counted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from labelled import RECIPES, documents, plain, read, write
from strategies import examples

from genner_cli.data.characters import inner_offsets, is_space
from genner_cli.data.offsets import Unit
from genner_cli.data.tags import Scheme
from genner_cli.errors import DataError, UsageError
from genner_cli.files.annotations import ANNOTATION_FORMATS, AnnotationOptions, format_of
from genner_cli.files.converting import Conversion, convert
from genner_cli.files.gold import read_gold
from genner_cli.types import Document, Entity

SUFFIX = {"brat": "", "label-studio": ".json", "alpaca": ".json", "doccano": ".jsonl", "cas": ".zip"}
SUFFIX |= dict.fromkeys(("gliner", "langextract", "presidio", "prodigy"), ".jsonl")
WHOLE = ("jsonl", "docbin", "label-studio", "parquet", "presidio")
"""These carry all of a document, entities that cross included."""
BRAT_LABELS = ("PER", "PERSON", "A/B_c", "事件")
PLAIN = AnnotationOptions()


class Trip:
    """JSONL -> a format -> JSONL, in a folder of its own."""

    def __init__(self, format: str, given: Sequence[Document], options: AnnotationOptions = PLAIN) -> None:
        with TemporaryDirectory() as name:
            folder = Path(name)
            source, back = write(given, folder / "in.jsonl"), folder / "back.jsonl"
            suffixes = ANNOTATION_FORMATS[format].suffixes or ("",)
            middle = folder / f"out{SUFFIX.get(format, suffixes[0])}"
            self.there = convert((str(source), "jsonl"), (str(middle), format), options)
            self.back = convert((str(middle), format), (str(back), "jsonl"), options)
            self.records = read(back)
        assert not self.there.problems
        assert not self.back.problems

    def entities(self) -> list[list[tuple[int, int, str]]]:
        return [[(e["start"], e["end"], e["label"]) for e in record["entities"]] for record in self.records]


def dropped_kinds(done: Conversion) -> set[str]:
    """The kinds of what was lost, but for fields."""
    return {what for what in done.dropped.counts if not what.startswith("fields ")}


@pytest.mark.parametrize("format", WHOLE)
@given(given_=documents(crossing=True))
@examples(25)
def test_a_format_for_whole_documents_loses_nothing(format: str, given_: list[Document]) -> None:
    trip = Trip(format, given_)
    assert not trip.there.dropped.counts
    assert not trip.back.dropped.counts
    for record, document in zip(trip.records, given_, strict=True):
        fields = {name: value for name, value in document.fields.items() if format != "parquet" or value is not None}
        assert record["text"] == document.text
        assert {name: record.get(name, "missing") for name in fields} == fields
        scores = {(e["start"], e["end"], e["label"]): e.get("score") for e in record["entities"]}
        said = {(e.start, e.end, e.label): e.score for e in document.entities}
        if format == "label-studio" and not all(e.score is not None for d in given_ for e in d.entities):
            assert scores.keys() == said.keys()
        else:
            assert scores == said


@pytest.mark.parametrize("format", ["doccano", "gliner", "langextract", "prodigy"])
@given(given_=documents(crossing=True))
@examples(25)
def test_annotation_tools_carry_texts_ids_fields_and_crossing_entities(format: str, given_: list[Document]) -> None:
    trip = Trip(format, given_)
    assert trip.entities() == [plain(document.entities) for document in given_]
    for record, document in zip(trip.records, given_, strict=True):
        assert record["text"] == document.text
        assert {name: record.get(name, "missing") for name in document.fields} == document.fields
    scored = any(entity.score is not None for document in given_ for entity in document.entities)
    assert dropped_kinds(trip.there) == ({"scores"} if scored and format != "prodigy" else set())


@given(given_=documents(labels=BRAT_LABELS, crossing=True))
@examples(40)
def test_brat_carries_texts_ids_and_crossing_entities_also_over_line_ends(given_: list[Document]) -> None:
    given_ = sorted(given_, key=lambda document: document.id or "")
    trip = Trip("brat", given_)
    by_id = {record["id"]: record for record in trip.records}
    assert len(by_id) == len(given_)
    for document in given_:
        record = by_id[document.id]
        assert record["text"] == document.text
        assert [(e["start"], e["end"], e["label"]) for e in record["entities"]] == plain(document.entities)
    assert dropped_kinds(trip.there) <= {"scores"}


@pytest.mark.parametrize("unit", Unit)
@pytest.mark.parametrize(
    "format", ["jsonl", "doccano", "label-studio", "langextract", "presidio", "prodigy", "parquet", "csv", "brat"]
)
@given(given_=documents(labels=BRAT_LABELS, fields=False))
@examples(8)
def test_offsets_can_be_counted_in_any_unit(format: str, unit: Unit, given_: list[Document]) -> None:
    given_ = sorted(given_, key=lambda document: document.id or "")
    if format == "jsonl":  # the unit is that of the source alone
        assert Trip(format, given_).entities() == [plain(document.entities) for document in given_]
        return
    trip = Trip(format, given_, AnnotationOptions(offsets=unit))
    merged = unit.merges_line_ends and any("\r\n" in document.text for document in given_)
    if format != "csv":
        by_id = {record["id"]: record for record in trip.records}
        assert sorted(by_id) == sorted(document.id or "" for document in given_)
        for document in given_:
            assert [(e["start"], e["end"], e["label"]) for e in by_id[document.id]["entities"]] == plain(
                document.entities
            )
    elif not merged and all(c.isascii() for document in given_ for c in document.text if is_space(c)):
        assert_only_told_entities_are_dropped_kinds(trip, given_)  # of other white space only the length comes back


def assert_only_told_entities_are_dropped_kinds(trip: Trip, given_: Sequence[Document]) -> None:
    """Each entity is back at its place, or was told."""
    texts = [document for document in given_ if not all(map(is_space, document.text))]
    told = sum(count for what, count in trip.there.dropped.counts.items() if "entities" in what)
    back = trip.entities()
    assert len(back) == len(texts)
    missing = sum(len(document.entities) for document in given_ if document not in texts)
    for document, found in zip(texts, back, strict=True):
        assert set(found) <= set(plain(document.entities))
        missing += len(document.entities) - len(found)
    assert missing == told


@given(given_=documents(fields=False))
@examples(40)
def test_csv_of_tokens_keeps_every_place(given_: list[Document]) -> None:
    trip = Trip("csv", given_)
    assert_only_told_entities_are_dropped_kinds(trip, given_)


@pytest.mark.parametrize("scheme", Scheme)
@given(given_=documents(fields=False))
@examples(25)
def test_conll_with_texts_loses_only_what_it_tells(scheme: Scheme, given_: list[Document]) -> None:
    given_ = [
        document for document in given_ if "\n" not in document.text and not document.text.endswith("\r")
    ]  # a comment is one line
    trip = Trip("conll", given_, AnnotationOptions(scheme=scheme, keep_text=True))
    assert_only_told_entities_are_dropped_kinds(trip, given_)
    back = {record["id"]: record["text"] for record in trip.records}
    assert all(back[document.id] == document.text for document in given_ if document.id in back)


@pytest.mark.parametrize("text", ["Ann \r", "Ann\nslept", "Ann\u2028slept"])
def test_conll_tells_a_text_that_no_comment_can_hold(text: str) -> None:
    trip = Trip("conll", [Document(text, "7", (), {"id": "7"})], AnnotationOptions(keep_text=True))
    assert (trip.records[0]["text"] == text) == (not dropped_kinds(trip.there)) == ("\u2028" in text)


@pytest.mark.parametrize("scheme", Scheme)
@given(given_=documents(fields=False))
@examples(25)
def test_conll_comes_back_from_jsonl_byte_for_byte(scheme: Scheme, given_: list[Document]) -> None:
    options = AnnotationOptions(scheme=scheme)
    with TemporaryDirectory() as name:
        folder = Path(name)
        source = write(given_, folder / "in.jsonl")
        one, two, other = folder / "one.conll", folder / "two.jsonl", folder / "other.conll"
        convert((str(source), "jsonl"), (str(one), "conll"), options)
        done = convert((str(one), "conll"), (str(two), "jsonl"), options)
        again = convert((str(two), "jsonl"), (str(other), "conll"), options)
        assert not done.problems
        assert not again.dropped.counts
        assert other.read_bytes() == one.read_bytes()
        for record in read(two):
            for start, end in record["tokens"]:
                assert record["text"][start:end].strip() == record["text"][start:end] != ""


@pytest.mark.parametrize("format", ["bracketed", "xml", "category", "occurrence", "offset", "inserted"])
@given(given_=documents(fields=False))
@examples(20)
def test_alpaca_loses_only_what_the_output_format_cannot_carry(format: str, given_: list[Document]) -> None:
    if not any(document.entities for document in given_):
        return
    trip = Trip("alpaca", given_, AnnotationOptions(format=format))
    assert [record["text"] for record in trip.records] == [document.text for document in given_]
    told = trip.there.dropped.counts["entities that the output format cannot carry"]
    missing = 0
    for document, found in zip(given_, trip.entities(), strict=True):
        assert set(found) <= set(plain(document.entities))
        missing += len(document.entities) - len(found)
    assert missing == told
    cut = sum(not {e.start, e.end}.isdisjoint(inner_offsets(d.text)) for d in given_ for e in d.entities)
    assert format not in ("bracketed", "xml", "inserted") or told == cut


@pytest.mark.parametrize("format", ANNOTATION_FORMATS)
def test_real_recipes_come_back_from_every_format(format: str, tmp_path: Path) -> None:
    """Seventy ingredient lists of several lines; those formats that have no line ends keep all but the white space."""
    gold = read_gold([str(RECIPES)]).documents
    middle, back = tmp_path / f"out{SUFFIX.get(format, '.x')}", tmp_path / "back.jsonl"
    there = convert((str(RECIPES), "jsonl"), (str(middle), format), PLAIN)
    convert((str(middle), format), (str(back), "jsonl"), PLAIN)
    found = read_gold([str(back)]).documents
    assert there.documents == len(found) == len(gold)
    if format == "brat":
        found = tuple(sorted(found, key=lambda document: document.id or ""))
        gold = tuple(sorted(gold, key=lambda document: document.id or ""))
    if format == "conll":
        assert "texts whose white space the tokens do not determine" in there.dropped.counts
        said = [[(e.text.split(), e.label) for e in document.entities] for document in gold]
        assert sum(map(len, said)) - there.dropped.counts["entities with a boundary inside a token"] == sum(
            len(document.entities) for document in found
        )
    else:
        dropped = there.dropped.counts["entities with a boundary inside a token"]
        entities = [entity for document in gold for entity in document.entities]
        assert dropped <= len(entities) // 100
        back_again = [entity for document in found for entity in document.entities]
        assert len(set(entities) & set(back_again)) == len(set(entities)) - (dropped if format == "csv" else 0)


def test_strict_refuses_the_first_loss(tmp_path: Path) -> None:
    source = write([Document("Ann Lee", "7", (Entity(0, 3, "PER", "Ann", 0.5),), {"id": "7"})], tmp_path / "in.jsonl")
    with pytest.raises(DataError, match=r"in\.jsonl:1: .*scores .*--strict"):
        convert((str(source), "jsonl"), (str(tmp_path / "out.csv"), "csv"), PLAIN, strict=True)
    assert not (tmp_path / "out.csv").exists()


def test_a_suffix_tells_the_form_also_of_compressed_files(tmp_path: Path) -> None:
    told = {"a.jsonl.gz": "jsonl", "a.conll.zst": "conll", "a.IOB2": "conll", "a.ann": "brat", "a.spacy": "docbin"}
    told |= {"a.parquet": "parquet", "a.tsv": "csv", "corpus": "brat", ".": "brat", "-": "jsonl"}
    for name, format in told.items():
        assert format_of(name, option="--from") == format
    for name in ("a.json", "a.txt"):
        with pytest.raises(UsageError, match="--to"):
            format_of(name, option="--to")
