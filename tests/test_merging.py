"""Entities of chunks -> entities of the document, each once, at the right place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from genner_cli.merging import merge, owned
from genner_cli.types import Chunk, Entity, canonical_order

TEXT = "abcdefghijklmnopqrst"


def entity(start: int, end: int, score: float | None = 0.5, label: str = "X") -> Entity:
    return Entity(start, end, label, TEXT[start:end], score)


def chunk(start: int, end: int, own_start: int, own_end: int) -> Chunk:
    return Chunk(TEXT[start:end], start, own_start, own_end)


WHOLE = chunk(0, 20, 0, 20)


def in_chunk(part: Chunk, *entities: Entity) -> tuple[Chunk, list[Entity]]:
    """The entities as that chunk sees them: offsets into its own text."""
    return part, [replace(e, start=e.start - part.start, end=e.end - part.start) for e in entities]


def merged(*entities: Entity, depth: int = 1) -> list[Entity]:
    return list(merge(entities, depth))


def test_offsets_become_those_of_the_document() -> None:
    part = chunk(10, 20, 10, 20)
    (found,) = owned(*in_chunk(part, entity(12, 15)))
    assert (found, found.score) == (entity(12, 15), 0.5)
    assert TEXT[found.start : found.end] == found.text


def test_a_chunk_reports_what_begins_in_the_range_it_owns_even_if_it_ends_behind_it() -> None:
    left, right = chunk(0, 14, 0, 10), chunk(6, 20, 10, 20)
    both = [entity(6, 8), entity(9, 13), entity(10, 12)]
    assert list(owned(*in_chunk(left, *both))) == [entity(6, 8), entity(9, 13)]
    assert list(owned(*in_chunk(right, *both))) == [entity(10, 12)]


def test_what_two_chunks_find_comes_once() -> None:
    assert merged(entity(1, 3), entity(1, 3, 0.9)) == [entity(1, 3)]


def test_entities_come_in_canonical_order() -> None:
    found = [entity(5, 6), entity(0, 2, label="Y"), entity(0, 2), entity(0, 4), entity(2, 3)]
    assert merged(*found, depth=9) == sorted(found, key=canonical_order)


def test_nothing_merges_to_nothing() -> None:
    assert merge([], 1) == ()


@pytest.mark.parametrize(
    ("depth", "entities", "kept"),
    [
        pytest.param(1, [entity(0, 5, 0.4), entity(3, 8, 0.6)], [1], id="the better of two that cross"),
        pytest.param(1, [entity(0, 5, 0.6), entity(3, 8, 0.4)], [0], id="the better comes first"),
        pytest.param(1, [entity(0, 5, 0.5), entity(3, 8, 0.5)], [0], id="the first of equal ones"),
        pytest.param(1, [entity(0, 9, 0.4), entity(3, 5, 0.6)], [1], id="flat: inner"),
        pytest.param(2, [entity(0, 9, 0.4), entity(3, 5, 0.6)], [0, 1], id="nested: both"),
        pytest.param(2, [entity(0, 9, 0.6), entity(3, 12, 0.4)], [0], id="nested: crossing"),
        pytest.param(2, [entity(0, 9, 0.2), entity(1, 8, 0.3), entity(2, 5, 0.4)], [0, 2], id="deeper than allowed"),
        pytest.param(1, [entity(0, 3, None), entity(2, 5, 0.1)], [1], id="no score counts as none"),
        pytest.param(1, [entity(0, 3), entity(3, 5)], [0, 1], id="neighbours"),
        pytest.param(4, [entity(0, 10, 0.4), entity(2, 6, 0.3), entity(5, 12, 0.9)], [2], id="better than two"),
        pytest.param(4, [entity(0, 10, 0.9), entity(2, 6, 0.3), entity(5, 12, 0.5)], [0, 1], id="worse than one"),
    ],
)  # fmt: skip
def test_where_entities_conflict_the_better_scored_stays(
    depth: int, entities: Sequence[Entity], kept: Sequence[int]
) -> None:
    assert merged(*entities, depth=depth) == [entities[number] for number in kept]


any_entity = st.builds(
    lambda start, length, score, label: entity(start, min(20, start + length), score, label),
    st.integers(0, 19),
    st.integers(1, 12),
    st.sampled_from([0.1, 0.2, 0.3, 0.4]),
    st.sampled_from("XY"),
)


@given(entities=st.lists(any_entity, max_size=8), depth=st.integers(1, 4))
@examples(150)
def test_what_stays_never_crosses_and_nests_no_deeper_than_allowed(entities: list[Entity], depth: int) -> None:
    kept = merged(*entities, depth=depth)
    assert set(kept) <= set(entities)
    assert len(set(kept)) == len(kept)
    for one in kept:
        assert not any(other.start < one.start < other.end < one.end for other in kept)
        assert sum(other.start <= one.start and one.end <= other.end for other in kept) <= depth
    if entities:
        assert kept
