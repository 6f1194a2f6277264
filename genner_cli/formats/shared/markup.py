"""The markup of an inline format: what stands around an entity, and how the text between is escaped.

Knows nothing of locks and parsers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar


class Markup:
    """Subclasses give the attributes.

    `open`: what opens an entity; `close`: what stands before and after the label in a closing. `escapes`: source
    characters and what is written for them; `char`: the GBNF of one of them or of any other. `label_first`: the label
    stands in the opening too. `space_inside`: an opening stands before the space of its mention. `markup`: literals
    that are user-defined tokens of the model.
    """

    open: ClassVar[str]
    close: ClassVar[tuple[str, str]]
    escapes: ClassVar[Mapping[str, str]]
    char: ClassVar[str]
    label_first: ClassVar[bool] = False
    space_inside: ClassVar[bool] = False
    markup: ClassVar[frozenset[bytes]] = frozenset()

    def opening(self, label: str) -> str:
        """The opening of an entity with this label."""
        return self.open

    def closing(self, label: str) -> tuple[str, ...]:
        """The parts of its closing, each of them one literal."""
        return (self.close[0], label, self.close[1])

    def escape(self, text: str) -> str:
        """The text as it stands in a completion without entities."""
        table: dict[str, str | int | None] = {**self.escapes}
        return text.translate(str.maketrans(table))
