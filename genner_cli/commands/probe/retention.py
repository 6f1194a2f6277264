"""`genner probe retention`: what a base model still knows once an adapter is on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.probe.options import Folder, told_on_stderr
from genner_cli.commands.train import DownloadBase, absolute, needs_training

if TYPE_CHECKING:
    from rich.table import Table

    from genner_cli.probing.retention import Retained

Before = Annotated[str, typer.Option("--before", metavar="BASE", help="Base model: folder, Hub reference, or bundled.")]
After = Annotated[Path, typer.Option("--after", metavar="ADAPTER", help="Folder of an adapter that was trained on it.")]
Suite = Annotated[str, typer.Option(metavar="SUITE", help="own, or a JSON Lines file of questions.")]


def retention(
    before: Before, after: After, output: Folder, suite: Suite = "own", download: DownloadBase = False
) -> None:
    """Ask a base model the same questions before and after an adapter.

    The suite that comes with genner has multiple choice (by likelihood), exact answers, and prose whose perplexity is
    measured. It is small and for models that know English: it shows a loss, not a ranking. Another suite is a file with
    a JSON object a line: task and question, choices, answer (from 0); or task, prompt, answer; or task and text. The
    same command goes on where it was cut off.

    Example: `genner probe retention --before Qwen/Qwen2.5-0.5B --after adapter/ -o retention/`
    """
    needs_training()
    from genner_cli.files.hashing import hash_files
    from genner_cli.probing.folder import ProbeFolder
    from genner_cli.probing.retention import run
    from genner_cli.probing.suite import read_suite, suite_file
    from genner_cli.provenance import WORDS

    file = suite_file(suite)
    items = read_suite(file)
    adapter = sorted(path for path in after.glob("*") if path.name in (WORDS, "adapter_model.safetensors"))
    reference = absolute(before)
    asked = {"probe": "retention", "before": reference, "after": hash_files(adapter), "suite": hash_files([file])}
    with told_on_stderr() as told:
        found = run(reference, after, items, ProbeFolder(output, asked), told, download=download)
    _finish(found, output)


def _finish(found: list[Retained], path: Path) -> None:
    """Results as JSON, as a picture and as a table."""
    from genner_cli.commands.evaluation_tables import show
    from genner_cli.commands.probe.tables import draw, write_results

    write_results(path, {each.task: each.value() for each in found})
    panels = []
    for perplexity, title in ((False, "accuracy, 95 % interval"), (True, "perplexity of a token")):
        rows = {
            each.task: {"before": each.before, "after": each.after} for each in found if each.perplexity == perplexity
        }
        panels += [(title, rows, False)] if rows else []
    draw(panels, path / "results.svg")
    show([_table(found)])


def _table(found: list[Retained]) -> Table:
    from genner_cli.commands.evaluation_tables import new_table, with_interval
    from genner_cli.commands.probe.tables import change_text

    table = new_table("task", "measure", "questions", "before (95 % interval)", "after", "difference")
    for each in found:
        sides = each.before, each.after
        if each.perplexity:
            figures = [f"{side.value:,.1f} ({side.low:,.1f} to {side.high:,.1f})" for side in sides]
            change = each.difference
            figures.append(f"{change.value:+,.1f} ({change.low:+,.1f} to {change.high:+,.1f})")
        else:
            figures = [*map(with_interval, sides), change_text(each.difference)]
        measure = "perplexity" if each.perplexity else "accuracy"
        table.add_row(each.task, measure, f"{each.questions:,}", *figures)
    return table
