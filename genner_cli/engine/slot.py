"""One running sequence of an engine: its request, what of it is decoded, and the tokens that it chooses next.

Decodes nothing itself; knows nothing of the sequences beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from genner_cli.engine.decoder import Decoder
from genner_cli.engine.drafting import NO_DRAFT, Acceptance, Draft
from genner_cli.engine.head import Row
from genner_cli.engine.statistics import Statistics
from genner_cli.generation import Request


@dataclass(slots=True)
class Job:
    """A request with its tokens; started again from here if it has to make room."""

    number: int
    request: Request
    prompt: list[int]

    @property
    def expected_cells(self) -> int:
        """Cells of the KV cache that its prompt and completion will probably fill."""
        return 2 * len(self.prompt) + len(self.prompt) // 2 + 16


@dataclass(slots=True)
class Slot:
    """A running sequence.

    `position`: tokens in the KV cache. `pending`: tokens still to be decoded, of the prompt or chosen. `last`: the
    last of them that was. `draft`: what probably follows, of which `drafted` tokens are decoded along.
    `started`: when, on the clock of `perf_counter`.
    """

    sequence: int
    job: Job
    decoder: Decoder
    position: int
    acceptance: Acceptance
    statistics: Statistics
    pending: list[int] = field(default_factory=list)
    last: int = 0
    draft: Draft = NO_DRAFT
    drafted: int = 0
    started: float = field(default_factory=perf_counter)

    def __post_init__(self) -> None:
        self.pending = [*self.job.prompt, *self._forced()]

    @property
    def out_of_time(self) -> bool:
        """Whether it has run for longer than its request allows."""
        seconds = self.job.request.seconds
        return seconds is not None and perf_counter() - self.started > seconds

    @property
    def to_decode(self) -> list[int]:
        """All pending tokens, and those of the draft that are decoded along."""
        return [*self.pending, *self.draft.ids[: self.drafted]]

    def look_ahead(self) -> Iterator[float]:
        """Drafts what probably follows; gives how probably each of its tokens will be chosen."""
        self.draft = self.decoder.draft()
        return self.acceptance.chances(self.pending[-1], self.draft)

    def decoded(self, count: int) -> None:
        """The first `count` pending tokens stand in the KV cache."""
        self.last = self.pending[count - 1]
        self.position += count
        del self.pending[:count]

    def choose(self, rows: Sequence[Row]) -> bool:
        """Chooses a token for each row of logits, as far as the draft is right; gives whether all of it was.

        `rows`: 1 + drafted of them. Each choice is followed by what it forces, drafted or not: a draft saves decoding
        and decides nothing. Raises DataError where the completion cannot continue.
        """
        chosen: list[int] = []
        accepted = 0
        while not chosen and not self.decoder.done:
            chosen = [self.decoder.take(rows[accepted]), *self._forced()]
            agreed = min(self._agreement(chosen, accepted), self.drafted - accepted)
            accepted += agreed
            del chosen[:agreed]
        self.statistics.drafted += self.drafted
        self.statistics.accepted += accepted
        self.position += accepted
        self.pending = chosen
        return accepted == self.drafted

    def _agreement(self, chosen: list[int], at: int) -> int:
        """How many of the chosen tokens are those of the draft from `at` on; notes each."""
        agreed, end = 0, at + len(chosen)
        for id, guess, inside in zip(chosen, self.draft.ids[at:end], self.draft.inside[at:end], strict=False):
            self.acceptance.note(self.acceptance.key(inside, self.last, guess), id == guess)
            if id != guess:
                break
            self.last = id
            agreed += 1
        return agreed

    def _forced(self) -> Iterator[int]:
        """Tokens that need no logits."""
        while (id := self.decoder.force()) is not None:
            self.statistics.forced += 1
            yield id
