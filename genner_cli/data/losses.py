"""What a form cannot carry -> counts and the first places, to be told at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from genner_cli.errors import DataError

_EXAMPLES = 3


class Losses:
    """Collects what was lost, by kind. `strict`: the first loss is a DataError."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self.counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def __call__(self, what: str, example: str) -> None:
        """`what` is the kind, in the plural; `example` says where, and which."""
        if self._strict:
            raise DataError(f"{example}: {what} cannot be carried; leave out --strict to go on without")
        self.counts[what] += 1
        if len(self._examples[what]) < _EXAMPLES:
            self._examples[what].append(example)

    def lines(self) -> Iterator[str]:
        """One line for each kind, with its first examples."""
        for what, count in self.counts.most_common():
            more = ", ..." if count > _EXAMPLES else ""
            yield f"not carried over: {count:,} {what} ({', '.join(self._examples[what])}{more})"
