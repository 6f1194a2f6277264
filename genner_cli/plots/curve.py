"""The log of a training -> a picture of its losses and its F1, as SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure


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
