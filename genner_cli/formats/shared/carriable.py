"""Which entities any output format can carry: spans that nest, without outer white space.

Used by every `render`. Knows nothing of any particular markup.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from genner_cli.formats import LeftOut
from genner_cli.types import Entity, canonical_order


def select(
    text: str,
    entities: Iterable[Entity],
    labels: Sequence[str],
    depth: int,
    refuse: Callable[[Entity], str | None] = lambda entity: None,
) -> tuple[list[Entity], tuple[LeftOut, ...]]:
    """The entities that can be carried, in canonical order, and those that cannot.

    `refuse` is the format's own objection to an entity, asked last.
    """
    kept: list[Entity] = []
    around: list[Entity] = []
    left_out: list[LeftOut] = []
    for entity in sorted(entities, key=canonical_order):
        while around and around[-1].end <= entity.start:
            around.pop()
        reason = _objection(text, entity, labels, around, kept, depth) or refuse(entity)
        if reason:
            left_out.append(LeftOut(entity, reason))
        else:
            kept.append(entity)
            around.append(entity)
    return kept, tuple(left_out)


def _objection(
    text: str, entity: Entity, labels: Sequence[str], around: Sequence[Entity], kept: Sequence[Entity], depth: int
) -> str | None:
    mention = text[entity.start : entity.end]
    if entity.label not in labels:
        return f"label {entity.label!r} is not in the label set"
    if not 0 <= entity.start < entity.end <= len(text):
        return f"{entity.start}:{entity.end} is not a range of the text"
    if mention != entity.text:
        return f"the text has {mention!r} at {entity.start}:{entity.end}, not {entity.text!r}"
    if mention != mention.strip():
        return "it starts or ends with white space"
    if entity in kept:
        return "it is listed twice"
    if around and around[-1].end < entity.end:
        return f"it crosses {around[-1].text!r}"
    if len(around) >= depth:
        return "it lies within another entity" if depth == 1 else f"it nests deeper than {depth}"
    return None
