"""The bundled model's recipe: silver entities, changes of labelled texts, and what is held out."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from random import Random
from unittest.mock import patch

import pytest
import zstandard
from corpora import CORPORA, Mix, SilverPassages
from drawing import POOL, Drawing, draw, length
from edits import edited, noisy, recased, swapped
from heldout import HeldOut
from hypothesis import given
from hypothesis import strategies as st
from silver import Names, mentions, passages, subject_of, write
from strategies import examples
from train import INSTRUCTIONS, TOKENIZER
from transformers import AutoTokenizer

from genner_cli.training.packing import prefix_of
from genner_cli.training.tokens import Tokens
from genner_cli.types import Document, Entity

FILLER = " The weather was fine and the road was long and the people were glad of it." * 5
ARTICLES = [
    (
        "Ann Brown (singer)",
        "Ann Brown (born 1970) is an American folk singer. Brown sang in the old choir." + FILLER,
    ),
    ("Redville", "Redville is a small village in Italy. It lies on a hill." + FILLER),
    ("Blue Tigers", "The Blue Tigers were a rock band formed in 1990. Later Tom Brown joined." + FILLER),
    ("List of songs", "This is a list of songs." + FILLER),
]


@pytest.mark.parametrize(
    ("title", "text", "types", "family"),
    [
        (*ARTICLES[0], ("folk singer", "singer"), "PER"),
        (*ARTICLES[1], ("village",), "LOC"),
        (*ARTICLES[2], ("rock band", "band"), "ORG"),
        ("W-FM", "W-FM is a radio station in Ohio.", ("radio station", "station"), "ORG"),
        ("Ena montana", "Ena montana is a species of snail.", ("species",), ""),
    ],
)
def test_an_article_says_what_its_title_is(title: str, text: str, types: tuple[str, ...], family: str) -> None:
    subject = subject_of(title, text)
    assert subject
    assert (subject.types, subject.family) == (types, family)


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ARTICLES[3],
        ("Ann", "Ann lives in Rome."),
        ("Ann", "He is a singer, and the title stands behind that: Ann."),
        ("Ann", "Ann is a thing of a type that no list has."),
    ],
)
def test_other_articles_say_nothing(title: str, text: str) -> None:
    assert subject_of(title, text) is None


def plain(folder: Path) -> Path:
    lines = "".join(json.dumps({"title": title, "text": text}) + "\n" for title, text in ARTICLES)
    (folder / "enwiki-00.jsonl.zst").write_bytes(zstandard.ZstdCompressor().compress(lines.encode()))
    return folder


def test_passages_mark_titles_with_their_types_and_offsets(tmp_path: Path) -> None:
    found = [(p["text"][e["start"] : e["end"]], e["types"]) for p in passages(plain(tmp_path)) for e in p["entities"]]
    assert ("Ann Brown", ["folk singer", "singer", "PER"]) in found
    assert ("Brown", ["folk singer", "singer", "PER"]) in found
    assert ("Redville", ["village", "LOC"]) in found
    assert ("Blue Tigers", ["rock band", "band", "ORG"]) in found


def test_a_surname_takes_the_names_before_it_and_other_names_beside_names_are_left_out(tmp_path: Path) -> None:
    names = Names(plain(tmp_path))
    own = {("Brown",): names.subjects["Ann Brown (singer)"]}
    text = "Ann Mary Brown came to Redville Castle."
    entities, whole = mentions(text, own, names)
    assert [text[e["start"] : e["end"]] for e in entities] == ["Ann Mary Brown"]
    assert not whole
    assert mentions("then Brown went on.", own, names)[1]


def test_a_relative_of_the_subject_is_not_of_its_types(tmp_path: Path) -> None:
    names = Names(plain(tmp_path))
    own = {("Brown",): names.subjects["Ann Brown (singer)"]}
    assert mentions("Her brother Tom Brown came.", own, names) == ([], False)


TEXT = "Ann and Bob (of Rome), went to York."
ENTITIES = [
    Entity(at, at + len(name), name, name) for name in ("Ann", "Bob", "Rome", "York") for at in [TEXT.index(name)]
]


@given(swaps=st.lists(st.text(min_size=1, max_size=5), min_size=4, max_size=4), gaps=st.sets(st.integers(0, len(TEXT))))
@examples(100)
def test_an_edited_text_has_the_same_entities_where_they_are_then(swaps: list[str], gaps: set[int]) -> None:
    inside = {at for e in ENTITIES for at in range(e.start, e.end + 1)}
    changes = [(e.start, e.end, swap) for e, swap in zip(ENTITIES, swaps, strict=True)]
    changes += [(at, at, " ") for at in gaps - inside]
    text, found = edited(TEXT, ENTITIES, sorted(changes))
    assert [(e.label, e.text) for e in found] == [(e.label, s) for e, s in zip(ENTITIES, swaps, strict=True)]
    assert all(text[e.start : e.end] == e.text for e in found)


def test_blanks_at_the_borders_of_an_entity_stay_outside() -> None:
    entity = ENTITIES[2]
    changes = [(entity.start, entity.start, " "), (entity.end, entity.end, " ")]
    text, found = edited(TEXT, [entity], changes)
    assert (text[found[0].start : found[0].end], "( of" in text) == ("Rome", False)


def test_names_are_swapped_for_names_of_their_family() -> None:
    people = [Entity(e.start, e.end, "person", e.text) for e in ENTITIES[:2]]
    names: dict[str, list[str] | None] = {"person": ["PER"], "city": ["LOC"]}
    texts = {swapped(TEXT, people, {"PER": ["Zed"]}, names, Random(seed))[0] for seed in range(30)}
    assert texts == {TEXT.replace("Ann", a).replace("Bob", b) for a in ("Ann", "Zed") for b in ("Bob", "Zed")}
    assert swapped(TEXT, people, {"LOC": ["Zed"]}, names, Random(0))[0] == TEXT


def test_nested_entities_are_not_swapped() -> None:
    nested = [Entity(0, 11, "person", TEXT[:11]), Entity(0, 3, "person", "Ann")]
    assert swapped(TEXT, nested, {"PER": ["Zed"]}, {"person": ["PER"]}, Random(1)) == (TEXT, nested)


def test_case_is_given_back_to_names_and_noise_keeps_entities() -> None:
    low = TEXT.lower()
    entities = [Entity(e.start, e.end, e.label, low[e.start : e.end]) for e in ENTITIES]
    assert recased(low, entities) == TEXT
    text, found = noisy(TEXT, ENTITIES, Random(0), lowered=1.0, spaced=1.0)
    assert text == "ann and bob ( of rome), went to york ."
    assert [text[e.start : e.end] for e in found] == ["ann", "bob", "rome", "york"]


PASSAGE = {
    "text": "Ann Brown sang in Redville.",
    "entities": [
        {"start": 0, "end": 9, "types": ["folk singer", "singer", "PER"]},
        {"start": 18, "end": 26, "types": ["village", "LOC"]},
    ],
    "whole": True,
}
WAYS = {"per": "person", "loc": "location"}  # by its short name or the full one


@pytest.mark.parametrize("kind", ["families", "types", "both"])
def test_of_the_types_asked_for_the_narrowest_counts(kind: str) -> None:
    others = [
        {"text": "It.", "entities": [{"start": 0, "end": 2, "types": [head]}], "whole": True}
        for head in ("moth", "song", "tax")
    ]
    silver = SilverPassages([PASSAGE, *others])
    samples = [silver.draw(kind, Random(seed)) for seed in range(400)]
    seen = set()
    for sample in (sample for sample in samples if len(sample.text) > 5):
        asked = {WAYS.get(label.name.lower(), label.name.lower()) for label in sample.labels}
        found = {(e.text.lower(), WAYS.get(e.label.lower(), e.label.lower())) for e in sample.entities}
        expected = set()
        for name, types in (("ann brown", ("folk singer", "singer", "person")), ("redville", ("village", "location"))):
            expected |= {(name, next(t for t in types if t in asked))} if asked & set(types) else set()
        assert found == expected
        seen |= {label for _, label in found}
    narrow, families = {"folk singer", "singer", "village"}, {"person", "location"}
    assert seen == {"families": families, "types": narrow, "both": narrow | families}[kind]


def test_types_that_a_silver_passage_has_none_of_are_asked_for_too() -> None:
    other = {"text": "It.", "entities": [{"start": 0, "end": 2, "types": ["rock band", "band", "ORG"]}], "whole": False}
    same = {"text": "He.", "entities": [{"start": 0, "end": 2, "types": ["jazz singer", "singer", "PER"]}]}
    silver = SilverPassages([PASSAGE, other, same | {"whole": False}])
    samples = [silver.draw("types", Random(seed)) for seed in range(200)]
    asked = {label.name.lower() for sample in samples if "Brown" in sample.text for label in sample.labels}
    assert asked == {"folk singer", "singer", "village", "rock band", "band"}


def test_the_same_passages_are_the_same_file_by_any_name_at_any_time(tmp_path: Path) -> None:
    """A run names its passages by the hash of their file."""
    with patch("time.time", side_effect=range(1, 100)):
        for name in ("one.gz", "other.partial"):
            write([PASSAGE], tmp_path / name)
    assert (tmp_path / "one.gz").read_bytes() == (tmp_path / "other.partial").read_bytes()


@pytest.fixture
def mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mix:
    """Of one corpus and one silver passage."""
    lines = [
        {"id": str(n), "text": f"Ann met Bob in Rome, {n}.", "entities": [
            {"start": 0, "end": 3, "label": "PER"}, {"start": 8, "end": 11, "label": "PER"},
            {"start": 15, "end": 19, "label": "LOC"},
        ]} for n in range(20)
    ]  # fmt: skip
    (tmp_path / "btc").mkdir()
    with gzip.open(tmp_path / "btc" / "train.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    write([PASSAGE], tmp_path / "silver.jsonl.gz")
    monkeypatch.setattr("corpora.CORPORA", {"btc": CORPORA["btc"]})
    return Mix(tmp_path, tmp_path / "silver.jsonl.gz")


@pytest.mark.parametrize("longest", [900, 60])
def test_batches_are_the_same_for_the_same_step_and_of_the_size_asked_for(mix: Mix, longest: int) -> None:
    drawing = Drawing(Path(), Path(), TOKENIZER, INSTRUCTIONS, batches=2, batch_tokens=1_000, longest=longest)
    tokens = Tokens(AutoTokenizer.from_pretrained(TOKENIZER))
    steps = draw(drawing, mix, tokens, 3)
    assert steps == draw(drawing, mix, tokens, 3) != draw(drawing, mix, tokens, 4)
    assert steps != draw(replace(drawing, seed=90), mix, tokens, 3)
    assert [len(step) for step in steps] == [2] * POOL
    computed = [[length(row) for row in pack.rows] for step in steps for pack in step]
    assert all(abs(sum(rows) - 1_000) <= 2 * max(rows) for rows in computed)
    assert max(len(example.ids) for step in steps for pack in step for example in pack.examples) <= longest
    assert any(example.decisions for step in steps for pack in step for example in pack.examples)


@pytest.mark.parametrize("size", [1, 40, 150])
def test_no_batch_is_empty_where_a_row_is_longer_than_it(mix: Mix, size: int) -> None:
    drawing = Drawing(Path(), Path(), TOKENIZER, INSTRUCTIONS, batches=2, batch_tokens=size, longest=900)
    steps = draw(drawing, mix, Tokens(AutoTokenizer.from_pretrained(TOKENIZER)), 3)
    rows = [length(row) for step in steps for pack in step for row in pack.rows]
    assert max(rows) > size
    assert [len(step) for step in steps] == [2] * POOL
    assert all(pack.rows for step in steps for pack in step)


def test_samples_have_only_entities_of_labels_asked_for_and_are_the_same_for_the_same_state(mix: Mix) -> None:
    samples = [sample for seed in range(300) for sample in mix.draw(Random(seed))]
    for sample in samples:
        assert {entity.label for entity in sample.entities} <= {label.name for label in sample.labels}
        assert all(sample.text[entity.start : entity.end] == entity.text for entity in sample.entities)
        assert len({label.name for label in sample.labels}) == len(sample.labels)
    assert {entity.text for sample in samples for entity in sample.entities} >= {"Ann", "Bob", "Rome", "Redville"}
    assert [sample for seed in range(300) for sample in mix.draw(Random(seed))] == samples


def test_texts_that_are_drawn_together_have_the_same_labels_and_a_row_of_their_own(
    mix: Mix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("corpora.CORPORA", {"btc": replace(CORPORA["btc"], alike=3)})
    together = [samples for seed in range(300) if len(samples := mix.draw(Random(seed))) == 3]
    assert len(together) > 100
    for samples in together:
        assert len({sample.labels for sample in samples}) == 1
        asked = {label.name for label in samples[0].labels}
        assert {entity.label for sample in samples for entity in sample.entities} <= asked
    assert any(len({sample.text for sample in samples}) == 3 for samples in together)
    found = [entity for samples in together for sample in samples[1:] for entity in sample.entities]
    assert {entity.text for entity in found} >= {"Ann", "Bob", "Rome"}
    tokens = Tokens(AutoTokenizer.from_pretrained(TOKENIZER))
    steps = draw(Drawing(Path(), Path(), TOKENIZER, INSTRUCTIONS, 1, 500, 4_096), mix, tokens, 3)
    groups = [group for step in steps for pack in step for row in pack.rows for group in row]
    assert any(len(group) == 3 for group in groups)
    assert all(len({prefix_of(example) for example in group}) == 1 for group in groups)


def test_what_shares_eight_words_with_an_evaluation_text_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    for split, text in (("test", "One two three four, five six SEVEN eight nine."), ("train", "a b c d e f g h i")):
        with gzip.open(tmp_path / "set" / f"{split}.jsonl.gz", "wt") as lines:
            lines.write(json.dumps({"text": text}) + "\n")
    held_out = HeldOut(tmp_path)
    texts = ["zero one two three four five six seven eight", "one two three four five six seven", "a b c d e f g h i"]
    assert [part.text for part in held_out.without([Document(text) for text in texts])] == texts[1:]
    assert held_out.found == 1
