"""`genner probe retention`: what a base model still knows once an adapter is on it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genner_cli.commands.options import BASE, DownloadBase
from genner_cli.commands.probe.options import Folder, progress_on_stderr, report
from genner_cli.commands.terminal import needed_for
from genner_cli.commands.training import absolute, needs_training

if TYPE_CHECKING:
    from genner_cli.probing.retention import Retained
    from genner_cli.probing.suite import Item, TaskFiles

Before = Annotated[str, typer.Option("--before", metavar="BASE", help=BASE)]
After = Annotated[Path, typer.Option("--after", metavar="ADAPTER", help="Folder of an adapter that was trained on it.")]
Suite = Annotated[
    str,
    typer.Option(
        metavar="SUITE",
        help="own, a JSON Lines file of questions, or lm-eval:FOLDER (lm-eval:FOLDER:TASK,TASK) of task files.",
    ),
]


def retention(
    before: Before, after: After, output: Folder, suite: Suite = "own", download: DownloadBase = False
) -> None:
    """Ask a base model the same questions before and after an adapter.

    The suite that comes with genner has multiple choice (by likelihood), exact answers, and perplexity of prose. It is
    small and in English: it shows forgetting, and does not rank models. Another suite is a file with one JSON object
    per line: task, question, choices, answer (0-based); or task, prompt, answer; or task, text. The same command
    resumes an interrupted run.

    Tasks of lm-evaluation-harness are read from a folder of its YAML files and their data, without network; files they
    name must be in that folder. The results have one row per measure of a task.

    Examples:

    - `genner probe retention --before Qwen/Qwen2.5-0.5B --after adapter/ -o retention/`
    - `genner probe retention --before Qwen/Qwen2.5-0.5B --after adapter/ --suite lm-eval:tasks/ -o retention/`
    """
    with needed_for("genner probe retention", extra="train"):
        from convert.source import read_adapter_source
    from genner_cli.files.hashing import hash_files
    from genner_cli.probing.results import retention_results
    from genner_cli.probing.suite import read_suite, suite_file, task_files
    from genner_cli.provenance import MODEL_METADATA_FILE

    tasks = task_files(suite)
    items = [] if tasks else read_suite(suite_file(suite))
    read_adapter_source(after, before, download=download)
    needs_training()
    adapter = sorted(
        path for path in after.glob("*") if path.name in (MODEL_METADATA_FILE, "adapter_model.safetensors")
    )
    asked = {"probe": "retention", "before": absolute(before), "after": hash_files(adapter)}
    where = after, output, download
    if tasks:
        found = _by_tasks(tasks, asked, *where)
    else:
        found = _by_items(items, {**asked, "suite": hash_files([suite_file(suite)])}, *where)
    report(retention_results(found), output)


def _by_items(items: list[Item], asked: dict[str, Any], after: Path, output: Path, download: bool) -> list[Retained]:
    from genner_cli.probing.folder import ProbeFolder
    from genner_cli.probing.retention import run

    folder = ProbeFolder(output, asked)
    with progress_on_stderr() as progress:
        return run(asked["before"], after, items, folder, progress, download=download)


def _by_tasks(tasks: TaskFiles, asked: dict[str, Any], after: Path, output: Path, download: bool) -> list[Retained]:
    from genner_cli.files.hashing import hash_files
    from genner_cli.probing.folder import ProbeFolder

    with needed_for("--suite lm-eval", extra="retention"):
        from genner_cli.probing.retention import run_harness
        from genner_cli.training.harness import opened_harness
    with progress_on_stderr() as progress, opened_harness(tasks.folder, tasks.names) as harness:
        suite = {"suite": hash_files(tasks.files(outside=output)), "tasks": list(tasks.names)}
        folder = ProbeFolder(output, {**asked, **suite})
        return run_harness(asked["before"], after, harness, folder, progress, download=download)
