"""`genner probe constraint`: what holding a model to format and source costs or gains."""

from __future__ import annotations

from dataclasses import replace

from genner_cli.commands.options import FROM_GOLD, GoldFiles, run_options
from genner_cli.commands.probe.options import Folder, report
from genner_cli.commands.terminal import document_bar
from genner_cli.options import Panel
from genner_cli.running.spec import RunSpec


@run_options(
    Panel.LABELS, Panel.MODEL, Panel.PROMPT, "text_field", "id_field", "chunk_bytes", "overlap_bytes", Panel.SPEED,
    without=("open", "strict_labels", "constraint", "calibration", "no_calibration"), shown=FROM_GOLD,
)  # fmt: skip
def constraint(gold: GoldFiles, output: Folder, spec: RunSpec) -> None:
    """Measure one model with constraint off, format and source on the same documents, in pairs.

    Shows precision, recall and F1 with 95 % intervals, invalid outputs, invented entities, tokens and time; differences
    have paired bootstrap intervals. The same command resumes an interrupted run.

    Example: `genner probe constraint gold.jsonl --model my-model.gguf -o constraint/`
    """
    from genner_cli.files.gold import read_gold_files
    from genner_cli.files.hashing import fingerprint
    from genner_cli.probing.cells import measured_constraints
    from genner_cli.probing.folder import ProbeFolder, files_hash
    from genner_cli.probing.results import constraint_results
    from genner_cli.running.backend import model_files

    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field, names=spec.tree.names())
    spec = replace(spec.for_gold(documents), no_calibration=True)
    files, virtual_tokens = model_files(spec)
    asked = {
        "probe": "constraint",
        "model": fingerprint(files),
        "virtual-tokens": virtual_tokens,
        "data": files_hash(*gold),
        "counted": "the labels asked for",
        "labels": {label.name: label.definition for label in spec.labels or ()},
        "format": spec.format,
        "depth": spec.depth,
        "chunk-bytes": spec.chunk_bytes,
        "overlap-bytes": spec.overlap_bytes,
    }
    with document_bar(3 * len(documents)) as counted:
        cells = measured_constraints(documents, spec, ProbeFolder(output, asked), counted)
    report(constraint_results(cells), output)
