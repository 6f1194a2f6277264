"""Labelled files -> the documents to train and to validate on, checked as far as that needs no model.

Knows nothing of torch, and imports nothing that loads it.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from genner_cli.errors import DataError, UsageError
from genner_cli.files import STDIO
from genner_cli.files.gold import GoldData, Problem, read_gold, summarized
from genner_cli.files.preferences import has_preferences, read_preferences
from genner_cli.files.reading import expand
from genner_cli.plurals import counted
from genner_cli.provenance import MODEL_METADATA_FILE
from genner_cli.training.augment import vocabulary
from genner_cli.training.options import TrainOptions
from genner_cli.types import Document, Label, LabelTree

log = logging.getLogger("genner")

CHECKPOINT = "checkpoint"
"""The folder, in that of the output, of a training that is not complete."""
VERIFY = "verify.jsonl"
"""The file, in the folder of the output, of documents that an export is checked with."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the data is: paths as `files.expand` gives them, and the names of fields; `skip`: whether documents with
    a problem are left out, or stop the run."""

    train: tuple[str, ...]
    valid: tuple[str, ...] = ()
    text_field: str = "text"
    id_field: str = "id"
    skip: bool = False


def files_of(
    train: Sequence[str], valid: Sequence[str], text_field: str, id_field: str, *, skip: bool = False
) -> Files:
    """Those that paths and globs name. Raises UsageError, for standard input too."""
    if STDIO in (*train, *valid):
        raise UsageError("training reads its files more than once; name files, not '-'")
    return Files(tuple(expand(train)), tuple(expand(valid)) if valid else (), text_field, id_field, skip)


@dataclass(frozen=True, slots=True)
class Gold:
    """Files as they were read: the documents without a problem, and the label set.

    `rejected`: the documents of `train` once more with worse answers as their entities, where preferences are learnt.
    `tree`: the labels with those above them and their aliases.
    """

    files: Files
    train: tuple[Document, ...]
    valid: tuple[Document, ...]
    labels: tuple[Label, ...]
    rejected: tuple[Document, ...] = ()
    tree: LabelTree = field(default_factory=LabelTree)


def read(files: Files, options: TrainOptions, tree: LabelTree) -> Gold:
    """Reads all data; a tree without labels takes those that the training files have.

    Entities may be labelled by paths and aliases of the tree. Raises DataError with a note for each kind of problem,
    and UsageError where there is nothing to train on, or a label that is to be asked for can't be one.
    """
    if options.patience and not files.valid:
        raise UsageError("--patience needs --valid, by which training is judged")
    if has_preferences(files.train, text_field=files.text_field):
        return _read_preferences(files, options, tree)
    trained = _read(files.train, files, options, tree, tree.leaves() or None)
    asked = tree.leaves() or label_set(trained.documents)
    valid = _read(files.valid, files, options, tree, asked)
    settle([*trained.problems, *valid.problems], skip=files.skip)
    refuse_nothing(files, trained.documents, valid.documents)
    if not asked:
        raise UsageError(f"{', '.join(files.train)}: no entities to train on; give labelled documents")
    if not options.augmentation.none:
        vocabulary(asked, tree)
    return Gold(files, trained.documents, valid.documents, asked, tree=tree)


def _read_preferences(files: Files, options: TrainOptions, tree: LabelTree) -> Gold:
    """As `read`, for pairs of answers."""
    if not options.augmentation.none or options.text_weight or options.fusion:
        raise UsageError(
            f"{files.train[0]} holds preferences; they are learnt without --augment and --teacher,"
            " and with --text-weight 0 (--preset tiny sets it higher)"
        )
    found = read_preferences(
        files.train, text_field=files.text_field, id_field=files.id_field, nested=options.depth > 1, names=tree.names()
    )
    asked = tree.leaves() or label_set((*found.chosen, *found.rejected))
    known = {label.name for label in asked}
    strange = [
        Problem(f"{document.source}: the label {entity.label!r} was not asked for; add it to --types", document.source)
        for document in (*found.chosen, *found.rejected)
        for entity in document.entities
        if entity.label not in known
    ]
    valid = _read(files.valid, files, options, tree, asked)
    settle([*found.problems, *strange, *valid.problems], skip=files.skip)
    bad = {problem.source for problem in strange}
    chosen, rejected = (tuple(d for d in each if d.source not in bad) for each in (found.chosen, found.rejected))
    refuse_nothing(files, chosen, valid.documents)
    if not asked:
        raise UsageError(f"{', '.join(files.train)}: no entities to train on; give answers with entities")
    return Gold(files, chosen, valid.documents, asked, rejected)


def _read(
    paths: Sequence[str], files: Files, options: TrainOptions, tree: LabelTree, labels: Sequence[Label] | None
) -> GoldData:
    return read_gold(
        paths, text_field=files.text_field, id_field=files.id_field, nested=options.depth > 1, names=tree.names(),
        labels=None if labels is None else [label.name for label in labels],
    )  # fmt: skip


def refuse_nothing(files: Files, train: Sequence[object], valid: Sequence[object]) -> None:
    """Raises UsageError where nothing is left to train or to validate on."""
    if files.valid and not valid:
        raise UsageError(f"{', '.join(files.valid)}: no documents to validate on; give labelled ones, or no --valid")
    if not train:
        raise UsageError(f"{', '.join(files.train)}: no documents to train on; give labelled documents")


def label_set(documents: Iterable[Document]) -> tuple[Label, ...]:
    """The labels of all entities, the most frequent first, then by name."""
    counts = Counter(entity.label for document in documents for entity in document.entities)
    return tuple(Label(name) for name in sorted(counts, key=lambda name: (-counts[name], name)))


def settle(problems: Sequence[Problem], *, skip: bool) -> None:
    """Raises DataError for all of them, or says what is left out."""
    if not problems:
        return
    if not skip:
        count, it = counted(len(problems), "problem"), "it" if len(problems) == 1 else "them"
        error = DataError(f"{count} in the data; correct {it}, or skip such documents with --on-bad-data skip")
        for line in summarized(problems):
            error.add_note(line)
        raise error
    for line in summarized(problems):
        log.warning("left out: %s", line)


def refuse_folder(out: Path, *, resume: bool) -> None:
    """Raises UsageError where the output folder is not free, or its training is to be resumed and was not asked
    to be."""
    if (out / MODEL_METADATA_FILE).exists():
        raise UsageError(f"{out} is already a trained model; name a new folder after -o, or remove this one")
    if (out / CHECKPOINT).is_dir():
        if not resume:
            raise UsageError(f"{out} holds an unfinished training; resume it with --resume, or remove the folder")
    elif out.is_file() or (out.is_dir() and any(out.iterdir())):
        raise UsageError(f"{out} exists already and is not empty; name a new folder after -o")
