"""The batches of any step, drawn from the mix by another process: the same for the same step and seed in every run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from random import Random
from threading import Thread

from corpora import Mix
from transformers import AutoTokenizer

from genner_cli.errors import DataError
from genner_cli.prompting import Instructions
from genner_cli.training.examples import Example, encode
from genner_cli.training.packing import Pack, in_a_row, prefix_of
from genner_cli.training.tokens import Tokens

POOL = 8  # steps whose batches are drawn together and grouped by length
AHEAD = 3  # pools that are drawn before they are needed


@dataclass(frozen=True, slots=True)
class Drawing:
    """What is drawn from where: `batches` per step of about `batch_tokens` tokens each, in `instructions`' prompt and
    format; examples of more than `longest` tokens are left out. Other texts are drawn with another `seed`."""

    ner: Path
    silver: Path
    tokenizer: Path
    instructions: Instructions
    batches: int
    batch_tokens: int
    longest: int
    seed: int = 0


class Batches:
    """The batches of any step; the next ones are drawn by another process meanwhile."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._drawn: dict[int, Future[list[list[Pack]]]] = {}

    def __call__(self, step: int) -> list[Pack]:
        pool = step // POOL
        numbers = range(pool, pool + AHEAD)
        self._drawn = {at: self._drawn.get(at) or self._executor.submit(_draw, at) for at in numbers}
        return self._drawn[pool].result()[step % POOL]


@contextmanager
def batches(drawing: Drawing) -> Iterator[Batches]:
    """The batches, as long as the block lasts."""
    with ProcessPoolExecutor(1, get_context("spawn"), _prepare, (drawing,)) as executor:
        yield Batches(executor)


_SOURCE: list[tuple[Drawing, Mix, Tokens]] = []  # of the process that draws


def _prepare(drawing: Drawing) -> None:
    """Reads the mix, in the process that draws."""
    Thread(target=end_with_parent, daemon=True).start()
    mix = Mix(drawing.ner, drawing.silver)
    print({"left_out": mix.left_out}, flush=True)  # texts and passages that share words with evaluation texts
    _SOURCE.append((drawing, mix, Tokens(AutoTokenizer.from_pretrained(drawing.tokenizer))))


def end_with_parent() -> None:
    """Ends this process when its parent is gone: killed, the parent cannot say so, and the executor would wait on."""
    if parent := parent_process():
        wait([parent.sentinel])
        os._exit(1)


def _draw(number: int) -> list[list[Pack]]:
    drawing, mix, tokens = _SOURCE[0]
    return draw(drawing, mix, tokens, number)


def draw(drawing: Drawing, mix: Mix, tokens: Tokens, number: int) -> list[list[Pack]]:
    """The batches of POOL steps, those of rows of like length together."""
    random = Random(drawing.seed + number)
    instructions = drawing.instructions
    rows: list[tuple[tuple[Example, ...], ...]] = []
    size, count = 0, POOL * drawing.batches
    while size < count * drawing.batch_tokens or len(rows) < count:
        examples = []
        for sample in mix.draw(random):
            try:
                example = encode(sample, tokens, instructions.prompt, instructions.format, instructions.depth)
            except DataError:
                continue  # an entity begins or ends inside a token, or the vocabulary cannot write the text
            if len(example.ids) <= drawing.longest:
                examples.append(example)
        for _, alike in groupby(examples, prefix_of):  # those with the same labels
            drawn = [row for pack in in_a_row(alike, min(drawing.longest, drawing.batch_tokens)) for row in pack.rows]
            size += sum(map(length, drawn))
            rows += drawn
    groups: list[list[tuple[tuple[Example, ...], ...]]] = [[] for _ in range(count)]
    at, filled = -1, 0
    for left, row in zip(range(len(rows), 0, -1), sorted(rows, key=length), strict=True):
        at = max(min(filled * count // size, at + 1), count - left)  # no group stays empty, however long a row is
        groups[at].append(row)
        filled += length(row)
    packs = [Pack(tuple(group)) for group in groups]
    steps = [packs[at : at + drawing.batches] for at in range(0, len(packs), drawing.batches)]
    random.shuffle(steps)
    return steps


def length(row: tuple[tuple[Example, ...], ...]) -> int:
    """Tokens that are computed: what the examples of a group begin with counts once."""
    return sum(group[0].prefix + sum(len(example.ids) - example.prefix for example in group) for group in row)
