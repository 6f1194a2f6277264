"""Whatever a lock allows: it always goes on, always ends in time, always parses, and says only what is true."""

from __future__ import annotations

import json
import random
import re
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, pairwise, product

import pytest
from grammar_engine import refused_at
from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS, examples, hostile_text, segmentation

from genner_cli import locking
from genner_cli.data.characters import inner_offsets
from genner_cli.errors import DataError
from genner_cli.formats import FORMATS, inserted
from genner_cli.formats.shared.boundaries import Mentions, is_boundary
from genner_cli.locking import Lock, State, Vocabulary
from genner_cli.types import Entity, canonical_order

ALL = pytest.mark.parametrize("name", FORMATS)
FLAT_AND_NESTED = pytest.mark.parametrize("depth", [1, 4])
JSON = ("category", "occurrence", "offset")

seeds = st.integers(0, 2**32)
some_labels = st.lists(st.sampled_from(LABELS), min_size=1, max_size=3, unique=True)
BYTES = Vocabulary([bytes((byte,)) for byte in range(256)], {})


def walk(lock: Lock, vocabulary: Vocabulary, rng: random.Random, extra: int) -> str:
    """A completion made of legal tokens drawn at random, with `extra` tokens more than must suffice."""
    places, written = locking.begin(lock), b""
    left = locking.remaining(lock, places) + extra
    while not locking.finished(lock, places):
        legal = vocabulary.legal(lock, places, left)
        assert legal, f"nothing is legal after {written!r} with {left} tokens left"
        data = vocabulary.bytes_of(rng.choice(legal), lock)
        assert data
        places, written, left = locking.advance(lock, places, data), written + data, left - 1
    assert left >= 0
    return written.decode()


def check(name: str, text: str, labels: Sequence[str], depth: int, completion: str) -> list[Entity]:
    """Everything that holds for a completion under the lock."""
    output = FORMATS[name]
    entities = output.parse(completion, text)
    assert entities == sorted(set(entities), key=canonical_order), "listed twice, or out of order"
    for entity in entities:
        assert entity.text == text[entity.start : entity.end] == entity.text.strip() != ""
        assert not {entity.start, entity.end} & inner_offsets(text)
        assert entity.label in labels
        assert sum(_holds(other, entity) for other in entities) <= depth
        assert not any(_crosses(entity, other) for other in entities)
    if name in JSON:
        _check_json(name, text, entities, json.loads(completion))
    assert output.render(text, entities, labels, depth=depth).left_out == ()
    return entities


def _holds(outer: Entity, inner: Entity) -> bool:
    """Whether one lies around the other, itself and equal spans of an earlier label included."""
    if (outer.start, outer.end) == (inner.start, inner.end):
        return outer.label <= inner.label
    return outer.start <= inner.start and inner.end <= outer.end


def _crosses(one: Entity, other: Entity) -> bool:
    return one.start < other.start < one.end < other.end


def _check_json(name: str, text: str, entities: Sequence[Entity], value: object) -> None:
    for at in {at for entity in entities for at in (entity.start, entity.end) if 0 < at < len(text)}:
        assert not (text[at - 1 : at + 1].isascii() and text[at - 1].isalnum() and text[at].isalnum()), "inside a word"
        assert not unicodedata.category(text[at]).startswith("M"), "before a combining mark"
    if name == "category":
        assert isinstance(value, dict)
        assert sorted((label, said) for label, all_said in value.items() for said in all_said) == sorted(
            (entity.label, entity.text) for entity in entities
        )
    else:
        assert isinstance(value, list)
        key = "occurrence_index" if name == "occurrence" else "start"
        for item in value:
            places = Mentions(text).occurrences(item["text"])
            start = places[item[key] - 1] if name == "occurrence" else item["start"]
            assert start in places
            assert item.get("end", start + len(item["text"])) == start + len(item["text"])
            assert Entity(start, start + len(item["text"]), item["label"], item["text"]) in entities


@ALL
@FLAT_AND_NESTED
@examples(15)
@given(text=hostile_text(most=10), labels=some_labels, seed=seeds)
def test_random_walk_ends_in_time_and_says_only_what_is_true(
    name: str, depth: int, text: str, labels: list[str], seed: int
) -> None:
    lock, rng = FORMATS[name].lock(text, labels, depth=depth), random.Random(seed)
    for extra in (0, 10, 100, 400):
        completion = walk(lock, BYTES, rng, extra)
        check(name, text, labels, depth, completion)
    assert refused_at(FORMATS[name].grammar(labels, depth=depth), completion) is None


@ALL
@FLAT_AND_NESTED
@examples(15)
@given(text=hostile_text(most=10), labels=some_labels, seed=seeds)
def test_random_walk_of_whole_words_keeps_to_them(
    name: str, depth: int, text: str, labels: list[str], seed: int
) -> None:
    lock, rng = FORMATS[name].lock(text, labels, depth=depth, whole_words=True), random.Random(seed)
    for extra in (0, 10, 100, 400):
        for entity in check(name, text, labels, depth, walk(lock, BYTES, rng, extra)):
            assert is_boundary(text, entity.start, inner_offsets(text))
            assert is_boundary(text, entity.end, inner_offsets(text))


@FLAT_AND_NESTED
@examples(60)
@given(text=hostile_text(most=10), labels=some_labels, seed=seeds)
def test_random_walk_of_whole_words_over_any_segmentation_ends(
    depth: int, text: str, labels: list[str], seed: int
) -> None:
    segment, rng = segmentation(seed), random.Random(seed)
    lock = inserted.FORMAT.lock(text, labels, depth=depth, whole_words=True).segmented(segment)
    pieces = {*segment(inserted.FORMAT.escape(text)), *chain.from_iterable(map(segment, labels))}
    marks = {mark: len(pieces) + number for number, mark in enumerate(lock.markup)}
    completion = walk(lock, Vocabulary([*sorted(pieces), *[None] * len(marks)], marks), rng, 20)
    for entity in check("inserted", text, labels, depth, completion):
        assert is_boundary(text, entity.start, inner_offsets(text))
        assert is_boundary(text, entity.end, inner_offsets(text))


def test_whole_words_leave_out_parts_of_them_only() -> None:
    def mentions(whole_words: bool) -> set[str]:
        lock = FORMATS["bracketed"].lock("ab c", ["X"], whole_words=whole_words)
        return {entity.text for each in completions(lock) for entity in FORMATS["bracketed"].parse(each, "ab c")}

    assert mentions(True) == {"ab", "c", "ab c"}
    assert mentions(False) == {"a", "b", "ab", "c", "b c", "ab c"}


@FLAT_AND_NESTED
@examples(60)
@given(text=hostile_text(most=10), labels=some_labels, seed=seeds)
def test_random_walk_over_any_segmentation_keeps_its_tokens(
    depth: int, text: str, labels: list[str], seed: int
) -> None:
    segment, rng = segmentation(seed), random.Random(seed)
    lock = inserted.FORMAT.lock(text, labels, depth=depth).segmented(segment)
    pieces = {*segment(inserted.FORMAT.escape(text)), *chain.from_iterable(map(segment, labels))}
    marks = {mark: len(pieces) + number for number, mark in enumerate(lock.markup)}
    vocabulary = Vocabulary([*sorted(pieces), *[None] * len(marks)], marks)
    for extra in (0, 3, 20, 100):
        completion = walk(lock, vocabulary, rng, extra)
        check("inserted", text, labels, depth, completion)
    assert refused_at(inserted.FORMAT.grammar(labels, depth=depth), completion) is None


TINY = ["", " ", "a", "ab", "a a", "a b", " a ", "a,", "北京", "e\u0301", "<|", "a\nb", "1️⃣", "👍🏽a", "👩‍🚀"]


def completions(lock: Lock) -> Iterator[str]:
    """Every completion that the lock allows."""
    stack: list[tuple[bytes, State]] = [(b"", lock.start)]
    while stack:
        written, state = stack.pop()
        edges = lock.edges(state)
        stack += [(written + edge.data, edge.state) for edge in edges]
        if not edges:
            yield written.decode()


def sayable(name: str, text: str, labels: Sequence[str], depth: int) -> set[frozenset[Entity]]:
    """Every set of entities that the format's render can write."""
    spans = [(s, e) for s in range(len(text)) for e in range(s + 1, len(text) + 1)]
    all_of_them = [Entity(s, e, label, text[s:e]) for (s, e), label in product(spans, labels)]
    subsets = chain.from_iterable(combinations(all_of_them, size) for size in range(len(text) * depth + 1))
    return {frozenset(s) for s in subsets if not FORMATS[name].render(text, s, labels, depth=depth).left_out}


@ALL
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("text", TINY)
def test_lock_allows_exactly_what_render_can_say(name: str, depth: int, text: str) -> None:
    labels = ["B", "A"][: 2 if len(text) < 3 or depth == 1 else 1]
    said = {
        frozenset(FORMATS[name].parse(completion, text))
        for completion in completions(FORMATS[name].lock(text, labels, depth=depth))
    }
    assert said == sayable(name, text, labels, depth)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("text", ["a b", "a a", "é", " a", "⟦", "a  b"])
def test_lock_over_tokens_allows_exactly_what_stands_between_them(depth: int, text: str) -> None:
    escaped = inserted.FORMAT.escape(text).encode()
    for inner in chain.from_iterable(combinations(range(1, len(escaped)), n) for n in range(len(escaped))):
        cuts = [0, *inner, len(escaped)]

        def segment(part: str, cuts: Sequence[int] = cuts) -> list[bytes]:
            return [part.encode()] if part == "A" else [part.encode()[s:e] for s, e in pairwise(cuts)]

        lock = inserted.FORMAT.lock(text, ["A"], depth=depth).segmented(segment)
        said = {frozenset(inserted.FORMAT.parse(completion, text)) for completion in completions(lock)}
        assert said == {s for s in sayable("inserted", text, ["A"], depth) if all(_between(text, e, cuts) for e in s)}


@ALL
def test_a_long_text_full_of_entities_takes_little_time(name: str) -> None:
    text = "".join(f"Alice met Bob {number} in New York. " for number in range(28))
    entities = [Entity(m.start(), m.end(), "X", m[0]) for m in re.finditer("Alice|Bob|New York", text)]
    data = FORMATS[name].render(text, entities, ["X", "Y"]).completion.encode()
    lock = FORMATS[name].lock(text, ["X", "Y"])
    places = locking.begin(lock)
    started = time.process_time()
    for at in range(0, len(data), 3):
        assert locking.remaining(lock, places) > 0
        places = locking.advance(lock, places, data[at : at + 3])
    assert locking.finished(lock, places)
    assert time.process_time() - started < 5  # every start against every end: a minute


@pytest.mark.parametrize("name", JSON)
@FLAT_AND_NESTED
@given(text=hostile_text(most=8), labels=some_labels, seed=seeds)
@examples(40)
def test_what_is_likely_is_legal_in_json_and_its_mention_stands_in_the_text(
    name: str, depth: int, text: str, labels: list[str], seed: int
) -> None:
    lock, rng = FORMATS[name].lock(text, labels, depth=depth), random.Random(seed)
    places = locking.begin(lock)
    while not locking.finished(lock, places):
        data, start, end = locking.likely(lock, places)
        assert locking.advance(lock, places, data)
        if not places[0].rest:
            assert json.loads(b'"' + data[start:end] + b'"') in text
        edge = rng.choice(lock.edges(places[0].state))
        places = locking.advance(lock, places, places[0].rest + edge.data)


def test_a_tokenizer_that_changes_the_text_is_refused() -> None:
    lock = inserted.FORMAT.lock("e\u0301", ["A"])
    assert lock.segmented(lambda text: [text.encode()]).by_token
    with pytest.raises(DataError, match="tokenizer"):
        lock.segmented(lambda text: [unicodedata.normalize("NFC", text).encode()])


def _between(text: str, entity: Entity, cuts: Sequence[int]) -> bool:
    opening = entity.start - text.endswith(" ", 0, entity.start)
    return all(len(inserted.FORMAT.escape(text[:at]).encode()) in cuts for at in (opening, entity.end))


@ALL
@FLAT_AND_NESTED
@pytest.mark.parametrize("segment", [None, segmentation(1), segmentation(2)])
def test_from_every_state_some_way_leads_to_the_end_within_the_promised_tokens(
    name: str, depth: int, segment: Callable[[str], list[bytes]] | None
) -> None:
    lock = FORMATS[name].lock('a "⟦é a', ["A", "LONGER"], depth=depth)
    lock = lock.segmented(segment) if segment else lock
    rng = random.Random(0)
    for _ in range(60):
        state = lock.start
        while edges := lock.edges(state):
            promised = lock.remaining(state)
            needed = [(1 if lock.by_token else len(edge.data)) + lock.remaining(edge.state) for edge in edges]
            assert min(needed) <= promised
            assert promised > 0
            state = rng.choice(edges).state
        assert lock.remaining(state) == 0
