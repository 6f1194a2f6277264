"""The source lock, and its meeting with a vocabulary.

A *lock* is made for one text by its output format (`formats/`). It speaks of bytes: from a state it
names the literals that may come next. Here that becomes token ids: `advance` asks whether one token
is legal, `Vocabulary.legal` lists all that are. Decoding and training use the same two functions.
Knows nothing of formats, of llama.cpp and of torch.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple, Protocol

from genner_cli.errors import DataError

State = Hashable
Segment = Callable[[str], Sequence[bytes]]
"""Text -> the bytes of its canonical tokens, in order, read as plain text."""
MOST_FORCED = 256


class Edge(NamedTuple):
    """`data` may come next, and leads to `state`."""

    data: bytes
    state: State


class Guess(NamedTuple):
    """Bytes that probably come next; those from `start` to `end` belong to a mention."""

    data: bytes
    start: int = 0
    end: int = 0


class Region(Hashable, Protocol):
    """A part of completions that is free: whatever the text, the same may be written there, up to the byte `end`, which
    is not part of it.

    `alike`: a table for `bytes.translate`, in which bytes that may stand for each other everywhere have the same value,
    one of them, and those that never occur in the region have 0.
    """

    @property
    def alike(self) -> bytes: ...

    @property
    def end(self) -> bytes: ...

    def after(self, at: Hashable, data: bytes) -> Hashable | None:
        """Where in the region these bytes lead to; None where they may not be written."""


class Free(NamedTuple):
    """A state inside a region: `at` is where in it, `outer` is what the lock knows besides."""

    region: Region
    at: Hashable
    outer: Any


class Lock(Protocol):
    """What may be written for one text. States are immutable; a lock holds no position.

    `by_token`: every edge is exactly one token (the canonical one); otherwise tokens may begin and
    end anywhere inside the edges' bytes. `markup`: edges that are user-defined tokens; none unless
    `by_token`.
    """

    @property
    def by_token(self) -> bool: ...

    @property
    def markup(self) -> frozenset[bytes]: ...

    @property
    def start(self) -> State: ...

    def edges(self, state: State) -> Sequence[Edge]:
        """What may come next. Empty only when the completion is whole."""

    def remaining(self, state: State) -> int:
        """Tokens that always suffice to finish from here (bytes, or edges if `by_token`): 0 where the completion
        is whole, and only there."""

    def inside(self, state: State) -> bool:
        """Whether the state lies within the rendering of an entity: a token that starts or ends
        here belongs to its decisions."""

    def likely(self, state: State) -> Guess:
        """What probably comes next. It need not be legal, and nothing that is written depends on it."""

    def segmented(self, segment: Segment) -> Lock:
        """This lock for a tokenizer; the lock itself where the tokenizer makes no difference."""


class _NoLock:
    """The lock of text that follows no source: it says nothing."""

    by_token = False
    markup: frozenset[bytes] = frozenset()
    start = None

    def edges(self, state: State) -> Sequence[Edge]:
        """None."""
        return ()

    def remaining(self, state: State) -> int:
        """None: free text may end where its grammar lets it."""
        return 0

    def inside(self, state: State) -> bool:
        """Never."""
        return False

    def likely(self, state: State) -> Guess:
        """Nothing."""
        return Guess(b"")

    def segmented(self, segment: Segment) -> Lock:
        """Itself."""
        return self


NO_LOCK: Lock = _NoLock()


class Place(NamedTuple):
    """Where a completion stands: `rest` of a literal is still to come, then `state`."""

    rest: bytes
    state: State


Places = tuple[Place, ...]
"""All places a completion may stand at; several only while literals share their first bytes."""


def begin(lock: Lock) -> Places:
    """The places of an empty completion."""
    return (Place(b"", lock.start),)


def _step(lock: Lock, places: Places) -> Iterator[Place]:
    """The places with at least one byte to come."""
    for place in places:
        if place.rest:
            yield place
        else:
            for edge in lock.edges(place.state):
                yield Place(*edge)


def advance(lock: Lock, places: Places, data: bytes) -> Places:
    """The places after one token of these bytes; empty if the token is illegal."""
    if lock.by_token:
        return tuple(Place(b"", place.state) for place in _step(lock, places) if place.rest == data)
    while data:
        following = []
        size = len(data)
        for place in _step(lock, places):
            size = min(size, len(place.rest))
            following.append(place)
        if not following:
            return ()
        head, data = data[:size], data[size:]
        places = tuple(Place(rest[size:], state) for rest, state in following if rest[:size] == head)
    return places


def finished(lock: Lock, places: Places) -> bool:
    """Whether the completion is whole: nothing more may come."""
    if len(places) == 1:  # mostly
        rest, state = places[0]
        return not rest and not lock.remaining(state)
    return bool(places) and not any(place.rest or lock.remaining(place.state) for place in places)


def remaining(lock: Lock, places: Places) -> int:
    """Tokens that always suffice to finish from these places."""
    if len(places) == 1:  # mostly
        rest, state = places[0]
        return len(rest) + lock.remaining(state)
    return min(len(place.rest) + lock.remaining(place.state) for place in places)


def inside(lock: Lock, places: Places) -> bool:
    """Whether the completion stands within an entity's rendering, or in the middle of markup."""
    return any(place.rest or lock.inside(place.state) for place in places)


def likely(lock: Lock, places: Places) -> Guess:
    """What probably comes next at the first of these places."""
    rest, state = places[0]
    data, start, end = lock.likely(state)
    return Guess(rest + data, len(rest) + start, len(rest) + end)


def forced(lock: Lock, places: Places) -> bytes:
    """The bytes with which every completion continues from these places; no further than the edge that passes
    `MOST_FORCED` of them."""
    found = b""
    while len(found) < MOST_FORCED:
        following = list(_step(lock, places))
        found += _common([place.rest for place in following])
        if len(following) != 1:
            break
        places = (Place(b"", following[0].state),)
    return found


def forced_tokens(lock: Lock, places: Places, plain: Callable[[str], Sequence[int]]) -> list[int]:
    """The canonical tokens, as `plain` gives them, of text that must come; without the last one, in whose place a
    longer token may come, unless the completion ends there."""
    literal = forced(lock, places)
    if not literal:
        return []
    ends = finished(lock, advance(lock, places, literal))
    try:
        ids = list(plain(literal.decode()))
    except UnicodeDecodeError:
        return []
    return ids if ends else ids[:-1]


_id = itemgetter(0)


def _common(literals: Sequence[bytes]) -> bytes:
    """What all of them start with."""
    first, last = min(literals, default=b""), max(literals, default=b"")
    return first[: next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]


class Vocabulary:
    """The bytes of every token that may be written.

    `pieces[id]` are the bytes of a normal or byte token, and None for control, unknown, unused and
    user-defined ones. `added` maps the text of user-defined tokens to their ids; those are legal
    only where a lock names them as its markup, never as source text.
    """

    def __init__(self, pieces: Sequence[bytes | None], added: Mapping[bytes, int]) -> None:
        self.pieces = pieces
        self.added = added
        pairs = sorted((piece, id) for id, piece in enumerate(pieces) if piece)
        self._sorted = [piece for piece, _ in pairs]
        self._ids = [id for _, id in pairs]
        self._ids_of: dict[bytes, list[int]] = {}
        for piece, id in pairs:
            self._ids_of.setdefault(piece, []).append(id)
        self._added_ids = {text: [id] for text, id in added.items()}
        self._shapes: dict[Region, tuple[dict[bytes, list[int]], Vocabulary]] = {}
        self._within: dict[tuple[Region, Hashable], dict[Hashable, list[int]]] = {}

    def bytes_of(self, id: int, lock: Lock) -> bytes | None:
        """The bytes that this token writes under this lock; None if it may never be written."""
        piece = self.pieces[id]
        if piece is None:
            return next((text for text in lock.markup if self.added.get(text) == id), None)
        return None if piece in lock.markup else piece

    def id_of(self, data: bytes) -> int | None:
        """The normal token of exactly these bytes; the first of several."""
        ids = self._ids_of.get(data)
        return ids[0] if ids else None

    def legal(self, lock: Lock, places: Places, tokens_left: int | None = None) -> list[int]:
        """Ids of all legal tokens, those only from which the completion can end in `tokens_left`."""
        return list(self.choices(lock, places, tokens_left))

    def choices(self, lock: Lock, places: Places, tokens_left: int | None = None) -> dict[int, Places]:
        """All legal tokens by id, in order, with the places that each of them leads to."""
        if lock.by_token:
            found = self._legal_edges(lock, places)
        elif len(places) == 1 and not places[0].rest and isinstance(places[0].state, Free):
            return self._free_choices(lock, places[0].state, tokens_left)
        else:
            found = list(self._legal_prefixes(lock, places, b"", 0, len(self._sorted)))
        if tokens_left is not None:
            found = [(id, after) for id, after in found if remaining(lock, after) < tokens_left]
        found.sort(key=_id)
        return dict(found)

    def _legal_edges(self, lock: Lock, places: Places) -> list[tuple[int, Places]]:
        by_data: dict[bytes, Places] = {}
        for _, here in places:
            for data, state in lock.edges(here):
                after = Place(b"", state)
                by_data[data] = (*by_data[data], after) if data in by_data else (after,)
        markup = lock.markup
        return [
            (id, after)
            for data, after in by_data.items()
            for id in (self._added_ids if data in markup else self._ids_of).get(data, ())
        ]

    def _free_choices(self, lock: Lock, state: Free, tokens_left: int | None) -> dict[int, Places]:
        """The same inside a region, where thousands of tokens may be legal: all that lead to the same place in it are
        looked at together, and those that leave it one by one."""
        _, leaving = self._shapes_in(state.region)
        outwards = leaving._legal_prefixes(lock, (Place(b"", state),), b"", 0, len(leaving._sorted))
        groups = [(after, [id]) for id, after in outwards]
        for at, ids in self._ids_within(state.region, state.at).items():
            groups.append(((Place(b"", state._replace(at=at)),), ids))
        found: dict[int, Places] = {}
        for after, ids in groups:
            if tokens_left is None or remaining(lock, after) < tokens_left:
                found.update(dict.fromkeys(ids, after))
        return dict(sorted(found.items(), key=_id))

    def _shapes_in(self, region: Region) -> tuple[dict[bytes, list[int]], Vocabulary]:
        """The ids of the tokens that lie within a region, by their translation, and the vocabulary of those that go on
        behind its end."""
        if region not in self._shapes:
            shapes: dict[bytes, list[int]] = {}
            leaving: list[bytes | None] = [None] * len(self.pieces)
            for id, piece in enumerate(self.pieces):
                shape = piece.translate(region.alike) if piece else b"\0"
                if b"\0" not in shape:
                    shapes.setdefault(shape, []).append(id)
                elif piece and piece[shape.index(b"\0") :].startswith(region.end):
                    leaving[id] = piece
            self._shapes[region] = shapes, Vocabulary(leaving, {})
        return self._shapes[region]

    def _ids_within(self, region: Region, at: Hashable) -> dict[Hashable, list[int]]:
        """The ids of the tokens that may come next and stay in the region, by where they lead to."""
        if (region, at) not in self._within:
            found: dict[Hashable, list[int]] = {}
            for shape, ids in self._shapes_in(region)[0].items():
                after = region.after(at, shape)
                if after is not None:
                    found.setdefault(after, []).extend(ids)
            self._within[region, at] = found
        return self._within[region, at]

    def _legal_prefixes(
        self, lock: Lock, places: Places, prefix: bytes, low: int, high: int
    ) -> Iterator[tuple[int, Places]]:
        """Tokens in `_sorted[low:high]`, all of which start with `prefix`, that continue from `places`."""
        # Sorted by bytes, tokens that share a prefix lie side by side, so that the list is walked like a trie: one byte
        # at a time, and a range is dropped as a whole where no edge continues with its next byte.
        by_byte: dict[int, list[Place]] = {}
        for rest, state in _step(lock, places):
            by_byte.setdefault(rest[0], []).append(Place(rest[1:], state))
        for byte, after in by_byte.items():
            longer = prefix + bytes((byte,))
            first = bisect_left(self._sorted, longer, low, high)
            end = bisect_left(self._sorted, prefix + bytes((byte + 1,)), first, high) if byte < 255 else high
            node = tuple(after)
            next_first = first
            while next_first < end and self._sorted[next_first] == longer:
                yield self._ids[next_first], node
                next_first += 1
            if next_first < end:
                yield from self._legal_prefixes(lock, node, longer, next_first, end)


class Followed(NamedTuple):
    """A token of a completion, all that were legal in its place (`Vocabulary.choices`), and the places before and after
    it."""

    id: int
    legal: Mapping[int, Places]
    before: Places
    after: Places


def follow(
    completion: str, lock: Lock, vocabulary: Vocabulary, canonical: Sequence[int] | None, *, legal: bool = True
) -> Iterator[Followed]:
    """A completion, or the start of one, token by token; where `canonical` is None the lock says how it is cut. Without
    `legal` nobody needs the legal tokens, which take time to find. Raises DataError where the lock refuses a token."""
    rest, places, at = completion.encode(), begin(lock), 0
    while rest:
        found = vocabulary.choices(lock, places) if legal or canonical is None else {}
        id = _longest(found, vocabulary, lock, rest) if canonical is None else canonical[at]
        data = None if id is None else vocabulary.bytes_of(id, lock)
        after = advance(lock, places, data) if data else ()
        if id is None or not data or not after:
            raise DataError(f"the lock refuses the completion before {rest[:40].decode(errors='replace')!r}")
        yield Followed(id, found, places, after)
        places, rest, at = after, rest[len(data) :], at + 1


def _longest(legal: Iterable[int], vocabulary: Vocabulary, lock: Lock, rest: bytes) -> int | None:
    fitting = [(len(data), id) for id in legal if (data := vocabulary.bytes_of(id, lock)) and rest.startswith(data)]
    return max(fitting)[1] if fitting else None
