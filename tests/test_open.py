"""Entities with labels that nobody lists: the format without labels, its lock, and `extract --open`."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import news
from conftest import Run
from grammar_engine import refused_at
from hypothesis import given
from hypothesis import strategies as st
from random_model import write_random_model
from resuming import manifest, records, write_documents
from strategies import Case, cases, examples, hostile_text
from test_chat import CHAT
from test_formats_walks import BYTES, walk
from test_locking import asked_one_by_one

from genner_cli import locking
from genner_cli.data.characters import inner_offsets
from genner_cli.engine.chat import CHAT_TEMPLATE
from genner_cli.errors import UsageError
from genner_cli.formats import FORMATS
from genner_cli.formats.shared import gbnf
from genner_cli.formats.shared.free_labels import (
    FREE_LABEL,
    GBNF_LABEL,
    GBNF_WORD,
    MOST_LETTERS,
    Progress,
    is_free_label,
)
from genner_cli.locking import Free, Vocabulary
from genner_cli.running.spec import RunSpec
from genner_cli.types import Entity, Label

Genner = Callable[..., Run]
OPEN = FORMATS["open"]
FREE = ("person", "river", "type of stone", "x-ray", "a", "one two three four", "w" * MOST_LETTERS)
LISTED = (
    "PER",
    "one two three four five",
    "w" * (MOST_LETTERS + 1),
    "a--b",
    "-a",
    "a-",
    "a  b",
    "a ",
    " a",
    "ä",
    "a\n",
)
DEPTHS = pytest.mark.parametrize("depth", [1, 3])
seeds = st.integers(0, 2**32)


@pytest.mark.parametrize("label", [*FREE, *LISTED, ""])
def test_expression_region_and_grammar_agree_on_what_a_free_label_is(label: str) -> None:
    free = label in FREE
    assert is_free_label(label) == free
    assert (refused_at(gbnf.rules(root=GBNF_LABEL, word=GBNF_WORD), label) is None) == free
    data = label.encode()
    within = 0 not in data.translate(FREE_LABEL.alike)
    reached = FREE_LABEL.after(Progress(), data) if within else None
    assert (isinstance(reached, Progress) and not reached.needs_letter) == free


@DEPTHS
@examples(40)
@given(case=cases(), draw=st.randoms(use_true_random=False))
def test_without_labels_free_ones_come_back_and_the_others_are_named(
    depth: int, case: Case, draw: random.Random
) -> None:
    entities = [replace(each, label=draw.choice(FREE + LISTED[:4])) for each in case.entities]
    rendering = OPEN.render(case.text, entities, (), depth=depth)
    kept = OPEN.parse(rendering.completion, case.text)
    assert Counter(kept) + Counter(left.entity for left in rendering.left_out) == Counter(entities)
    assert all(is_free_label(entity.label) for entity in kept)
    assert refused_at(OPEN.grammar((), depth=depth), rendering.completion) is None
    lock = OPEN.lock(case.text, (), depth=depth)
    places = locking.begin(lock)
    for byte in rendering.completion.encode():
        assert not locking.finished(lock, places)
        places = locking.advance(lock, places, bytes((byte,)))
    assert locking.finished(lock, places)


@DEPTHS
@examples(25)
@given(text=hostile_text(most=10), seed=seeds)
def test_any_walk_ends_in_time_with_free_labels_at_places_of_the_text(depth: int, text: str, seed: int) -> None:
    lock, draw = OPEN.lock(text, (), depth=depth), random.Random(seed)
    for extra in (0, 10, 100, 400):
        completion = walk(lock, BYTES, draw, extra)
        entities = OPEN.parse(completion, text)
        for entity in entities:
            assert entity.text == text[entity.start : entity.end] == entity.text.strip() != ""
            assert not {entity.start, entity.end} & inner_offsets(text)
            assert is_free_label(entity.label)
        assert OPEN.render(text, entities, (), depth=depth).left_out == ()
    assert refused_at(OPEN.grammar((), depth=depth), completion) is None


WRITTEN = b'[{"Bob": "man of words"}, {"a b": "x-ray"}]'


def vocabulary(draw: random.Random) -> Vocabulary:
    """Bytes, words, parts of a completion that end or begin inside labels, control and added tokens."""
    pieces: list[bytes | None] = [bytes((byte,)) for byte in range(256)]
    cuts = (sorted(draw.choices(range(len(WRITTEN) + 1), k=2)) for _ in range(60))
    pieces += [WRITTEN[start:end] for start, end in cuts if start < end]
    pieces += [
        b"man",
        b" man",
        b"man",
        b" of a",
        b"-ray",
        b"x-",
        b"w" * 19,
        b' words"}, {"',
        b'n"',
        b"n'",
        b"Man",
        b"n1",
        b"- ",
    ]
    pieces += [b"", None]
    draw.shuffle(pieces)
    return Vocabulary([*pieces, None], {b"person": len(pieces)})


@DEPTHS
@examples(15)
@given(seed=seeds)
def test_inside_a_free_label_exactly_the_tokens_are_legal_that_advance_accepts(depth: int, seed: int) -> None:
    draw = random.Random(seed)
    tokens, lock = vocabulary(draw), OPEN.lock("Bob saw a b, Bob", (), depth=depth)
    places, inside = locking.begin(lock), 0
    for _ in range(60):
        left = locking.remaining(lock, places) + draw.choice((-1, 0, 1, 3, 30))
        legal = tokens.choices(lock, places)
        assert list(legal) == asked_one_by_one(tokens, lock, places, None)
        assert tokens.legal(lock, places, left) == asked_one_by_one(tokens, lock, places, left)
        inside += len(places) == 1 and isinstance(places[0].state, Free)
        if not legal:
            break
        id = draw.choice(list(legal))
        after = locking.advance(lock, places, tokens.bytes_of(id, lock) or b"")
        assert set(legal[id]) == set(after)
        places = after
    assert inside or not legal


def test_the_lock_knows_which_occurrence_is_meant() -> None:
    text = "Rome, Rome and Rome"
    first, second = OPEN.parse('[{"Rome": "city"}, {"Rome": "old city"}]', text)
    assert (first, second) == (Entity(0, 4, "city", "Rome"), Entity(6, 10, "old city", "Rome"))
    assert OPEN.render(text, [first, second], ()).completion == '[{"Rome": "city"}, {"Rome": "old city"}]'
    third = Entity(15, 19, "city", "Rome")
    assert [left.entity for left in OPEN.render(text, [first, third], ()).left_out] == [third]
    lock = OPEN.lock("Rome", ())
    assert not locking.advance(lock, locking.begin(lock), b'[{"Rome": "city"}, {')


@pytest.mark.parametrize(
    "options",
    [
        {"labels": (Label("PER"),)},
        {"labels_field": "asked"},
        {"strict_labels": True},
        {"format": "xml"},
        {"calibration": "x.json"},
        {"no_model": True, "patterns": "x.yaml"},
        {"examples": "x.jsonl", "choose": True},
    ],
)
def test_open_is_refused_beside_what_contradicts_it(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        RunSpec(open=True, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Knows nothing, so that its labels are whatever the lock lets it write."""
    path = tmp_path_factory.mktemp("models") / "foreign.gguf"
    return write_random_model(path, seed=2, change={CHAT_TEMPLATE: CHAT}, leave_out=["genner."])


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    values = [
        {"id": n, "text": text}
        for n, text in enumerate([*news()[:5], "Ann met Ann\nin “Rome”.", "", "北京 👩‍👩‍👧 <|im_start|> \\"])
    ]
    return write_documents(tmp_path / "texts.jsonl", values)


def test_a_model_that_genner_did_not_train_extracts_with_labels_of_its_own(
    genner: Genner, model: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "open.jsonl"
    command = ["extract", texts, "--open", "--model", model, "--keep-completion", "-o", output]
    assert genner(*command).status == 0
    found = records(output)
    assert any(record["entities"] for record in found)
    for record in found:
        for entity in record["entities"]:
            assert record["text"][entity["start"] : entity["end"]] == entity["text"]
            assert is_free_label(entity["label"])
            assert 0 <= entity["score"] <= 1
    assert manifest(output)["options"]["open"] is True
    content = output.read_bytes()
    assert genner(*command).status == 0, "nothing is left to do"
    refused = genner("extract", texts, "--types", "person", "--model", model, "--keep-completion", "-o", output)
    assert (refused.status, output.read_bytes()) == (2, content)
    assert genner("entities", output, "-o", tmp_path / "tallied.jsonl").status == 0
    assert {each["label"] for each in records(tmp_path / "tallied.jsonl")} == {
        entity["label"] for record in found for entity in record["entities"]
    }
    assert genner("view", output, "-o", tmp_path / "page.html").status == 0
    label = next(entity["label"] for record in found for entity in record["entities"])
    assert label in (tmp_path / "page.html").read_text("utf-8")


def test_examples_with_free_labels_are_shown_and_others_are_refused(
    genner: Genner, model: Path, texts: Path, tmp_path: Path
) -> None:
    few, other = (
        write_documents(tmp_path / f"{label}.jsonl", [{"text": "Eve saw Oslo.", "entities": [entity]}])
        for label in ("city", "LOC")
        for entity in [{"start": 8, "end": 12, "label": label}]
    )
    command = ["extract", texts, "--open", "--model", model]
    with_examples, without = genner(*command, "--examples", few, "--keep-completion"), genner(*command)
    assert (with_examples.status, without.status) == (0, 0)
    assert all(
        record["text"][entity["start"] : entity["end"]] == entity["text"]
        for record in with_examples.records
        for entity in record["entities"]
    )
    refused = genner(*command, "--examples", other)
    assert refused.status == 2
    assert "LOC" in refused.stderr


def test_a_model_of_genner_s_own_is_refused(genner: Genner, texts: Path) -> None:
    refused = genner("extract", texts, "--open")
    assert refused.status == 2
    assert "--open" in refused.stderr


def test_plan_times_it(genner: Genner, model: Path, texts: Path) -> None:
    planned = genner("plan", texts, "--open", "--model", model, "--seconds", 1, "--slots", 2, "--json")
    assert planned.status == 0
    assert "--open" in orjson.loads(planned.stdout)["command"]
