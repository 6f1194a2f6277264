"""Gold documents -> examples to train and to validate on, and everything that is wrong with them, all at once.

Knows nothing of torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from random import Random

from genner_cli.files.gold import Problem
from genner_cli.prompting import Instructions
from genner_cli.training.augment import augmented, vocabulary
from genner_cli.training.base import Base
from genner_cli.training.examples import Example, Sample, encode
from genner_cli.training.gold import Gold, refuse_nothing, settle
from genner_cli.training.options import Loss, TrainOptions
from genner_cli.training.packing import Pack, in_a_row, in_pairs, order, side_by_side
from genner_cli.training.samples import encode_samples, make_samples
from genner_cli.training.virtual_tokens import drawn
from genner_cli.types import Document, Label, LabelTree


@dataclass(frozen=True, slots=True)
class Part:
    """Documents, and their samples with an example each."""

    documents: tuple[Document, ...]
    samples: tuple[Sample, ...]
    examples: tuple[Example, ...]

    def some(self, count: int) -> Part:
        """At most `count` of the documents, spread evenly, with their samples and examples."""
        step = max(1, -(-len(self.documents) // count))
        chosen = self.documents[::step]
        sources = {document.source for document in chosen}
        pairs = zip(self.samples, self.examples, strict=True)
        kept = [(sample, example) for sample, example in pairs if sample.source in sources]
        return Part(chosen, tuple(sample for sample, _ in kept), tuple(example for _, example in kept))


@dataclass(frozen=True, slots=True)
class Dataset:
    """What to train on, what to validate on, and the instructions that the model gets. `rejected`: the worse answer to
    each of the examples to train on, in their order, where preferences are learnt. `tree`: which labels may be asked
    for in place of others."""

    instructions: Instructions
    train: Part
    valid: Part
    rejected: tuple[Example, ...] = ()
    tree: LabelTree = field(default_factory=LabelTree)


def load(
    gold: Gold,
    base: Base,
    options: TrainOptions,
    *,
    meanings: bool = False,
    progress: Callable[[int], None] = lambda n: None,
) -> Dataset:
    """Encodes all data. `meanings`: whether decisions to train on get theirs; `progress` gets 1 for each sample.

    Raises DataError with a note for each kind of problem, and UsageError where there is nothing to train on.
    """
    names = tuple(label.name for label in gold.labels)
    known = vocabulary(gold.labels, gold.tree).labels(gold.labels, options.augmentation)
    instructions = Instructions(
        prompt=base.prompt,
        format=base.format(options),
        depth=options.depth,
        labels=known,
        default_labels=names,
        chunk_bytes=base.chunk_bytes(options),
        together=(names,) if options.augmentation.none else (),  # it never sees another list of labels
    )
    problems = []
    parts = []
    for documents, wanted in ((gold.train, meanings), (gold.valid, False)):
        part, more = _encoded(documents, gold.labels, instructions, base, options, progress, meanings=wanted)
        parts.append(part)
        problems += more
    rejected: tuple[Example, ...] = ()
    if gold.rejected:
        worse, more = _encoded(gold.rejected, gold.labels, instructions, base, options, progress, meanings=False)
        parts[0], rejected, long = _paired(parts[0], worse, instructions.chunk_bytes)
        problems += [*more, *long]
    settle(problems, skip=gold.files.skip)
    refuse_nothing(gold.files, parts[0].examples, parts[1].examples)
    return Dataset(instructions, parts[0], parts[1], rejected, gold.tree)


def _paired(better: Part, worse: Part, chunk_bytes: int) -> tuple[Part, tuple[Example, ...], list[Problem]]:
    """The documents whose two answers are one example each, the worse example of each, and what is too long."""
    counts = Counter(sample.source for sample in (*better.samples, *worse.samples))
    long = f"is longer than a chunk of {chunk_bytes} bytes; make chunks longer (--chunk-bytes), or split it"
    problems = [Problem(f"{source}: {long}", source) for source, count in counts.items() if count > 2]
    of_source = {sample.source: example for sample, example in zip(worse.samples, worse.examples, strict=True)}
    kept = [
        (sample, example)
        for sample, example in zip(better.samples, better.examples, strict=True)
        if counts[sample.source] == 2 and sample.source in of_source
    ]
    sources = {sample.source for sample, _ in kept}
    documents = tuple(document for document in better.documents if document.source in sources)
    part = Part(documents, tuple(sample for sample, _ in kept), tuple(example for _, example in kept))
    return part, tuple(of_source[sample.source] for sample in part.samples), problems


def _encoded(
    documents: Sequence[Document],
    labels: Sequence[Label],
    instructions: Instructions,
    base: Base,
    options: TrainOptions,
    progress: Callable[[int], None],
    *,
    meanings: bool,
) -> tuple[Part, list[Problem]]:
    samples = make_samples(documents, labels=labels, chunk_bytes=instructions.chunk_bytes)
    found = encode_samples(
        samples.samples,
        base.tokens,
        instructions,
        longest=min(options.cutoff, base.context - options.virtual),
        decisions=options.loss is Loss.LOCKED,
        meanings=meanings,
        progress=progress,
    )
    problems = [*samples.problems, *found.problems]
    bad = {problem.source for problem in problems}
    good = tuple(document for document in documents if document.source not in bad)
    pairs = zip(found.samples, found.examples, strict=True)
    kept = [(sample, example) for sample, example in pairs if sample.source not in bad]
    return Part(good, tuple(sample for sample, _ in kept), tuple(example for _, example in kept)), problems


Teach = Callable[[Sample, Example], Example]
"""Adds a teacher's targets to an example."""


class Schedule:
    """The packs of every step, the same in every run and process."""

    def __init__(self, data: Dataset, base: Base, options: TrainOptions, *, pack_tokens: int, processes: int = 1):
        """`pack_tokens`: most tokens of a pack; packs are smaller where `processes` would have nothing to do."""
        self._data = data
        self._tokens = base.tokens
        self._longest = min(options.cutoff, base.context - options.virtual)
        self._options = options
        self._pack_tokens = pack_tokens
        self._processes = processes
        self._epoch: tuple[int, list[list[int]]] = (-1, [])
        self.steps_in_epoch = -(-len(data.train.examples) // options.batch_size)
        self.teach: Teach | None = None
        self.references: Sequence[float] = ()

    def __call__(self, step: int) -> list[Pack]:
        """The packs of a step, from 0."""
        epoch, number = divmod(step, self.steps_in_epoch)
        if self._epoch[0] != epoch:
            lengths = [len(example.ids) for example in self._data.train.examples]
            seed = f"{self._options.seed} {epoch}"
            by_length = not self._options.packed
            self._epoch = (epoch, order(lengths, self._options.batch_size, seed, by_length=by_length))
        if self._data.rejected:
            return self.in_pairs(self._epoch[1][number], step)
        pairs = [self._pair(at, epoch) for at in self._epoch[1][number]]
        return self.packed(self._drawn([self.teach(*pair) if self.teach else pair[1] for pair in pairs], step))

    def _drawn(self, examples: Sequence[Example], step: int) -> list[Example]:
        return drawn(examples, self._options.virtual, self._options.seed, step)

    def packed(self, examples: Sequence[Example]) -> list[Pack]:
        """Examples as they are computed."""
        share = -(-sum(len(example.ids) for example in examples) // self._processes)
        return (in_a_row if self._options.packed else side_by_side)(examples, min(self._pack_tokens, share))

    def in_pairs(self, numbers: Iterable[int], step: int | None = None) -> list[Pack]:
        """Answers to prefer, each with the worse one behind it, and with their reference where that is known; with the
        virtual tokens of a step, if one is given."""
        better, worse = self._data.train.examples, self._data.rejected
        examples = [example for at in numbers for example in (better[at], worse[at])]
        if self.references:
            both = [reference for at in numbers for reference in self.references[2 * at : 2 * at + 2]]
            examples = [replace(example, reference=each) for example, each in zip(examples, both, strict=True)]
        if step is not None:
            examples = self._drawn(examples, step)
        return in_pairs(examples, self._pack_tokens, packed=self._options.packed)

    def to_teach(self) -> Iterator[tuple[Sample, Example]]:
        """All that is asked for in any epoch, with the example of each, which is encoded when its turn comes."""
        epochs = 1 if self._options.augmentation.none else self._options.epochs
        return (self._pair(at, epoch) for epoch in range(epochs) for at in range(len(self._data.train.examples)))

    def _pair(self, at: int, epoch: int) -> tuple[Sample, Example]:
        """A sample as it is asked for in this epoch, and its example; as it is where another list makes it too long, or
        such that the format cannot carry an entity."""
        options, part = self._options, self._data.train
        if options.augmentation.none:
            return part.samples[at], part.examples[at]
        random = Random(f"{options.seed} {epoch} {at}")
        sample = augmented(part.samples[at], options.augmentation, random, self._data.tree)
        said = self._data.instructions
        locked, meanings = options.loss is Loss.LOCKED, bool(options.fusion)
        example = encode(
            sample, self._tokens, said.prompt, said.format, said.depth, decisions=locked, meanings=meanings
        )
        if len(example.ids) > self._longest or example.left_out:
            return part.samples[at], part.examples[at]
        return sample, example
