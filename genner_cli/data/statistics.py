"""Labelled documents -> how many of what there are: entities by label, lengths, nesting, empty documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import mean, median

from genner_cli.types import Document, Entity, Label


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean, median and maximum of lengths in characters; 0 where there are none."""

    mean: float
    median: float
    max: int


@dataclass(frozen=True, slots=True)
class LabelStatistics:
    """Of the entities with one label: how many, of how many different mentions, in how many documents."""

    entities: int
    mentions: int
    documents: int
    lengths: Lengths


@dataclass(frozen=True, slots=True)
class Statistics:
    """`nested`: entities that lie within another one; `empty`: documents without entities."""

    documents: int
    empty: int
    characters: int
    document_lengths: Lengths
    entities: int
    nested: int
    entity_lengths: Lengths
    labels: dict[str, LabelStatistics]


@dataclass(slots=True)
class _Seen:
    """Of one label, so far."""

    lengths: list[int] = field(default_factory=list)
    mentions: set[str] = field(default_factory=set)
    documents: int = 0


def statistics(documents: Iterable[Document]) -> Statistics:
    """Counts over all documents; labels come by falling number of entities."""
    lengths: list[int] = []
    empty = nested = 0
    seen: dict[str, _Seen] = {}
    for document in documents:
        lengths.append(len(document.text))
        empty += not document.entities
        nested += count_nested(document.entities)
        _look_at(document, seen)
    every = [length for label in seen.values() for length in label.lengths]
    return Statistics(
        documents=len(lengths),
        empty=empty,
        characters=sum(lengths),
        document_lengths=_lengths(lengths),
        entities=len(every),
        nested=nested,
        entity_lengths=_lengths(every),
        labels={name: _label(seen[name]) for name in sorted(seen, key=lambda name: (-len(seen[name].lengths), name))},
    )


def count_nested(entities: Sequence[Entity]) -> int:
    """How many of them lie within another one; they are in canonical order. Of equal ranges one is the outer."""
    reach = count = 0
    for entity in entities:
        count += entity.end <= reach
        reach = max(reach, entity.end)
    return count


def _look_at(document: Document, seen: dict[str, _Seen]) -> None:
    for entity in document.entities:
        label = seen.setdefault(entity.label, _Seen())
        label.lengths.append(len(entity.text))
        label.mentions.add(entity.text)
    for name in {entity.label for entity in document.entities}:
        seen[name].documents += 1


def _label(seen: _Seen) -> LabelStatistics:
    return LabelStatistics(len(seen.lengths), len(seen.mentions), seen.documents, _lengths(seen.lengths))


def _lengths(lengths: Sequence[int]) -> Lengths:
    return Lengths(mean(lengths), median(lengths), max(lengths)) if lengths else Lengths(0.0, 0.0, 0)


def lines_of(counted: Statistics) -> Iterator[str]:
    """For people to read."""
    share = counted.empty / max(1, counted.documents)
    nested = counted.nested / max(1, counted.entities)
    yield f"documents   {counted.documents:,}, {counted.empty:,} ({share:.1%}) without entities"
    yield f"characters  {counted.characters:,}; per document: {_summary(counted.document_lengths)}"
    yield f"entities    {counted.entities:,}, {counted.nested:,} ({nested:.1%}) nested"
    yield f"            characters of an entity: {_summary(counted.entity_lengths)}"
    if counted.labels:
        yield ""
        yield from _table(counted)


def _summary(lengths: Lengths) -> str:
    return f"mean {lengths.mean:,.1f}, median {lengths.median:,.1f}, maximum {lengths.max:,}"


def _table(counted: Statistics) -> Iterator[str]:
    header = ("label", "entities", "share", "mentions", "documents", "mean length", "longest")
    rows = [
        (
            name,
            f"{label.entities:,}",
            f"{label.entities / counted.entities:.1%}",
            f"{label.mentions:,}",
            f"{label.documents:,}",
            f"{label.lengths.mean:.1f}",
            f"{label.lengths.max:,}",
        )
        for name, label in counted.labels.items()
    ]
    yield from _aligned([header, *rows])


def _aligned(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *cells in rows:
        right = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        yield "  ".join([name.ljust(widths[0]), *right])


def is_nested(documents: Iterable[Document]) -> bool:
    """Whether any entity lies in another."""
    return any(count_nested(document.entities) for document in documents)


def labels_in(documents: Iterable[Document]) -> tuple[Label, ...]:
    """The labels of all entities, by name."""
    return tuple(map(Label, sorted({entity.label for document in documents for entity in document.entities})))
