"""Requests and completions: the plain values between the domain and an engine.

An engine takes an iterator of requests and gives completions, each with the number of its request, in
whatever order they finish. Extraction is handed such a `Generate`; the real one is
`engine.Engine.generate`. Everything here can be pickled.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from genner_cli.errors import UsageError
from genner_cli.locking import Lock
from genner_cli.options import Compared, Panel, option
from genner_cli.types import Piece

MOST_TOKENS = 2**31 - 1
"""llama.cpp counts positions in 32 bits with a sign (llama_pos)."""
SMALLEST_CONTEXT = 256

MOST_SLOTS = 255
"""llama.cpp runs 256 sequences side by side (LLAMA_MAX_SEQ); one of them holds the shared prefix."""

MOST_THREADS = 512
"""ggml's limit (GGML_MAX_N_THREADS); with more the process ends."""


class Constraint(StrEnum):
    """What a completion is constrained to: format and source text, the format alone, or nothing."""

    SOURCE = "source"
    FORMAT = "format"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a context is made; the help of each field says what it is.

    `context` counts the shared prefix once. `flash_attention`: None for on a GPU, and on a CPU where output does not
    depend on the batch with it (`Invariance`).
    """

    slots: int = option(
        16, "Maximum texts decoded in parallel; fewer are used if that is faster.", Panel.SPEED,
        compared=Compared.NEVER, least=1, most=MOST_SLOTS,
    )  # fmt: skip
    context: int = option(
        8192, "KV-cache size in tokens, shared by all slots.", Panel.SPEED,
        compared=Compared.NEVER, least=SMALLEST_CONTEXT,
    )  # fmt: skip
    batch_tokens: int = option(
        512, "Maximum tokens of one decoding step.", Panel.SPEED, compared=Compared.NEVER, least=32
    )
    threads: int | None = option(
        None, "CPU threads.", Panel.SPEED, compared=Compared.NEVER, least=1, most=MOST_THREADS, shown="all cores"
    )
    gpu_layers: int = option(
        -1, "Layers on a GPU; -1: all, where there is one.", Panel.SPEED, compared=Compared.NEVER, least=-1
    )
    flash_attention: bool | None = None

    def __post_init__(self) -> None:
        sizes = self.context, self.batch_tokens
        if not 1 <= self.slots <= MOST_SLOTS or min(sizes) < 1 or max(sizes) > MOST_TOKENS:
            raise UsageError(
                f"an engine cannot have {self.slots} slots, a context of {self.context} and batches of"
                f" {self.batch_tokens} tokens; choose 1 to {MOST_SLOTS} slots and sizes from 1 to {MOST_TOKENS}"
            )
        if self.batch_tokens <= self.slots:
            raise UsageError(
                f"a batch of {self.batch_tokens} tokens does not serve {self.slots} slots; choose a larger"
                " --batch-tokens"
            )
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(f"--threads is {self.threads}; give a number from 1 to {MOST_THREADS}")

    @property
    def thread_count(self) -> int:
        """The threads asked for, else one for each core, as far as ggml takes them."""
        return self.threads or min(os.cpu_count() or 1, MOST_THREADS)


class Rows(NamedTuple):
    """Tokens of one decoding step: at least, at most, and a multiple of."""

    least: int
    most: int
    step: int

    def padded(self, count: int) -> int:
        """The smallest number that is allowed and not below `count`."""
        return max(self.least, -(-count // self.step) * self.step)


@dataclass(frozen=True, slots=True)
class Invariance:
    """Whether what is written for a text is the same to the byte, whatever is decoded beside it.

    `rows`: the sizes of steps among which llama.cpp gives the same bits; None where there are none, and `reason` says
    why.
    """

    rows: Rows | None
    reason: str = ""

    def report(self) -> dict[str, str]:
        """What a manifest and a plan show of it."""
        return {"same output in any batch": f"no: {self.reason}" if self.reason else "yes"}


def smaller_context(context: int) -> str:
    """The remedy where a context is too large, nobody knows by how much."""
    half = context // 2
    return f"try --context {half}, or a smaller model" if half >= SMALLEST_CONTEXT else "use a smaller model"


OUT_OF_TIME = "out of time"
"""The error of a completion that took longer than its request allows."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn instead of taking the most probable one: the same seed and request give the same text.

    `request`: which of the requests with this seed it is, by number or name, whenever and wherever it runs.
    `temperature` divides the logits, and 0 takes the most probable token; tokens that are, at temperature 1, less
    probable than `min_p` times the most probable one are not drawn (Nguyen et al. 2024, arXiv 2407.01082). Raises
    UsageError for values out of bounds.
    """

    seed: int
    request: int | str
    temperature: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.temperature < float("inf") and 0 <= self.min_p <= 1):
            raise UsageError(
                f"temperature {self.temperature} with min-p {self.min_p} cannot be sampled with; choose a temperature"
                " from 0 on and a min-p from 0 to 1"
            )


@dataclass(frozen=True, slots=True)
class Request:
    """One completion to generate.

    `prefix` is shared by requests that follow each other and decoded once; `grammar` is GBNF.
    `allowance`: tokens beyond those that suffice for the shortest legal completion. `seconds`: the time that it may be
    in a slot, after which it ends with the error OUT_OF_TIME; None for any. `retrieved`: the leading pieces of `rest`
    that are demonstrations; behind them come the text, its hints if it is `hinted`, and what ends the prompt.
    `sampling`: None takes the most probable tokens. Free text has the constraint FORMAT and the lock `locking.NO_LOCK`:
    the grammar says what may be written, and `allowance` how many tokens at most.
    """

    prefix: tuple[Piece, ...]
    rest: tuple[Piece, ...]
    grammar: str
    lock: Lock
    allowance: int
    constraint: Constraint = Constraint.SOURCE
    seconds: float | None = None
    retrieved: int = 0
    hinted: bool = False
    sampling: Sampling | None = None

    @property
    def text(self) -> str:
        """The text that it is about."""
        return self.rest[-3 if self.hinted else -2].text


@dataclass(frozen=True, slots=True)
class Completion:
    """What was generated.

    `ends[i]` is the number of UTF-8 bytes of `text` up to token i's end. `log_probabilities[i]` is
    that of token i among its legal alternatives; None for tokens that belong to no entity.
    `margin` is the smallest difference between the logit of a chosen token and that of another legal
    one, where it was small enough to be looked at, else infinity. `error` says why there is no text. `cut`: its tokens
    ran out before it was whole, which a source lock does not let happen.
    """

    text: str
    ends: tuple[int, ...] = ()
    log_probabilities: tuple[float | None, ...] = ()
    prompt_tokens: int = 0
    margin: float = float("inf")
    error: str | None = None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Continuation:
    """A completion under a source lock, of which what stands from `start` to `end` (characters) is asked for."""

    lock: Lock
    completion: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Question:
    """A closed question: which of the `options` follows the prompt. `prefix` as in a `Request`.

    `whole`: an option counts with the end of the text behind it, so that one that begins another is not favoured; else
    as the beginning of whatever follows. `continuation`: in place of options, what a model that writes under a lock
    would write: its tokens count among the legal ones, as in an entity's score.
    """

    prefix: tuple[Piece, ...]
    rest: tuple[Piece, ...]
    options: tuple[tuple[Piece, ...], ...] = ()
    whole: bool = True
    continuation: Continuation | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """`log_probabilities`: natural logarithm of the probability that a text is this option and ends after it, for each;
    where options are not whole, that it begins with the option. Of a continuation, and of all that may be written in
    place of its first token.

    Of options over the whole vocabulary, in the vocabulary's own cut into tokens. `error` says why there are none.
    """

    log_probabilities: tuple[float, ...]
    prompt_tokens: int = 0
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """A completion that is given, by token ids, and what is asked about it; `prefix` as in a `Request`.

    `legal`: number of a token of the completion, from 0, and the ids that may stand in its place.
    """

    prefix: tuple[Piece, ...]
    rest: tuple[Piece, ...]
    ids: tuple[int, ...]
    legal: tuple[tuple[int, tuple[int, ...]], ...]


Score = Callable[[Iterable[Question]], Iterator[tuple[int, Answer]]]
"""Answers with the numbers, from 0, of their questions, in the order they finish."""

Generate = Callable[[Iterable[Request]], Iterator[tuple[int, Completion]]]
"""Completions with the numbers, from 0, of their requests, in the order they finish. Requests are drawn only as they
are needed; when there are no more, what is running is finished."""
