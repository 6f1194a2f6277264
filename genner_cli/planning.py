"""How long a run will take: counts of the whole input, and the speed on a sample.

Takes documents one at a time, keeps a few. Knows nothing of files, of llama.cpp and of the terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain, cycle, repeat
from math import ceil
from random import Random
from time import perf_counter
from typing import Any, NamedTuple

from genner_cli.chunking import split
from genner_cli.errors import UsageError
from genner_cli.extraction import PASS_CHUNKS, DocumentOrFailure, extract
from genner_cli.generation import Completion, Generate, Invariance, Request
from genner_cli.plurals import counted, size_text
from genner_cli.tasks import Task, TaskOf
from genner_cli.types import Document, Label

TIMED_SECONDS = 5.0
TIMED_PASSES = 2
TIMED_ROUNDS = 4
"""A timing is enough after this many seconds, passes over the sample, and documents for each slot."""

LONGEST_SAMPLED = 4
"""Chunks of a document that are sampled; the rest of it is like them."""

_SEED = 0


class Sampled(NamedTuple):
    """A document of the sample, and the UTF-8 bytes of its chunks."""

    document: Document
    bytes: int


@dataclass(slots=True)
class Survey:
    """The whole input, counted. `bytes`: UTF-8 bytes of all chunks; `sample`: documents that have chunks; `prefix`:
    tokens of the prefixes that are read where documents have labels of their own."""

    documents: int = 0
    failed: int = 0
    chunks: int = 0
    bytes: int = 0
    sample: list[Sampled] = field(default_factory=list)
    prefix: int = 0


Labels = tuple[Label, ...] | None
"""Those of a document, None for those of the run."""


class _Blocks:
    """Chunks are asked about in blocks, in each of which every list of labels is read once (`extraction.extract`)."""

    def __init__(self, length: Callable[[Labels], int]) -> None:
        self._length = cache(length)
        self._chunks = 0
        self._read: set[Labels] = set()

    def tokens(self, labels: Labels, chunks: int) -> int:
        """Those of prefixes that are read for the chunks of a document, which come next."""
        found = 0
        while chunks:
            found += 0 if labels in self._read else self._length(labels)
            self._read.add(labels)
            taken = min(chunks, PASS_CHUNKS - self._chunks)
            chunks, self._chunks = chunks - taken, (self._chunks + taken) % PASS_CHUNKS
            if not self._chunks:
                self._read.clear()
        return found


def survey(
    documents: Iterable[DocumentOrFailure],
    task: Task,
    sample: int,
    note: Callable[[Survey], None] = lambda survey: None,
    prefix_of: Callable[[Labels], int] | None = None,
) -> Survey:
    """Counts documents and chunks, and draws a sample, each document as probable as any other, always the same.

    `sample`: documents of the sample; `note` is called after each document; `prefix_of`: the tokens of the prefix with
    these labels, where documents may have labels of their own. Raises UsageError where there is no text.
    """
    blocks = _Blocks(prefix_of) if prefix_of else None
    random = Random(_SEED)
    found = Survey()
    with_text = 0
    for document in documents:
        found.documents += 1
        if isinstance(document, Document):
            count, size, head = _measure(document.text, task)
            found.chunks += count
            found.bytes += size
            found.prefix += blocks.tokens(document.labels, count) if blocks else 0
            if count:
                with_text += 1
                if len(found.sample) < sample:
                    found.sample.append(_sampled(document, head, task))
                elif (place := random.randrange(with_text)) < sample:
                    found.sample[place] = _sampled(document, head, task)
        else:
            found.failed += 1
        note(found)
    if not found.chunks:
        raise UsageError(
            f"no text to time: {counted(found.documents, 'document')}, {found.failed:,} of them unreadable;"
            " genner extract reports what is wrong with each"
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


def _sampled(document: Document, head: str, task: Task) -> Sampled:
    """The head of a document, with its hints and its own labels."""
    hints = None if document.hints is None else tuple(hint for hint in document.hints if hint.end <= len(head))
    return Sampled(Document(head, hints=hints, labels=document.labels), _measure(head, task)[1])


@dataclass(slots=True)
class Tally:
    """The completions so far, and the bytes of their chunks; `error`: the first."""

    completions: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    bytes: int = 0
    failed: int = 0
    error: str | None = None

    def counted(self, generate: Generate, note: Callable[[Tally], None] = lambda tally: None) -> Generate:
        """The same engine, with its completions counted; `note` is called after each."""

        def run(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            sizes: dict[int, int] = {}
            for number, completion in generate(_measured(requests, sizes)):
                self.completions += 1
                self.prompt_tokens += completion.prompt_tokens
                self.new_tokens += len(completion.ends)
                self.bytes += sizes.pop(number)
                self.failed += completion.error is not None
                self.error = self.error or completion.error
                note(self)
                yield number, completion

        return run


def _measured(requests: Iterable[Request], sizes: dict[int, int]) -> Iterator[Request]:
    """The same requests; notes the bytes of each one's text by its number."""
    for number, request in enumerate(requests):
        sizes[number] = len(request.text.encode())
        yield request


@dataclass(frozen=True, slots=True)
class Timing:
    """The sample, extracted over and over: bytes of chunks per second, on average and in single passes over it.

    `tally`: of all that was done, the warm-up included.
    """

    speed: float
    slowest: float
    fastest: float
    tally: Tally


def time_sample(
    sample: Sequence[Sampled],
    task: Task,
    generate: Generate,
    *,
    slots: int,
    seconds: float,
    clock: Callable[[], float] = perf_counter,
    task_of: TaskOf | None = None,
    note: Callable[[Tally], None] = lambda tally: None,
) -> Timing:
    """Extracts the sample again and again, for `seconds` at most, but until more documents than slots are timed.
    `note` is called after each completion.

    Timing begins when every slot has had a completion, and the sample is asked for without end, so that no slot runs
    empty; documents with labels of their own (`task_of`) are asked for sample by sample, since they are asked about in
    groups. Raises UsageError where nothing can be extracted.
    """
    tally = Tally()
    documents = [item.document for item in sample]
    parts = repeat(documents) if task_of else (cycle(documents),)
    results = chain.from_iterable(extract(part, task, tally.counted(generate, note), task_of) for part in parts)
    began = clock()
    times: list[float] = []
    for number, result in enumerate(results):
        now = clock()
        if not tally.completions and number > len(sample):  # the model refuses the labels of all documents
            raise UsageError(f"no document of the sample can be extracted: {result.error}")
        if times:
            times.append(now)
            out_of_time = now - began >= seconds and len(times) > slots  # as many may be done at the same moment
            if out_of_time or _is_enough(times, len(sample), slots):
                break
        elif tally.completions >= slots:
            times, first = [now], number + 1
    if tally.failed == tally.completions:
        raise UsageError(f"no document of the sample can be extracted: {tally.error}")
    return _timing(
        times, [sample[(first + at) % len(sample)].bytes for at in range(len(times) - 1)], len(sample), tally
    )


def _is_enough(times: Sequence[float], size: int, slots: int) -> bool:
    """Many slots need many documents, for at first they all begin together and finish together."""
    return len(times) > max(TIMED_PASSES * size, TIMED_ROUNDS * slots) and times[-1] - times[0] >= TIMED_SECONDS


def _timing(times: Sequence[float], sizes: Sequence[int], size: int, tally: Tally) -> Timing:
    """`times`: when timing began, then when each document was done; `sizes`: their bytes; `size`: documents of a pass.
    Whole passes count, if there are any."""
    whole = max(1, (len(times) - 1) // size) * size
    passes = [
        (sum(sizes[at : at + size]), max(1e-9, times[min(at + size, len(times) - 1)] - times[at]))
        for at in range(0, whole, size)
    ]
    speeds = [count / seconds for count, seconds in passes]
    mean = sum(count for count, _ in passes) / sum(seconds for _, seconds in passes)
    return Timing(mean, min(speeds), max(speeds), tally)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the whole input will take, as far as the sample shows.

    `slots`: with which the sample was timed. `prefix`: tokens of the shared prefix. `retrieved`, `hints`: of the other
    tokens of a prompt, the shares of examples for one text alone, and of hints. `passes`: over every chunk, each
    like the one that was timed. `invariance`: whether output depends on what is decoded side by side. `weights`: their
    type (`engine.type_speeds.report`).
    """

    survey: Survey
    timing: Timing
    slots: int
    prefix: int
    model_bytes: int
    kv_cache_bytes: int
    invariance: Invariance
    weights: Mapping[str, str] = field(default_factory=dict)
    passes: int = 1
    retrieved: float = 0.0
    hints: float = 0.0

    def value(self) -> dict[str, Any]:
        """The estimate as a JSON value: seconds at the mean speed, and at those of the fastest and the slowest pass."""
        survey, timing, tally = self.survey, self.timing, self.timing.tally
        size = self.passes * survey.bytes
        scale = size / tally.bytes
        own = scale * tally.prompt_tokens
        return {
            "documents": survey.documents,
            "failed": survey.failed,
            "chunks": survey.chunks,
            "bytes": survey.bytes,
            "passes": self.passes,
            "prompt_tokens": self._prefixes() * self.prefix + round(own),
            "retrieved_tokens": round(self.retrieved * own),
            "hint_tokens": round(self.hints * own),
            "new_tokens": round(scale * tally.new_tokens),
            "memory": {"model_bytes": self.model_bytes, "kv_cache_bytes": self.kv_cache_bytes},
            "sample": {"documents": len(survey.sample), "failed_chunks": tally.failed},
            "engine": {**self.invariance.report(), **self.weights},
            "slots": self.slots,
            "seconds": round(size / timing.speed, 2),
            "least_seconds": round(size / timing.fastest, 2),
            "most_seconds": round(size / timing.slowest, 2),
        }

    def _prefixes(self) -> int:
        """How often the prefix is read; those of documents with labels of their own are all counted already."""
        return (
            self.passes
            if self.passes == 1 or self.survey.prefix
            else self.passes * ceil(self.survey.chunks / PASS_CHUNKS)
        )

    def lines(self) -> Iterator[str]:
        """The estimate for people to read."""
        found = self.value()
        failed = f", {found['failed']:,} of them unreadable" if found["failed"] else ""
        weights, cache = found["memory"]["model_bytes"], found["memory"]["kv_cache_bytes"]
        passes = f", each in {found['passes']:,} passes"
        parts = [(found["retrieved_tokens"], "of examples for one text"), (found["hint_tokens"], "of hints")]
        shown = "".join(f", {count:,} {what}" for count, what in parts if count)
        yield f"documents      {found['documents']:,}{failed}"
        yield f"chunks         {found['chunks']:,}{passes if found['passes'] > 1 else ''}"
        yield f"prompt tokens  about {found['prompt_tokens']:,}{shown}"
        yield f"new tokens     about {found['new_tokens']:,}"
        yield f"memory         {size_text(weights + cache)} (model {size_text(weights)}, KV cache {size_text(cache)})"
        yield from (f"{what}: {answer}" for what, answer in found["engine"].items())
        if not any(";" in answer for answer in self.weights.values()):
            yield "other types of weights were not timed here: genner export MODEL -o FILE --quantize fastest"
        yield f"time           {_time(found)}"
        if self.timing.tally.error:
            failures = counted(found["sample"]["failed_chunks"], "text")
            yield f"{failures} of the sample failed: {self.timing.tally.error}"


def _time(found: dict[str, Any]) -> str:
    """About how long, and the range in the same unit if more than one pass was timed."""
    unit, length = next(
        ((unit, length) for unit, length in (("h", 3600), ("min", 60)) if found["seconds"] >= 2 * length), ("s", 1)
    )
    about, least, most = (found[name] / length for name in ("seconds", "least_seconds", "most_seconds"))
    spread = f" ({least:,.1f} to {most:,.1f} {unit})" if least < most else ""
    return f"about {about:,.1f} {unit}{spread}"
