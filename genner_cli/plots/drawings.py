"""The log of a training, or the estimates of a probe -> an SVG file: curves, or points with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from genner_cli.scoring.figures import Estimate


def draw_curve(lines: Sequence[Mapping[str, float]], path: Path) -> None:
    """Loss by step, that on validation documents too, and F1 in a second panel where it was measured."""
    validations = [line for line in lines if "valid_f1" in line]
    figure = Figure(figsize=(8, 5 if validations else 3), layout="constrained")
    panels: list[Axes] = list(figure.subplots(2 if validations else 1, 1, sharex=True, squeeze=False)[:, 0])
    trained = [line for line in lines if "loss" in line]
    panels[0].plot([line["step"] for line in trained], [line["loss"] for line in trained], label="train", linewidth=1)
    panels[0].set_ylabel("loss")
    panels[-1].set_xlabel("step")
    if validations:
        steps = [line["step"] for line in validations]
        panels[0].plot(steps, [line["valid_loss"] for line in validations], label="valid", marker="o")
        panels[1].plot(steps, [line["valid_f1"] for line in validations], marker="o", color="tab:orange")
        panels[1].set_ylabel("strict micro F1")
        panels[1].set_ylim(0, 1)
        panels[0].legend()
    figure.savefig(path, format="svg", metadata={"Date": None})


_COLOURS = ("#c2612c", "#7a5fb5", "#2f7fc1", "#3b8d4f")


class Panel(NamedTuple):
    """`rows`: for each of them the estimates of its series, both by name; `zero`: whether to mark it."""

    title: str
    rows: Mapping[str, Mapping[str, Estimate]]
    zero: bool = False


def draw_probe(panels: Sequence[Panel], path: Path) -> None:
    """The panels below each other; a row for each name, first on top, a colour for each series."""
    heights = [0.8 + 0.35 * sum(len(series) for series in panel.rows.values()) for panel in panels]
    figure = Figure(figsize=(8, sum(heights) + 0.6), layout="constrained")
    axes: list[Axes] = list(
        figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})[:, 0]
    )
    for each, panel in zip(axes, panels, strict=True):
        _draw(each, panel)
    figure.savefig(path, format="svg", metadata={"Date": None})


def _draw(axes: Axes, panel: Panel) -> None:
    names = list(dict.fromkeys(name for series in panel.rows.values() for name in series))
    for at, series in enumerate(panel.rows.values()):
        for number, (name, (value, low, high)) in enumerate(series.items()):
            height = at + 0.7 * ((number + 0.5) / len(series) - 0.5)
            colour = _COLOURS[names.index(name) % len(_COLOURS)]
            axes.plot([low, high], [height, height], color=colour, linewidth=2)
            axes.plot([value], [height], "o", color=colour, label=name if at == 0 else None)
    axes.set_yticks(range(len(panel.rows)), list(panel.rows))
    axes.set_ylim(len(panel.rows) - 0.5, -0.5)
    axes.set_xlabel(panel.title)
    axes.grid(axis="x", alpha=0.3)
    if panel.zero:
        axes.axvline(0, color="black", linewidth=0.8)
    if len(names) > 1:
        axes.legend(loc="best", fontsize=8)
