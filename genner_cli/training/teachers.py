"""Teachers of a training: GGUF models, and the student's own base, answer every example once; the best answer to each
becomes its target (FuseLLM, arXiv 2401.10491: MinCE).

Answers lie in a folder, a file for each teacher, and are not asked for again. The base is always among the teachers, so
no target fits the data worse than what the student began with. Knows nothing of the loop.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from transformers import PreTrainedModel

from genner_cli import hub
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import DataError, ModelError, UsageError
from genner_cli.files.hashing import hash_file
from genner_cli.files.teaching import Answer, Teaching
from genner_cli.formats import output_format
from genner_cli.formats.shared.inline import InlineFormat
from genner_cli.generation import EngineOptions, Reading
from genner_cli.locking import Vocabulary
from genner_cli.prompting import Instructions
from genner_cli.training.batches import Batch
from genner_cli.training.examples import Example, Sample, encode
from genner_cli.training.fusion import answer, taught
from genner_cli.training.head import logits_of
from genner_cli.training.loss import hidden_states
from genner_cli.training.packing import Pack
from genner_cli.types import Label, Piece

BASE = "base"
CONTEXT = 4096
"""Tokens that a teacher reads, prompt and completion together."""
BLOCK = 64
"""Examples that the base answers at once, the same ones in every run: how they are packed shows in the last bits."""


def teacher_hashes(references: Sequence[str], *, download: bool) -> dict[str, str]:
    """The SHA-256 of each teacher's file. Raises ModelError where there is none."""
    return {each: hash_file(hub.resolve(each, download=download)) for each in references}


def refuse_format(format: str) -> None:
    """Raises UsageError where a student's format does not write entities in the order of the text."""
    if not isinstance(output_format(format), InlineFormat):
        raise UsageError(
            f"--teacher: the format {format} does not repeat the text; choose --format bracketed or inserted"
        )


def label_first(format: str) -> bool | None:
    """Whether entities open with their label; None for a format that does not repeat the text. Models that differ in
    it do not take the same decisions."""
    output = output_format(format)
    return output.label_first if isinstance(output, InlineFormat) else None


class Teachers:
    """The answers of the base and of all teachers, in files in a folder. `close` closes them."""

    def __init__(self, folder: Path, base_hash: str, hashes: Mapping[str, str]) -> None:
        """`hashes`: of the teachers, by their references."""
        named = {BASE: base_hash, **hashes}
        self._answers = {
            name: Teaching(folder / f"teacher-{number}.jsonl", {"teacher": name, "hash": digest})
            for number, (name, digest) in enumerate(named.items())
        }

    def ask_base(
        self, pairs: Iterable[tuple[Sample, Example]], answers: Callable[[Sequence[Example]], list[Answer]]
    ) -> list[Sample]:
        """Has the base answer what it has not yet, and gives all samples; a block of examples is held at a time.

        `answers`: what the base says of some examples.
        """
        waiting, asked = iter(pairs), list[Sample]()
        while block := list(islice(waiting, BLOCK)):
            samples = [sample for sample, _ in block]
            if any(key_of(sample) not in self._answers[BASE] for sample in samples):
                self._add(BASE, zip(samples, answers([each for _, each in block]), strict=True))
            asked += samples
        return asked

    def ask(self, reference: str, samples: Iterable[Sample], depth: int, order: bool | None) -> None:
        """Has a teacher answer what it has not yet. `order`: `label_first` of the student's format.

        Raises ModelError where it cannot teach this student.
        """
        known = self._answers[reference]
        missing = list({key: sample for sample in samples if (key := key_of(sample)) not in known}.values())
        if missing:
            self._add(reference, _answers(hub.resolve(reference), missing, depth, order))

    def _add(self, reference: str, found: Iterable[tuple[Sample, Answer]]) -> None:
        known = self._answers[reference]
        for sample, each in found:
            if (key := key_of(sample)) not in known:
                known.add(key, each)

    def best(self, sample: Sample) -> str:
        """The teacher whose cross-entropy on the completion is least; the base where it is as good as the best."""
        key = key_of(sample)
        return min(self._answers, key=lambda name: (self._answers[name].cost(key), name != BASE))

    def teach(self, sample: Sample, example: Example) -> Example:
        """The example with the best teacher's targets."""
        return taught(example, self._answers[self.best(sample)].answer(key_of(sample)))

    def report(self, samples: Sequence[Sample]) -> str:
        """For how many samples each teacher was the best."""
        counts = Counter(map(self.best, samples))
        return "taught by " + ", ".join(f"{name} ({counts[name]:,} of {len(samples):,})" for name in self._answers)

    def close(self) -> None:
        """Closes the files."""
        for teaching in self._answers.values():
            teaching.close()


def key_of(sample: Sample) -> str:
    """What an answer depends on besides the teacher, as a hash."""
    labels = [(label.name, label.definition) for label in sample.labels]
    entities = [(entity.start, entity.end, entity.label) for entity in sample.entities]
    return hashlib.sha256(json.dumps([sample.text, labels, entities]).encode()).hexdigest()[:32]


def _answers(path: Path, samples: Iterable[Sample], depth: int, order: bool | None) -> Iterator[tuple[Sample, Answer]]:
    """What a GGUF says of samples, in its own prompt, format and tokens."""
    with Model(path) as model:
        instructions = Instructions.from_metadata(model.metadata)
        if instructions is None:
            raise ModelError(f"{path} was not trained by genner, so it is no teacher; train it first (genner train)")
        if label_first(instructions.format) != order:
            raise ModelError(f"{path} writes {instructions.format}, whose decisions the student's format does not have")
        with Engine(model, _options(model)) as engine:
            for sample in samples:
                yield sample, _answer(engine, model, instructions, sample, depth)


def _options(model: Model) -> EngineOptions:
    """One sequence at a time, on as many threads as torch computes with."""
    return EngineOptions(slots=1, context=min(CONTEXT, model.trained_context), threads=torch.get_num_threads())


def _answer(engine: Engine, model: Model, instructions: Instructions, sample: Sample, depth: int) -> Answer:
    prompt, labels = instructions.prompt, _defined(sample.labels, instructions)
    try:
        asked = replace(sample, labels=labels)
        example = encode(asked, _Tokens(model), prompt, instructions.format, depth, meanings=True)
        start = example.completion_start
        legal = tuple((decision.position - start, decision.legal) for decision in example.decisions)
        reading = Reading(prompt.prefix(labels), prompt.rest(sample.text), example.ids[start:-1], legal)
        return Answer(float("inf"), ()) if example.left_out else answer(example, *engine.read([reading]))
    except DataError:  # its tokens do not end where an entity does, or its context is too small
        return Answer(float("inf"), ())


def _defined(labels: Sequence[Label], instructions: Instructions) -> tuple[Label, ...]:
    """The labels, with the definitions that the teacher knows where they have none."""
    known = {label.name: label for label in instructions.labels}
    return tuple(label if label.definition else known.get(label.name, label) for label in labels)


class _Tokens:
    """A GGUF's tokenizer as `examples.encode` uses it."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self.begins: list[int] = model.begin_ids
        self.end: int = model.end_ids[0]

    @property
    def vocabulary(self) -> Vocabulary:
        return self._model.vocabulary

    def plain(self, text: str) -> Sequence[int]:
        return self._model.plain(text)

    def pieces(self, text: str) -> Sequence[bytes]:
        return self._model.pieces(text)

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        return self._model.prompt(pieces)


@torch.no_grad()
def model_answers(model: PreTrainedModel, packs: Iterable[Pack], examples: Sequence[Example]) -> list[Answer]:
    """What a model in torch says of examples, which are those of the packs, in evaluation mode."""
    training = model.training
    model.eval()
    found: dict[int, Answer] = {}
    for pack in packs:
        batch = Batch.of(pack).to(model.device)
        states = hidden_states(model, batch)[batch.decision_at]
        logits = logits_of(model, states, batch.legal.clamp(min=0)).masked_fill(batch.legal < 0, float("-inf"))
        rows = iter(torch.log_softmax(logits.double(), 1).tolist())
        for example in pack.examples:
            logs = [next(rows)[: len(decision.legal)] for decision in example.decisions]
            found[id(example)] = answer(example, logs)
    model.train(training)
    return [found[id(example)] for example in examples]
