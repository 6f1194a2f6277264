"""A document and its entities -> text for the terminal: brackets and labels, and colours where there are any.

    [John Smith | PER] joined [[Acme | ORG] Labs | ORG].

Beside gold each label follows a mark, as on the page: ✓ hit, ≠ wrong label, ↔ wrong boundary, ✗ both, + spurious,
− missed.
"""

from __future__ import annotations

from colorsys import hls_to_rgb

from rich.color import Color
from rich.style import Style
from rich.text import Text

from genner_cli.commands.terminal import printable
from genner_cli.scoring.matching import ErrorClass
from genner_cli.view.marks import Piece, marks_of, pieces
from genner_cli.view.viewed import Viewed, hue

_HEAD, _FAILED = Style(bold=True), Style(bold=True, color="red")


def marked(document: Viewed) -> Text:
    """The document: its name, what was counted in it, and its text with all entities marked."""
    marks, counts = marks_of(document)
    shown = Text.assemble((printable(document.id or document.source), _HEAD), f"  {counts}\n")
    if document.error:
        shown.append(f"failed: {printable(document.error)}\n", _FAILED)
    for piece in pieces(document.text, marks):
        shown.append(printable(piece.text, keep="\n\t"), _style(piece))
    return shown.append("\n")


def _style(piece: Piece) -> Style:
    """A tint of the label's hue; a line for what was not predicted; brackets and labels in bold."""
    mark = piece.mark
    if mark is None:
        return Style.null()
    if mark.error is ErrorClass.MISSED:
        tint = Style(underline=True)
    else:
        red, green, blue = (round(255 * part) for part in hls_to_rgb(hue(mark.entity.label) / 360, 0.86, 0.7))
        tint = Style(color="black", bgcolor=Color.from_rgb(red, green, blue))
    if piece.tag:
        return tint + (_FAILED if mark.error else _HEAD)
    return tint + _HEAD if piece.opens else tint
