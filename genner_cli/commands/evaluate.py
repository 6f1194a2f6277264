"""`genner evaluate`: how good predictions are, or a model is, against gold data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from genner_cli.commands.gold import asked_of, extracted, read_gold_files, with_labels_of_their_own
from genner_cli.commands.options import FROM_GOLD, AsJson, GoldFiles, label_tree, run_options
from genner_cli.commands.terminal import say_written, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.options import Panel
from genner_cli.plurals import counted
from genner_cli.running.spec import RunSpec

if TYPE_CHECKING:
    from genner_cli.calibration import Judged
    from genner_cli.files.writing import Writer
    from genner_cli.scoring import Comparison, Evaluation, Figures
    from genner_cli.scoring.figures import DocumentCounts, Key
    from genner_cli.scoring.hierarchy import Hierarchy
    from genner_cli.types import Document, Extraction, Label, LabelTree


class Scorer(StrEnum):
    """Whose rules count."""

    genner = "genner"
    official = "official"


Predictions = Annotated[
    str | None,
    typer.Option(
        "--predictions",
        "-p",
        metavar="FILE",
        help="Output of `genner extract` on GOLD; without it, the model is run.",
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
    Panel.SPEED, without=("strict_labels",), shown=FROM_GOLD,
)  # fmt: skip
def evaluate(
    call: typer.Context,
    gold: GoldFiles,
    spec: RunSpec,
    predictions: Predictions = None,
    compare: Other = None,
    scorer: ScorerName = Scorer.genner,
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
    from genner_cli.files.writing import encode_value

    source = call.get_parameter_source("model")
    if predictions and source and source.name == "COMMANDLINE":
        raise UsageError("--predictions cannot be combined with --model")
    if html and scorer == Scorer.official:
        raise UsageError("--html shows genner's own figures; drop --scorer official, or --html")
    if spec.labels_field and scorer == Scorer.official:
        raise UsageError("--scorer official scores all documents on the same labels; drop it, or --labels-field")
    page = _page_writer(html, [*gold, *(path for path in (predictions, compare) if path)]) if html else None
    talk_on_stderr()
    tree = label_tree(call.params["types"], call.params["labels"])
    sides, asked = _sides(gold, predictions, compare, spec, tree)
    sampling = Sampling(resamples, seed)
    if scorer == Scorer.official:
        outcome = _official(sides, asked, sampling, only_asked=spec.labels is not None)
    else:
        outcome = _own(sides, sampling, show_errors, tree)
    if page and outcome.evaluation:
        title = f"{predictions or spec.model or 'The bundled model'} on {', '.join(gold)}"
        _write_page(page, sides[0], outcome.evaluation, title=title)
    if as_json:
        typer.echo(encode_value(_value(outcome)), nl=False)
    else:
        _show(outcome, compare or "")


def _sides(
    gold: Sequence[str], predictions: str | None, compare: str | None, spec: RunSpec, tree: LabelTree
) -> tuple[list[list[Extraction]], RunSpec]:
    """What is to be scored, and to be compared with it; and what was asked for, its format too where a model ran."""
    names = {"text_field": spec.text_field, "id_field": spec.id_field}
    documents = with_labels_of_their_own(read_gold_files(gold, **names), spec.labels_field)
    asked = replace(asked_of(spec, documents), inputs=tuple(gold))
    if predictions:
        sides = [_read(predictions, documents, **names)]
    else:
        from genner_cli.running.llama import LlamaBackend

        with LlamaBackend().open(asked) as opened:
            sides = [extracted(opened, documents, asked)]
            asked = replace(asked, format=opened.facts.task.format)
    if compare:
        sides.append(_read(compare, documents, **names))
    if spec.labels_field or not tree.nested:
        sides = [_restricted(side, spec.labels) for side in sides]
    if tree.nested:
        from genner_cli.scoring.hierarchy import resolved

        sides = [resolved(side, tree) for side in sides]
    return sides, asked


class Sampling(NamedTuple):
    """How often documents are resampled, and from which seed."""

    resamples: int
    seed: int


class _Outcome(NamedTuple):
    """All that was found out."""

    figures: dict[Key, Figures]
    comparison: Comparison | None
    evaluation: Evaluation | None = None
    hierarchy: Hierarchy | None = None
    left_out: int = 0
    points: Sequence[Judged] = ()


def _read(path: str, documents: Sequence[Document], text_field: str, id_field: str) -> list[Extraction]:
    from genner_cli.files.predictions import read_predictions
    from genner_cli.files.reading import expand
    from genner_cli.pairing import in_order

    return in_order(documents, read_predictions(expand([path]), text_field=text_field, id_field=id_field))


def _restricted(side: Sequence[Extraction], labels: Sequence[Label] | None) -> list[Extraction]:
    """With the entities of each document's own labels, or of these."""
    from genner_cli.scoring import restricted
    from genner_cli.types import Document

    def own(each: Extraction) -> Sequence[Label] | None:
        document = each.document
        return (isinstance(document, Document) and document.labels) or labels

    return [restricted(each, {label.name for label in asked}) if (asked := own(each)) else each for each in side]


def _own(sides: Sequence[Sequence[Extraction]], sampling: Sampling, examples: int, tree: LabelTree) -> _Outcome:
    from genner_cli.calibration import judged
    from genner_cli.scoring import evaluate
    from genner_cli.scoring.evaluation import document_counts
    from genner_cli.scoring.hierarchy import hierarchy

    found = evaluate(sides[0], resamples=sampling.resamples, seed=sampling.seed, examples=examples)
    compared = _compared([[*map(document_counts, side)] for side in sides], sampling)
    points = [point for each in sides[0] for point in judged(each)]
    in_tree = hierarchy(sides[0], tree, **sampling._asdict()) if tree.nested else None
    return _Outcome(found.figures, compared, found, in_tree, points=points)


def _official(
    sides: Sequence[Sequence[Extraction]], asked: RunSpec, sampling: Sampling, *, only_asked: bool
) -> _Outcome:
    from genner_cli.scoring.figures import figures
    from genner_cli.scoring.official import document_counts

    if asked.format is None:
        raise UsageError("--scorer official counts by output format; say with --format which one the predictions have")
    format, depth, names = asked.format, asked.depth or 1, [label.name for label in asked.labels or ()]
    counted = [[document_counts(each, format, names, depth=depth) for each in side] for side in sides]
    counts = [
        [{key: count for key, count in each.items() if not only_asked or key.name in names} for each, _ in side]
        for side in counted
    ]
    found = figures(counts[0], resamples=sampling.resamples, seed=sampling.seed)
    return _Outcome(found, _compared(counts, sampling), left_out=sum(left_out for _, left_out in counted[0]))


def _compared(counts: Sequence[Sequence[DocumentCounts]], sampling: Sampling) -> Comparison | None:
    from genner_cli.scoring import compare

    return compare(*counts, resamples=sampling.resamples, seed=sampling.seed) if len(counts) > 1 else None


def _value(outcome: _Outcome) -> dict[str, Any]:
    """All of it as a JSON value."""
    from genner_cli.calibration import expected_error, reliability
    from genner_cli.scoring.figures import figures_value

    own = outcome.evaluation.value() if outcome.evaluation else None
    found = own or {**figures_value(outcome.figures), "left_out": outcome.left_out}
    if outcome.points:
        bins = [each._asdict() for each in reliability(outcome.points)]
        found["scores"] = {"error": expected_error(outcome.points), "reliability": bins}
    if outcome.hierarchy:
        found["hierarchy"] = outcome.hierarchy.value()
    return {**found, "comparison": outcome.comparison.value()} if outcome.comparison else found


def _show(outcome: _Outcome, other: str) -> None:
    """All of it for people."""
    from genner_cli.calibration import expected_error
    from genner_cli.commands.evaluation_tables import (
        comparison_lines,
        evaluation_tables,
        figures_tables,
        hierarchy_lines,
        show,
    )

    show(evaluation_tables(outcome.evaluation) if outcome.evaluation else figures_tables(outcome.figures))
    if outcome.hierarchy:
        show(hierarchy_lines(outcome.hierarchy))
    if outcome.comparison:
        show(comparison_lines(outcome.comparison, other))
    if outcome.points:
        show([f"calibration error of the scores {expected_error(outcome.points):.3f} (see genner calibrate)"])
    if outcome.left_out:
        show([f"not scored, as this format cannot represent them: {counted(outcome.left_out, 'gold entity')}"])


def _page_writer(path: str, inputs: Sequence[str]) -> Writer:
    """Refuses what cannot be written or drawn; writes nothing yet."""
    from genner_cli.files.writing import Writer

    try:
        import genner_cli.plots.charts  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(f"--html needs {error.name}; run: pip install 'genner[plots]'") from error
    return Writer(path, inputs=inputs, option="--html", suffixes=(".html",))


def _write_page(writer: Writer, done: Sequence[Extraction], evaluation: Evaluation, *, title: str) -> None:
    from genner_cli.plots.page import page

    content = page(evaluation, done, title=title).encode()
    with writer:
        writer.write(content)
    say_written(writer.path, len(content))
