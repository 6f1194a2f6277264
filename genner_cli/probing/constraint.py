"""What a constraint costs or gains: one model on the same documents under each of the three."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from genner_cli.generation import Constraint
from genner_cli.probing.cells import Cell, Progress, measured
from genner_cli.probing.folder import ProbeFolder
from genner_cli.running.spec import RunSpec
from genner_cli.types import Document

CONSTRAINTS = (Constraint.OFF, Constraint.FORMAT, Constraint.SOURCE)


def run(
    documents: Sequence[Document], spec: RunSpec, folder: ProbeFolder, progress: Progress = iter
) -> dict[str, Cell]:
    """A cell for each constraint; does what is not done yet. `spec.constraint` does not count."""
    found = {}
    for constraint in CONSTRAINTS:
        constrained = replace(spec, constraint=constraint)
        found[constraint.value] = measured(folder, constraint, documents, constrained, progress)
    return found
