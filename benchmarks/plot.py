"""The picture of the results: documents per second of all peers, as a share of the hardware's limit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib import pyplot

NAMES = ("create_completion loop", "llama-server", "genner, one slot", "genner")


def plot(results: dict[str, list[dict[str, Any]]], path: Path) -> None:
    """Writes an SVG: a group of bars for each workload, the limit as a line at 1."""
    groups = [(model, figures) for model, found in results.items() for figures in found]
    drawing, axes = pyplot.subplots(figsize=(9, 0.75 * len(groups) + 1.6), layout="constrained")
    height = 0.8 / len(NAMES)
    for number, name in enumerate(NAMES):
        places = [at + number * height for at, (_, figures) in enumerate(groups) if name in figures]
        shares = [_share(figures, name) for _, figures in groups if name in figures]
        bars = axes.barh(places, shares, height * 0.9, label=name)
        axes.bar_label(bars, [f"{share:.2f}" for share in shares], padding=3, fontsize=8)
    axes.axvline(1.0, color="black", linestyle=":", label="limit: full batches, nothing else")
    axes.set_yticks([at + 0.4 - height / 2 for at in range(len(groups))])
    axes.set_yticklabels([f"{model} model\n{figures['workload']}" for model, figures in groups])
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("throughput as a share of the limit of the machine")
    axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.12), ncols=3, frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    drawing.savefig(path, metadata={"Date": None})
    pyplot.close(drawing)


def _share(figures: dict[str, Any], name: str) -> float:
    return float(figures["genner"]["efficiency"] / figures[name]["genner_is_faster_by"])
