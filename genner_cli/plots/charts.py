"""Figures -> SVG, as text to be put into a page, in whose colours they are drawn.

Each SVG is labelled for those who do not see it; what it shows stands in the page's tables as well.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from html import escape
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from genner_cli.calibration import Bin, Judged
from genner_cli.scoring.evaluation import NOTHING
from genner_cli.scoring.figures import Figures

INK = "#010203"
"""Stands for the page's own colour of text, whatever that is."""

ACCENT, SECOND = "#2f7fc1", "#c2612c"
"""Both have a contrast of 3 or more on white and on black."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 10,
    "font.family": ["sans-serif"],
}
_MOST_LABELS = 40
_LONG_LABEL = 24
_NEAR = 4
"""Percent: what is nearer together gets one mark."""


def f1_by_label(labels: Mapping[str, Figures]) -> str:
    """A point for each label with its interval, the best label on top; at most 40, those with the most gold."""
    shown = sorted(labels.items(), key=lambda pair: -(pair[1].counts.gold if pair[1].counts else 0))[:_MOST_LABELS]
    shown.sort(key=lambda pair: pair[1].f1.value)

    def draw(axes: Axes) -> None:
        for at, (_, figures) in enumerate(shown):
            value, low, high = figures.f1
            axes.plot([100 * low, 100 * high], [at, at], color=ACCENT, linewidth=2, solid_capstyle="butt")
            axes.plot([100 * value], [at], "o", color=ACCENT)
        axes.set_yticks(range(len(shown)), [_short(label) for label, _ in shown])
        axes.set(xlim=(0, 100), ylim=(-0.6, len(shown) - 0.4), xlabel="strict F1, 95 % interval")
        axes.grid(axis="x", alpha=0.2, color=INK)

    return _svg("f1", "F1 of each label with its interval", draw, height=1.1 + 0.28 * max(1, len(shown)))


def confusion(pairs: Mapping[tuple[str, str], int]) -> str:
    """Counts of pairs of labels, gold in rows; the shade is the share of the row."""
    weight = {label: sum(n for pair, n in pairs.items() if label in pair) for pair in pairs for label in pair}
    names = sorted((label for label in weight if label != NOTHING), key=lambda label: -weight[label])[:_MOST_LABELS]
    names = [*sorted(names), NOTHING]
    table = [[pairs.get((gold, predicted), 0) for predicted in names] for gold in names]

    def draw(axes: Axes) -> None:
        for row, counts in enumerate(table):
            for column, count in enumerate(counts):
                if count:
                    share = count / sum(counts)
                    axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, color=ACCENT, alpha=0.75 * share))
                    axes.text(column, row, f"{count:,}", ha="center", va="center", fontsize=8)
        ticks = range(len(names))
        shown = [_short(name) if name else "(none)" for name in names]
        axes.set_xticks(ticks, shown, rotation=45, ha="right")
        axes.set_yticks(ticks, shown)
        axes.set(xlim=(-0.5, len(names) - 0.5), ylim=(len(names) - 0.5, -0.5), xlabel="predicted", ylabel="gold")

    size = 1.6 + 0.42 * len(names)
    return _svg(
        "confusion", "How often each gold label was predicted as each label", draw, height=size, width=size + 0.8
    )


def precision_recall(points: Sequence[Judged], gold: int) -> str:
    """Precision against recall as the lowest score that is kept falls; some of those scores stand at the curve."""
    curve = list(_curve(points, gold))

    def draw(axes: Axes) -> None:
        axes.plot([recall for _, recall, _ in curve], [precision for *_, precision in curve], color=ACCENT, linewidth=2)
        for score, recall, precision in _apart(curve):
            axes.plot([recall], [precision], "o", color=ACCENT, markersize=4)
            axes.annotate(f"{score:.2f}", (recall, precision), (4, 4), textcoords="offset points", fontsize=8)
        axes.set(xlim=(0, 100), ylim=(0, 105), xlabel="recall", ylabel="precision")
        axes.grid(alpha=0.2, color=INK)

    return _svg("curve", "Precision against recall by the lowest score that is kept", draw, height=3.6, width=5)


def _curve(points: Sequence[Judged], gold: int) -> Iterator[tuple[float, float, float]]:
    """Each score with the recall and the precision, in percent, of what scores no lower."""
    ordered = sorted(points, key=lambda point: -point.score)
    hits = 0
    for at, point in enumerate(ordered, 1):
        hits += point.right
        if at == len(ordered) or ordered[at].score < point.score:
            yield point.score, 100 * hits / max(1, gold), 100 * hits / at


def _apart(curve: Sequence[tuple[float, float, float]]) -> Iterator[tuple[float, float, float]]:
    """The last point of each tenth of scores, but for those too near to the one before."""
    tenths = {int(10 * point[0]): point for point in curve}
    last = (0.0, 0.0, -float(_NEAR))
    for point in tenths.values():
        if max(abs(point[1] - last[1]), abs(point[2] - last[2])) >= _NEAR:
            last = point
            yield point


def reliability(bins: Sequence[Bin]) -> str:
    """The share that is right against the score: on the diagonal, a score is a probability. Points count entities."""
    most = max((each.entities for each in bins), default=1)

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=INK, alpha=0.4, linewidth=1, linestyle="--")
        axes.plot([each.score for each in bins], [each.right for each in bins], color=SECOND, linewidth=1.5)
        for each in bins:
            axes.plot([each.score], [each.right], "o", color=SECOND, markersize=4 + 8 * (each.entities / most) ** 0.5)
            axes.annotate(
                f"{each.entities:,}", (each.score, each.right), (7, -9), textcoords="offset points", fontsize=8
            )
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="score", ylabel="share that is right")
        axes.grid(alpha=0.2, color=INK)

    return _svg("reliability", "Share of right entities against their score", draw, height=3.6, width=5)


def _svg(name: str, title: str, draw: Callable[[Axes], None], *, height: float, width: float = 6.4) -> str:
    """`height`, `width`: inches. `name` sets its ids apart from those of other plots on the page."""
    with warnings.catch_warnings(), mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)  # the reader's fonts may well have it
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.add_subplot())
        out = io.StringIO()
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def _short(label: str) -> str:
    return label if len(label) <= _LONG_LABEL else label[: _LONG_LABEL - 1] + "…"
