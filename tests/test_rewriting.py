"""running.rewriting: how many records a batch has."""

from __future__ import annotations

from genner_cli.running.rewriting import (
    BATCH_CHARACTERS,
    BATCH_SECONDS,
    FEWEST_DOCUMENTS,
    MOST_DOCUMENTS,
    batches,
)
from genner_cli.types import Document


def sizes(count: int, seconds_each: float, text: str = "a") -> list[int]:
    """Of the batches of `count` documents, each of which takes so long."""
    passed: list[float] = []
    found = []
    for batch in batches([Document(text, str(number)) for number in range(count)], lambda: sum(passed)):
        found.append(len(batch))
        passed.append(seconds_each * len(batch))
    assert sum(found) == count
    return found


def test_slow_records_stand_in_small_batches_and_fast_ones_in_ever_larger_ones() -> None:
    assert sizes(100, BATCH_SECONDS) == [*[FEWEST_DOCUMENTS] * (100 // FEWEST_DOCUMENTS), 100 % FEWEST_DOCUMENTS]
    assert sizes(1000, 0)[:6] == [16, 32, 64, 128, MOST_DOCUMENTS, MOST_DOCUMENTS]


def test_a_batch_takes_about_as_long_as_it_should() -> None:
    each = BATCH_SECONDS / 64
    assert all(BATCH_SECONDS / 2 <= size * each <= BATCH_SECONDS * 2 for size in sizes(10_000, each)[2:-1])


def test_long_texts_end_a_batch() -> None:
    assert sizes(5, 0, "a" * (BATCH_CHARACTERS // 2)) == [2, 2, 1]
