"""Training files -> the GGUF of a model trained on them: trains and exports, each unless that has been done already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from convert.base import base_folder
from convert.export import export
from convert.request import ExportOptions
from genner_cli.errors import ModelError
from genner_cli.generation import Constraint, EngineOptions
from genner_cli.provenance import MODEL_METADATA_FILE
from genner_cli.running.spec import RunSpec
from genner_cli.training.gold import Files, read
from genner_cli.training.options import MACHINE, TrainOptions
from genner_cli.training.run import Job, TrainingProgress, train
from genner_cli.types import Label, LabelTree


@dataclass(frozen=True, slots=True)
class Recipe:
    """`base`: its reference; `type`: of the GGUF; `labels`: with definitions, None for those of the data."""

    base: str
    options: TrainOptions
    type: str
    labels: tuple[Label, ...] | None = None
    download: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)

    def value(self) -> dict[str, Any]:
        """All that shapes the model, as a JSON value, without how the machine computes it."""
        options = {name: value for name, value in asdict(self.options).items() if name not in MACHINE}
        labels = None if self.labels is None else {label.name: label.definition for label in self.labels}
        return {"base": self.base, "type": self.type, "labels": labels, "options": options}

    def extracting(self, gguf: Path, constraint: Constraint) -> RunSpec:
        """How the model that was made is asked."""
        return RunSpec(
            model=str(gguf), depth=self.options.depth, constraint=constraint, no_calibration=True, engine=self.engine
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """Where to report to: the trainings, and each step of the probe."""

    training: TrainingProgress = field(default_factory=TrainingProgress)
    step: Callable[[str], None] = lambda text: None


def train_and_export(recipe: Recipe, data: Path, folder: Path, progress: Progress) -> Path:
    """`folder`/adapter and `folder`/model.gguf. A training that was interrupted is resumed. The export is not checked.

    Raises DataError, UsageError and ModelError as training and export do.
    """
    adapter, gguf = folder / "adapter", folder / "model.gguf"
    if not (adapter / MODEL_METADATA_FILE).exists():
        with base_folder(recipe.base, download=recipe.download, output=adapter) as base:
            gold = read(Files((str(data),)), recipe.options, LabelTree.flat(recipe.labels or ()))
            train(Job(base, recipe.base, gold, adapter, recipe.options, resume=True), progress.training)
    if not gguf.exists():
        options = ExportOptions(
            types=(recipe.type,), base=recipe.base, download=recipe.download, check=False, engine=recipe.engine
        )
        if not export(adapter, gguf, options, say=progress.step).files:
            raise ModelError(f"{gguf} could not be written; see {gguf}.failed.report.json")
    return gguf
