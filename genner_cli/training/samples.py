"""Gold documents -> what a model is trained on, in chunks like those of extraction, and what cannot be learnt.

Takes documents, gives samples and their examples; each problem names file and line. Knows nothing of torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from genner_cli.chunking import split
from genner_cli.errors import DataError
from genner_cli.files.gold import Problem
from genner_cli.prompting import Instructions
from genner_cli.training.examples import Example, Sample, encode
from genner_cli.training.tokens import Tokens
from genner_cli.types import Chunk, Document, Entity, Label


@dataclass(frozen=True, slots=True)
class Samples:
    """Samples without a problem, in input order, and the problems of the others."""

    samples: tuple[Sample, ...]
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Samples without a problem, the example of each, and the problems of the others."""

    samples: tuple[Sample, ...]
    examples: tuple[Example, ...]
    problems: tuple[Problem, ...]


def make_samples(documents: Iterable[Document], *, labels: Sequence[Label], chunk_bytes: int) -> Samples:
    """A sample for each chunk of each document, with the entities that it holds whole.

    An entity that no chunk holds whole is a problem, and the chunks that hold a part of it are left out.
    """
    samples: list[Sample] = []
    problems: list[Problem] = []
    for document in documents:
        chunks = list(split(document.text, chunk_bytes))
        cut = [e for e in document.entities if not any(_holds(chunk, e) for chunk in chunks)]
        problems += [_problem(document.source, e, f"no chunk of {chunk_bytes} bytes holds it; {_LONGER}") for e in cut]
        samples += [_sample(document, chunk, labels) for chunk in chunks if not any(_touches(chunk, e) for e in cut)]
    return Samples(tuple(samples), tuple(problems))


_LONGER = "make chunks longer (--chunk-bytes)"


def _holds(chunk: Chunk, entity: Entity) -> bool:
    return chunk.start <= entity.start and entity.end <= chunk.start + len(chunk.text)


def _touches(chunk: Chunk, entity: Entity) -> bool:
    return chunk.start < entity.end and entity.start < chunk.start + len(chunk.text)


def _sample(document: Document, chunk: Chunk, labels: Sequence[Label]) -> Sample:
    inside = (entity for entity in document.entities if _holds(chunk, entity))
    moved = tuple(replace(e, start=e.start - chunk.start, end=e.end - chunk.start) for e in inside)
    return Sample(chunk.text, moved, tuple(labels), document.source, chunk.start)


def encode_samples(
    samples: Iterable[Sample],
    tokens: Tokens,
    instructions: Instructions,
    *,
    longest: int,
    decisions: bool = True,
    meanings: bool = False,
    progress: Callable[[int], None] = lambda n: None,
) -> Encoded:
    """The examples of samples; problems are entities that the format cannot represent, and examples of more than
    `longest` tokens (prompt and completion). `decisions`, `meanings`: whether examples have theirs. `progress` gets 1
    for each sample."""
    good: list[tuple[Sample, Example]] = []
    problems: list[Problem] = []
    for sample in samples:
        try:
            example = encode(
                sample,
                tokens,
                instructions.prompt,
                instructions.format,
                instructions.depth,
                decisions=decisions,
                meanings=meanings,
            )
        except DataError as error:
            problems += _refusals(sample, tokens, instructions, error)
        else:
            found = list(_problems(sample, example, instructions.format, longest))
            problems += found
            good += [] if found else [(sample, example)]
        progress(1)
    return Encoded(tuple(sample for sample, _ in good), tuple(example for _, example in good), tuple(problems))


def _problems(sample: Sample, example: Example, format: str, longest: int) -> Iterator[Problem]:
    for entity, reason in example.left_out:
        remedy = f"the format {format} cannot represent it ({reason}); correct it, or choose another --format"
        yield _problem(sample.source, _in_document(sample, entity), remedy)
    if len(example.ids) > longest:
        message = f"{len(example.ids):,} tokens from character {sample.start} on, prompt included, and at most"
        remedy = f"{longest:,} are trained on; raise --cutoff, or make chunks shorter (--chunk-bytes)"
        yield Problem(f"{sample.source}: {message} {remedy}", sample.source)


def _refusals(sample: Sample, tokens: Tokens, instructions: Instructions, error: DataError) -> list[Problem]:
    """The entities for which a sample cannot be encoded; the sample as a whole where none fails alone."""
    why = f"in the format {instructions.format} it begins or ends inside a token of this model; choose another --format"
    found = []
    if _encodes(sample, (), tokens, instructions):
        culprits = [entity for entity in sample.entities if not _encodes(sample, (entity,), tokens, instructions)]
        found = [_problem(sample.source, _in_document(sample, entity), why) for entity in culprits]
    return found or [Problem(f"{sample.source}: {error}", sample.source)]


def _encodes(sample: Sample, entities: tuple[Entity, ...], tokens: Tokens, instructions: Instructions) -> bool:
    alone = replace(sample, entities=entities)
    try:
        encode(alone, tokens, instructions.prompt, instructions.format, instructions.depth, decisions=False)
    except DataError:
        return False
    return True


def _in_document(sample: Sample, entity: Entity) -> Entity:
    return replace(entity, start=entity.start + sample.start, end=entity.end + sample.start)


def _problem(source: str, entity: Entity, why: str) -> Problem:
    shown = f"{entity.text!r} at {entity.start}:{entity.end} ({entity.label})"
    return Problem(f"{source}: {shown}: {why}", source)
