"""`genner evaluate`: how good predictions are, or a model is, against gold data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from genner_cli.commands.options import FROM_GOLD, AsJson, GoldFiles, run_options
from genner_cli.commands.terminal import document_bar, needed_for, say_written, show
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec

if TYPE_CHECKING:
    from genner_cli.assessment import Assessment, Sampling, Sides
    from genner_cli.files.writing import Writer
    from genner_cli.scoring import Evaluation
    from genner_cli.types import Extraction


Scorer = Literal["genner", "official"]
Predictions = Annotated[
    str | None,
    typer.Option(
        "--predictions", "-p", metavar="FILE", help="Output of `genner extract` on GOLD; without it, the model is run."
    ),
]
Other = Annotated[
    str | None,
    typer.Option(
        "--compare", metavar="FILE", help="Second predictions file; test whether the difference is significant."
    ),
]
ScorerName = Annotated[
    Scorer, typer.Option(help="official: score completions by format, like the scripts of arXiv 2601.17898.")
]
Resamples = Annotated[int, typer.Option(min=100, help="Bootstrap samples for the intervals and the significance test.")]
Seed = Annotated[int, typer.Option(help="Random seed of the bootstrap.")]
ShowErrors = Annotated[int, typer.Option(min=0, help="Maximum number of examples per error type.")]
Page = Annotated[
    str | None, typer.Option("--html", metavar="FILE", help="Write a page with plots (needs genner[plots]).")
]


@run_options(
    Panel.LABELS, Panel.MODEL, "patterns", Panel.PROMPT, "text_field", "id_field", "chunk_bytes", "overlap_bytes",
    Panel.SPEED, without=("open", "strict_labels"), shown=FROM_GOLD,
)  # fmt: skip
def evaluate(
    call: typer.Context,
    gold: GoldFiles,
    spec: RunSpec,
    predictions: Predictions = None,
    compare: Other = None,
    scorer: ScorerName = "genner",
    as_json: AsJson = False,
    html: Page = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
    show_errors: ShowErrors = 3,
) -> None:
    """Score predictions, or what a model extracts, against gold data: precision, recall, F1, errors.

    Scores have 95 % bootstrap intervals over documents. By default the gold data's labels are extracted.

    The measures are those of SemEval-2013 task 9.1: strict (boundaries and label are right), exact (boundaries),
    partial (boundaries; an overlap counts half) and type (label; any overlap). Micro counts all entities together,
    macro is the mean over labels. With a tree of labels, hierarchical figures count an entity for its own label and
    for all above it, and labels are compared by their paths in the tree. With --labels-field each document is asked
    for, and scored on, its own labels alone.

    Examples:

    - `genner evaluate gold.jsonl --model my-model.gguf --html report.html`
    - `genner evaluate gold.jsonl --predictions new.jsonl --compare old.jsonl`
    - `genner evaluate gold.jsonl --predictions labelled.jsonl --labels tree.yaml`
    - `genner evaluate dynamic.jsonl --model my-model.gguf --labels-field labels`
    """
    from genner_cli.assessment import Sampling, assess
    from genner_cli.files.writing import encode_value
    from genner_cli.running.on_gold import sides

    _refuse(call, spec, scorer, predictions)
    page = _page_writer(html, scorer, [*gold, *(path for path in (predictions, compare) if path)])
    found, asked = sides(gold, predictions, compare, spec, document_bar)
    sampling = Sampling(resamples, seed)
    if scorer == "official":
        outcome = _official(found, asked, sampling, only_asked=spec.labels is not None)
    else:
        outcome = assess(found, spec.tree, sampling, examples=show_errors)
    if page and outcome.evaluation:
        title = f"{predictions or spec.model or 'genner-small'} on {', '.join(gold)}"
        _write_page(page, found[0], outcome.evaluation, title=title)
    if as_json:
        typer.echo(encode_value(outcome.value()), nl=False)
    else:
        show(outcome.parts(compare or ""))


def _refuse(call: typer.Context, spec: RunSpec, scorer: Scorer, predictions: str | None) -> None:
    """Raises UsageError for options that contradict each other."""
    source = call.get_parameter_source("model")
    if predictions and source and source.name == "COMMANDLINE":
        raise UsageError("--predictions cannot be combined with --model")
    if spec.labels_field and scorer == "official":
        raise UsageError("--scorer official scores all documents on the same labels; drop it, or --labels-field")


def _official(found: Sides, asked: RunSpec, sampling: Sampling, *, only_asked: bool) -> Assessment:
    from genner_cli.assessment import assess_officially

    if asked.format is None:
        raise UsageError("--scorer official counts by output format; say with --format which one the predictions have")
    names = [label.name for label in asked.labels or ()]
    return assess_officially(found, asked.format, names, sampling, depth=asked.depth or 1, only_asked=only_asked)


def _page_writer(path: str | None, scorer: Scorer, inputs: Sequence[str]) -> Writer | None:
    """Refuses what cannot be written or drawn; writes nothing yet."""
    from genner_cli.files.writing import Writer

    if not path:
        return None
    if scorer == "official":
        raise UsageError("--html shows genner's own figures; drop --scorer official, or --html")
    with needed_for("--html", extra="plots"):
        import genner_cli.plots.charts  # noqa: F401
    return Writer(path, inputs=inputs, option="--html", suffixes=(".html",))


def _write_page(writer: Writer, done: Sequence[Extraction], evaluation: Evaluation, *, title: str) -> None:
    from genner_cli.plots.page import page

    content = page(evaluation, done, title=title).encode()
    with writer:
        writer.write(content)
    say_written(writer.path, len(content))
