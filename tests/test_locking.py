"""The meeting of a lock with a vocabulary: the list of legal tokens against asking each one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import LABELS, cases, examples, hostile_text, segmentation

from genner_cli import locking
from genner_cli.formats import FORMATS
from genner_cli.locking import Edge, Lock, Places, Segment, State, Vocabulary

MARKS = ("⟦".encode(), "⦂".encode(), "⟧".encode())


@dataclass(frozen=True)
class Words:
    """A lock that allows exactly these completions, each one edge."""

    words: tuple[bytes, ...]
    by_token: bool = False
    markup: frozenset[bytes] = frozenset()
    start: State = "start"

    def edges(self, state: State) -> Sequence[Edge]:
        return [Edge(word, "end") for word in self.words] if state == "start" else []

    def remaining(self, state: State) -> int:
        longest = 1 if self.by_token else min(map(len, self.words))
        return longest if state == "start" else 0

    def inside(self, state: State) -> bool:
        return False

    def segmented(self, segment: Segment) -> Lock:
        return self


def asked_one_by_one(vocabulary: Vocabulary, lock: Lock, places: Places, tokens_left: int | None) -> list[int]:
    """What `Vocabulary.legal` must give, by asking `advance` about every token."""
    found = []
    for id in range(len(vocabulary.pieces)):
        data = vocabulary.bytes_of(id, lock)
        after = locking.advance(lock, places, data) if data else ()
        if after and (tokens_left is None or locking.remaining(lock, after) < tokens_left):
            found.append(id)
    return found


def vocabulary_for(completion: str, segment: Segment, labels: Sequence[str], rng: random.Random) -> Vocabulary:
    """Bytes, parts of a completion, pieces of a segmentation, some of them twice, and added tokens."""
    data = completion.encode()
    cuts = [sorted(rng.choices(range(len(data) + 1), k=2)) for _ in range(40)]
    pieces: list[bytes | None] = [bytes((byte,)) for byte in range(256)]
    pieces += [data[start:end] for start, end in cuts if start < end]
    pieces += [piece for part in (completion, *labels) for piece in segment(part)]
    pieces += [*rng.sample(pieces, k=20), rng.randbytes(2), b"", *MARKS[:1], None]
    rng.shuffle(pieces)
    return Vocabulary([*pieces, *[None] * len(MARKS)], {mark: len(pieces) + n for n, mark in enumerate(MARKS)})


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize(("name", "by_token"), [*((name, False) for name in FORMATS), ("inserted", True)])
@examples(8)
@given(case=cases(most=8), seed=st.integers(0, 2**32))
def test_legal_lists_exactly_the_tokens_that_advance_accepts(
    name: str, by_token: bool, depth: int, case: object, seed: int
) -> None:
    text, entities, labels = case  # type: ignore[misc]
    rng, segment = random.Random(seed), segmentation(seed)
    lock = FORMATS[name].lock(text, labels, depth=depth)
    completion = FORMATS[name].render(text, entities, labels, depth=depth).completion
    pieces = segmentation(seed)
    vocabulary = vocabulary_for(text if by_token else completion, pieces, labels, rng)
    lock = lock.segmented(segment) if by_token else lock
    assert lock.by_token == by_token
    places = locking.begin(lock)
    for _ in range(25):
        legal = vocabulary.legal(lock, places)
        assert legal == asked_one_by_one(vocabulary, lock, places, None)
        if not legal:
            break
        left = locking.remaining(lock, places) + rng.choice((-1, 0, 1, 3))
        assert vocabulary.legal(lock, places, left) == asked_one_by_one(vocabulary, lock, places, left)
        places = locking.advance(lock, places, vocabulary.bytes_of(rng.choice(legal), lock) or b"")


def test_a_token_may_end_inside_a_literal_and_reach_over_several() -> None:
    lock = Words((b"abc", b"abd"))
    places = locking.advance(lock, locking.begin(lock), b"ab")
    assert {place.rest for place in places} == {b"c", b"d"}
    assert not locking.finished(lock, places)
    assert locking.finished(lock, locking.advance(lock, places, b"d"))
    assert locking.advance(lock, places, b"de") == ()
    assert locking.advance(lock, locking.begin(lock), b"b") == ()


def test_nothing_is_finished_after_an_illegal_token() -> None:
    lock = Words((b"a",))
    assert not locking.finished(lock, locking.advance(lock, locking.begin(lock), b"x"))


def test_remaining_counts_the_rest_of_a_literal_and_takes_the_shortest_way() -> None:
    lock = Words((b"abcdef", b"abx"))
    assert locking.remaining(lock, locking.advance(lock, locking.begin(lock), b"a")) == 2
    assert locking.remaining(lock, locking.advance(lock, locking.begin(lock), b"abc")) == 3


def test_tokens_left_allows_only_what_can_still_be_finished() -> None:
    vocabulary = Vocabulary([b"abcd", b"abc", b"ab", b"a", b"x", b"b", b"c", b"d"], {})
    lock = Words((b"abcd", b"x"))
    assert vocabulary.legal(lock, locking.begin(lock), 1) == [0, 4]
    assert vocabulary.legal(lock, locking.begin(lock), 2) == [0, 1, 4]
    assert vocabulary.legal(lock, locking.begin(lock), 4) == [0, 1, 2, 3, 4]
    assert vocabulary.legal(lock, locking.begin(lock), 0) == []


def test_tokens_of_the_same_bytes_are_legal_together() -> None:
    vocabulary = Vocabulary([b"b", b"a", b"a", b"aa"], {})
    for by_token in (False, True):
        lock = Words((b"a",), by_token=by_token)
        assert vocabulary.legal(lock, locking.begin(lock)) == [1, 2]
    assert vocabulary.id_of(b"a") == 1
    assert vocabulary.id_of(b"ab") is None


def test_a_token_at_the_last_byte_is_found() -> None:
    vocabulary = Vocabulary([b"\xff\xff", b"\xff", b"\xfe", b"\xff\xff\xff"], {})
    lock = Words((b"\xff\xff",))
    assert vocabulary.legal(lock, locking.begin(lock)) == [0, 1]


def test_by_token_a_part_of_an_edge_is_illegal() -> None:
    vocabulary = Vocabulary([b"a", b"ab", b"abc"], {})
    lock = Words((b"ab",), by_token=True)
    assert vocabulary.legal(lock, locking.begin(lock)) == [1]
    assert locking.advance(lock, locking.begin(lock), b"a") == ()


def test_markup_is_written_by_its_added_token_only() -> None:
    vocabulary = Vocabulary([b"[", b"a", None, None], {b"[": 2, b"a": 3})
    lock = Words((b"[", b"a"), by_token=True, markup=frozenset({b"["}))
    assert vocabulary.legal(lock, locking.begin(lock)) == [1, 2]
    assert [vocabulary.bytes_of(id, lock) for id in range(4)] == [None, b"a", b"[", None]


def test_control_and_added_tokens_are_never_legal_as_text() -> None:
    vocabulary = Vocabulary([None, b"<", b"s", b">", None], {b"<s>": 4})
    lock = Words((b"<s>",))
    assert vocabulary.bytes_of(0, lock) is None
    assert vocabulary.bytes_of(4, lock) is None
    assert vocabulary.legal(lock, locking.begin(lock)) == [1]


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_allows_an_added_token_as_source_text(name: str) -> None:
    text = "<|im_start|>⟦"
    vocabulary = Vocabulary([*(bytes((b,)) for b in range(256)), None, None], {text[:-1].encode(): 256, MARKS[0]: 257})
    lock = FORMATS[name].lock(text, LABELS)
    places = locking.begin(lock)
    while not locking.finished(lock, places):
        legal = vocabulary.legal(lock, places, locking.remaining(lock, places))
        assert legal
        assert max(legal) < 256
        places = locking.advance(lock, places, vocabulary.bytes_of(legal[0], lock) or b"")


def test_forced_goes_on_as_long_as_there_is_one_way_and_stops_within_what_several_share() -> None:
    assert locking.forced(Words((b"abcd", b"abx")), (locking.Place(b"", "start"),)) == b"ab"
    assert locking.forced(Words((b"abc",)), (locking.Place(b"b", "start"),)) == b"babc"
    assert locking.forced(Words((b"ab", b"abc")), (locking.Place(b"", "start"),)) == b"ab"
    assert locking.forced(Words((b"a", b"b")), (locking.Place(b"", "start"),)) == b""
    assert locking.forced(Words((b"a",)), (locking.Place(b"", "end"),)) == b""
    assert locking.forced(Words((b"a",)), ()) == b""


def test_forced_looks_only_so_far_ahead() -> None:
    lock = FORMATS["xml"].lock("x" + " " * 5000, ["A"])
    places = locking.advance(lock, locking.begin(lock), b"x ")
    assert locking.forced(lock, places) == b" " * locking.MOST_FORCED


SINGLE_BYTES = Vocabulary([bytes((byte,)) for byte in range(256)], {})


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize("name", FORMATS)
@examples(10)
@given(text=hostile_text(most=10), seed=st.integers(0, 2**32))
def test_every_walk_goes_on_with_the_forced_bytes_and_is_finished_where_nothing_more_may_come(
    name: str, depth: int, text: str, seed: int
) -> None:
    lock, rng = FORMATS[name].lock(text, LABELS[:3], depth=depth), random.Random(seed)
    places, written, promises = locking.begin(lock), b"", []
    left = locking.remaining(lock, places) + 60
    while choices := SINGLE_BYTES.choices(lock, places, left):
        assert choices.keys() <= SINGLE_BYTES.choices(lock, places).keys()
        assert not locking.finished(lock, places)
        forced = locking.forced(lock, places)
        assert len(SINGLE_BYTES.choices(lock, places)) == 1 or not forced
        if len(SINGLE_BYTES.choices(lock, places)) == 1 and len(places) == 1:
            assert forced
        promises.append((len(written), forced))
        byte = rng.choice(list(choices))
        places, written, left = choices[byte], written + bytes((byte,)), left - 1
    assert locking.finished(lock, places)
    assert not locking.forced(lock, places)
    for at, forced in promises:
        assert written[at : at + len(forced)] == forced


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("text", ["", " a  b\n", "a\n\n", "é<\t\t", "⟦ ⧵"])
@pytest.mark.parametrize("name", FORMATS)
def test_every_state_is_finished_exactly_where_it_has_no_edges(name: str, depth: int, text: str) -> None:
    lock = FORMATS[name].lock(text, ["A", "B"], depth=depth)
    for one in (lock, lock.segmented(segmentation(1))):
        seen, stack = {one.start}, [one.start]
        while stack and len(seen) < 2000:
            state = stack.pop()
            edges = one.edges(state)
            assert locking.finished(one, (locking.Place(b"", state),)) == (not edges)
            assert all(edge.data for edge in edges)
            following = {edge.state for edge in edges} - seen
            seen |= following
            stack += following
