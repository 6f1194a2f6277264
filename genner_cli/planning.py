"""How long a run will take and how many slots it should have: counts of the whole input, and trials on a sample.

Takes documents one at a time, keeps a few. Knows nothing of files, of llama.cpp and of the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, pairwise
from math import ceil
from random import Random
from time import perf_counter
from typing import Any, NamedTuple

from genner_cli.chunking import split
from genner_cli.errors import UsageError
from genner_cli.extraction import PASS_CHUNKS, DocumentOrFailure, Task, extract
from genner_cli.generation import MOST_SLOTS, Completion, Generate, Request
from genner_cli.types import Document

NOISE = 0.05
"""Speeds that differ by less are taken for equal."""

TIMED_SECONDS = 2.0
TIMED_PASSES = 2
TIMED_ROUNDS = 4
"""Documents timed for each slot, at least."""

GROWTH = 4
"""After so many slots, this many times as many are tried."""

ALWAYS_TRIED = 16
"""More slots are tried only while they are still faster."""

LONGEST_SAMPLED = 4
"""Chunks of a document that are sampled; the rest of it is like them."""

_SEED = 0


class Sampled(NamedTuple):
    """A document of the sample, and the UTF-8 bytes of its chunks."""

    document: Document
    bytes: int


@dataclass(slots=True)
class Survey:
    """The whole input, counted. `bytes`: UTF-8 bytes of all chunks; `sample`: documents that have chunks."""

    documents: int = 0
    failed: int = 0
    chunks: int = 0
    bytes: int = 0
    sample: list[Sampled] = field(default_factory=list)


def survey(
    documents: Iterable[DocumentOrFailure],
    task: Task,
    sample: int,
    note: Callable[[Survey], None] = lambda survey: None,
) -> Survey:
    """Counts documents and chunks, and draws a sample of so many, each as probable as any other, always the same.

    `note` is told after each document. Raises UsageError where there is no text at all.
    """
    random = Random(_SEED)
    found = Survey()
    with_text = 0
    for document in documents:
        found.documents += 1
        if isinstance(document, Document):
            count, size, head = _measure(document.text, task)
            found.chunks += count
            found.bytes += size
            if count:
                with_text += 1
                if len(found.sample) < sample:
                    found.sample.append(_sampled(head, task))
                elif (place := random.randrange(with_text)) < sample:
                    found.sample[place] = _sampled(head, task)
        else:
            found.failed += 1
        note(found)
    if not found.chunks:
        raise UsageError(
            f"there is no text to plan for: {found.documents:,} documents, of which {found.failed:,} cannot be read;"
            " genner extract says what is wrong with each"
        )
    return found


def _measure(text: str, task: Task) -> tuple[int, int, str]:
    """Chunks, their bytes, and the text of the first few."""
    count = size = end = 0
    for chunk in split(text, task.chunk_bytes, task.overlap_bytes):
        count += 1
        size += len(chunk.text.encode())
        end = chunk.own_end if count <= LONGEST_SAMPLED else end
    return count, size, text[:end]


def _sampled(text: str, task: Task) -> Sampled:
    return Sampled(Document(text), _measure(text, task)[1])


@dataclass(frozen=True, slots=True)
class Trial:
    """The sample, run over and over with so many slots.

    `bytes` of chunks took `seconds`; `slowest` and `fastest`: bytes a second of single passes over the sample.
    """

    slots: int
    bytes: int
    seconds: float
    slowest: float
    fastest: float

    @property
    def speed(self) -> float:
        """Bytes a second."""
        return self.bytes / self.seconds

    def joined(self, later: Trial) -> Trial:
        """This trial and a later one with as many slots, as one."""
        return Trial(
            self.slots,
            self.bytes + later.bytes,
            self.seconds + later.seconds,
            min(self.slowest, later.slowest),
            max(self.fastest, later.fastest),
        )


@dataclass(slots=True)
class Tally:
    """What came of the requests so far, and of how many bytes of chunks; `error`: the first."""

    completions: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    bytes: int = 0
    failed: int = 0
    error: str | None = None

    def counted(self, generate: Generate) -> Generate:
        """The same engine, with its completions counted."""

        def run(requests: Iterable[Request | None]) -> Iterator[tuple[int, Completion]]:
            for number, completion in generate(requests):
                self.completions += 1
                self.prompt_tokens += completion.prompt_tokens
                self.new_tokens += len(completion.ends)
                self.failed += completion.error is not None
                self.error = self.error or completion.error
                yield number, completion

        return run


def run_trial(
    slots: int,
    sample: Sequence[Sampled],
    task: Task,
    generate: Generate,
    limit: float,
    clock: Callable[[], float] = perf_counter,
) -> tuple[Trial, Tally]:
    """Times passes over the sample once every slot has had a completion; ends after about `limit` seconds at most,
    but not before more documents than slots are timed.

    The sample is asked for without end, so that no slot runs empty. Raises UsageError where nothing can be done.
    """
    tally = Tally()
    results = extract((item.document for item in cycle(sample)), task, tally.counted(generate))
    begun, bytes_before = clock(), 0
    times: list[float] = []
    for item, _ in zip(cycle(sample), results, strict=False):
        tally.bytes += item.bytes
        now = clock()
        if times:
            times.append(now)
            out_of_time = now - begun >= limit and len(times) > slots  # as many may be done at the same moment
            if out_of_time or _is_enough(times, len(sample), slots):
                break
        elif tally.completions >= slots:
            times, bytes_before = [now], tally.bytes
    if tally.failed == tally.completions:
        raise UsageError(f"no document of the sample can be done: {tally.error}")
    return _trial(slots, times, tally.bytes - bytes_before, sample), tally


def _is_enough(times: Sequence[float], size: int, slots: int) -> bool:
    """Many slots need many documents, for at first they all begin together and finish together."""
    return len(times) > max(TIMED_PASSES * size, TIMED_ROUNDS * slots) and times[-1] - times[0] >= TIMED_SECONDS


def _trial(slots: int, times: Sequence[float], size: int, sample: Sequence[Sampled]) -> Trial:
    """`times`: when timing began, then when each document was done; `size`: their bytes. Whole passes count, if any."""
    in_pass = sum(item.bytes for item in sample)
    passes = [max(1e-9, later - earlier) for earlier, later in pairwise(times[:: len(sample)])]
    if not passes:
        seconds = max(1e-9, times[-1] - times[0])
        return Trial(slots, size, seconds, size / seconds, size / seconds)
    return Trial(slots, len(passes) * in_pass, sum(passes), in_pass / max(passes), in_pass / min(passes))


def most_slots(survey: Survey, tally: Tally, *, context: int, prefix: int) -> int:
    """How many slots the context has room for, at the tokens that a chunk takes; no more than there are chunks."""
    cells = max(1, (tally.prompt_tokens + tally.new_tokens) // max(1, tally.completions))
    return max(1, min(MOST_SLOTS, survey.chunks, (context - prefix) // cells))


def next_slots(trials: Sequence[Trial], most: int) -> int | None:
    """`GROWTH` times as many as were tried last; None where that is too many, or no longer worth trying."""
    last = trials[-1]
    if GROWTH * last.slots > most or (last.slots >= ALWAYS_TRIED and recommended(trials) is not last):
        return None
    return GROWTH * last.slots


def recommended(trials: Sequence[Trial]) -> Trial:
    """The trial with the fewest slots of those that were as fast as the fastest."""
    highest = max(trial.speed for trial in trials)
    return next(trial for trial in trials if trial.speed >= (1 - NOISE) * highest)


@dataclass(frozen=True, slots=True)
class Plan:
    """What the whole input will take, as far as the sample tells.

    `tally` is of a trial with one slot, which finishes what it starts. `prefix`: tokens of the shared prefix.
    `most_slots`: see there; `out_of_time`: more might have been tried. `passes`: over every chunk, each like those
    that were tried.
    """

    survey: Survey
    trials: tuple[Trial, ...]
    tally: Tally
    prefix: int
    most_slots: int
    out_of_time: bool
    model_bytes: int
    kv_cache_bytes: int
    passes: int = 1

    def value(self) -> dict[str, Any]:
        """The plan as a JSON value; `slots` are those recommended, and `seconds` theirs."""
        size = self.passes * self.survey.bytes
        scale = size / self.tally.bytes
        return {
            "documents": self.survey.documents,
            "failed": self.survey.failed,
            "chunks": self.survey.chunks,
            "bytes": self.survey.bytes,
            "passes": self.passes,
            "prompt_tokens": self._prefixes() * self.prefix + round(scale * self.tally.prompt_tokens),
            "new_tokens": round(scale * self.tally.new_tokens),
            "memory": {"model_bytes": self.model_bytes, "kv_cache_bytes": self.kv_cache_bytes},
            "sample": {"documents": len(self.survey.sample), "failed_chunks": self.tally.failed},
            "trials": [_estimate(trial, size) for trial in self.trials],
            "most_slots": self.most_slots,
            "out_of_time": self.out_of_time,
            **_estimate(recommended(self.trials), size),
        }

    def _prefixes(self) -> int:
        """How often a prefix is read."""
        return 1 if self.passes == 1 else self.passes * ceil(self.survey.chunks / PASS_CHUNKS)


def _estimate(trial: Trial, size: int) -> dict[str, Any]:
    """Seconds for so many bytes: at the mean speed, and at those of the fastest and the slowest pass."""
    return {
        "slots": trial.slots,
        "seconds": round(size / trial.speed, 2),
        "least_seconds": round(size / trial.fastest, 2),
        "most_seconds": round(size / trial.slowest, 2),
    }
