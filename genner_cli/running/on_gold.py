"""Gold data, and predictions for them or a model -> what is to be scored or calibrated."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Protocol, TypeVar

from genner_cli.calibration import Fitted, fit, refuse_few
from genner_cli.data.statistics import labels_in
from genner_cli.errors import UsageError
from genner_cli.files.calibrations import calibration_path, calibration_value
from genner_cli.files.gold import read_gold_files, with_labels_of_their_own
from genner_cli.files.predictions import read_predictions
from genner_cli.files.reading import expand
from genner_cli.files.writing import Writer, encode_value
from genner_cli.hub.own import NAMES, SMALL
from genner_cli.pairing import in_order
from genner_cli.running.backend import Opened, extractions
from genner_cli.running.examples import asked_options
from genner_cli.running.spec import RunSpec
from genner_cli.scoring import restricted
from genner_cli.scoring.hierarchy import resolved
from genner_cli.types import Document, Extraction, Label, LabelTree

T = TypeVar("T")
log = logging.getLogger("genner")
_LABELS_SHOWN = 5


class Counted(Protocol):
    """Passes items on, and counts them."""

    def __call__(self, items: Iterable[T], /) -> Iterator[T]: ...


Bar = Callable[[int], AbstractContextManager[Counted]]
"""Of a number of items, shows how many are done."""


def extracted(opened: Opened, documents: Sequence[Document], spec: RunSpec, bar: Bar) -> list[Extraction]:
    """What a model finds in the documents, with the hints of the run."""
    asked = spec.hinted(documents)
    with bar(len(documents)) as counted:
        return list(counted(extractions(opened, asked, own_labels=spec.labels_field is not None)))


def sides(
    gold: Sequence[str], predictions: str | None, compare: str | None, spec: RunSpec, bar: Bar
) -> tuple[list[list[Extraction]], RunSpec]:
    """What is to be scored, and to be compared with it; and what was asked for, its format too where a model ran."""
    names = spec.text_field, spec.id_field
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field)
    documents = with_labels_of_their_own(documents, spec.labels_field)
    asked = replace(spec.for_gold(documents), inputs=tuple(gold))
    other = [_read(compare, documents, *names)] if compare else []
    if predictions:
        found = [_read(predictions, documents, *names)]
    else:
        from genner_cli.running.llama import LlamaBackend

        with LlamaBackend().open(asked) as opened:
            found = [extracted(opened, documents, asked, bar)]
            asked = replace(asked, format=opened.facts.task.format)
    found = [resolved(side, spec.tree) for side in (*found, *other)]
    for path, side in zip(filter(None, (predictions, compare)), found[0 if predictions else 1 :], strict=True):
        _warn_of_other_labels(path, side, spec.tree)
    return [of_labels_asked(side, spec) for side in found], asked


def _read(path: str, documents: Sequence[Document], text_field: str, id_field: str) -> list[Extraction]:
    return in_order(documents, read_predictions(expand([path]), text_field=text_field, id_field=id_field))


def _warn_of_other_labels(path: str, side: Sequence[Extraction], tree: LabelTree) -> None:
    """Where predictions and gold have no label in common, which is hardly meant; of a tree they may have none."""
    documents = [each.document for each in side if isinstance(each.document, Document)]
    gold, found = (Counter(one.label for each in some for one in each.entities) for some in (documents, side))
    if gold and found and not gold.keys() & found.keys() and not tree.nested:
        theirs, own = (", ".join(name for name, _ in labels.most_common(_LABELS_SHOWN)) for labels in (gold, found))
        remedy = "rename the labels of one of them with genner data relabel"
        log.warning("%s: no label is that of a gold entity: it has %s, and gold has %s; %s", path, own, theirs, remedy)


def of_labels_asked(side: Sequence[Extraction], spec: RunSpec) -> list[Extraction]:
    """With the entities, gold and found, of each document's own labels, or of those that the run asks for; entities
    have paths for labels of the tree. All of them where a tree with levels is asked for."""
    if spec.tree.nested and not spec.labels_field:
        return list(side)

    def own(each: Extraction) -> Sequence[Label] | None:
        document = each.document
        return (isinstance(document, Document) and document.labels) or spec.labels

    def paths(asked: Sequence[Label]) -> set[str]:
        return {spec.tree.find(label.name) or label.name for label in asked}

    return [restricted(each, paths(asked)) if (asked := own(each)) else each for each in side]


def _refuse_other_names(spec: RunSpec, documents: Sequence[Document]) -> None:
    """Raises UsageError where gold lacks a label that is asked for, and has one that is not: it may be the same by
    another name, and all that is found of it would count as wrong."""
    theirs, asked = ([label.name for label in labels] for labels in (labels_in(documents), spec.labels or ()))
    missing, others = sorted({*asked} - {*theirs}), sorted({*theirs} - {*asked})
    if missing and others and not spec.tree.nested:
        what = f"no entity of the gold data has the label {', '.join(missing)}, and some have {', '.join(others)}"
        raise UsageError(
            f"{what}, which was not asked for: if they mean the same, correct --types or --labels, or rename with"
            " genner data relabel; if not, let that drop the others from the gold data"
        )


def calibrate(
    gold: Sequence[str], spec: RunSpec, output: str | None, precision: float | None, bar: Bar
) -> tuple[Fitted, str]:
    """Writes the calibration of a model; gives it, and the file. `output`: None for the file beside the model.

    Raises UsageError for a model of genner's own without `output`: beside it, all runs would use the file; and for
    labels that gold may have by other names.
    """
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field, names=spec.tree.names())
    refuse_few(documents)
    if output is None and spec.model in (None, *NAMES):
        raise UsageError(
            f"{spec.model or SMALL} comes with genner; name a file with -o, and give it to genner extract with"
            " --calibration"
        )
    _refuse_other_names(spec, documents)
    spec = replace(spec.for_gold(documents), inputs=tuple(gold), no_calibration=True)
    from genner_cli.running.llama import LlamaBackend

    with LlamaBackend().open(spec) as opened:
        facts, task = opened.facts, opened.facts.task
        writer = Writer(output or str(calibration_path(facts.files)), inputs=gold, suffixes=(".json",))
        done = extracted(opened, documents, spec, bar)
    fitted = fit((restricted(each, task.names) for each in done), precision=precision)
    calibration = replace(fitted.calibration, labels=tuple(task.names))
    more = {"aim": {"precision": precision} if precision is not None else {"f1": "best"}, "measured": fitted.value()}
    asked = asked_options(task, spec)
    value = calibration_value(calibration, facts.files, facts.fingerprint, asked=asked, more=more)
    with writer:
        writer.write(encode_value(value))
    return fitted, writer.path
