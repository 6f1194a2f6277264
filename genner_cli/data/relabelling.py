"""The entities of a record and a map of labels -> the same entities with the new labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from genner_cli.plurals import counted


@dataclass(slots=True)
class Relabelled:
    """What was done so far: entities by old label; `doubled` are those that became equal to another one."""

    renamed: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    kept: Counter[str] = field(default_factory=Counter)
    doubled: int = 0

    def lines(self, names: Mapping[str, str | None]) -> Iterator[str]:
        """What was done to each label, for people."""
        for old, count in self.renamed.most_common():
            yield f"{old} -> {names[old]}: {counted(count, 'entity')}"
        for done, counts in (("dropped", self.dropped), ("kept", self.kept)):
            for old, count in counts.most_common():
                yield f"{old} {done}: {counted(count, 'entity')}"
        if self.doubled:
            yield f"duplicates after relabelling: {counted(self.doubled, 'entity')} removed"

    def unused(self, names: Mapping[str, str | None]) -> list[str]:
        """Labels of the map that no entity had."""
        return sorted(names.keys() - self.renamed.keys() - self.dropped.keys())


def relabel(
    entities: Iterable[Mapping[str, Any]], names: Mapping[str, str | None], done: Relabelled
) -> list[dict[str, Any]]:
    """The entities renamed, all else in them as it was; without those for which the map says None.

    Of those that become equal in range and label the first is kept. `done` counts.
    """
    kept: dict[tuple[Any, Any, str], dict[str, Any]] = {}
    for entity in entities:
        old = entity["label"]
        new = names.get(old, old)
        counter = done.dropped if new is None else done.renamed if old in names else done.kept
        counter[old] += 1
        if new is not None:
            key = (entity["start"], entity["end"], new)
            done.doubled += key in kept
            kept.setdefault(key, {**entity, "label": new})
    return list(kept.values())
