"""Exports genner-base's adapter from the last checkpoint of train_base.py's run, which may be running meanwhile.

    python export_base.py runs/base --ner DIR -o ../../genner_cli/models/genner-base-adapter.gguf

The adapter is held against base and adapter merged in transformers (the parity gate of `genner export`), and is not
written where it differs or is larger than what a Python package should carry.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from gguf_metadata import with_pairs
from train_base import OPTIONS, Run, save, steps_of

from convert.base import base_folder
from convert.export import export as run_export
from convert.request import ExportOptions
from genner_cli.errors import ModelError
from genner_cli.files.whole import whole
from genner_cli.training import checkpoints
from genner_cli.training.base import find_base, open_model, with_lora
from genner_cli.training.loop import STATE

ABOUT = {
    "general.name": "genner-base",
    "general.license": "cc-by-sa-4.0",
    "general.description": "English entities under open labels, source-locked; made by examples/bundled_model",
}
LARGEST = 20_000_000
"""Bytes of the adapter."""


def export(run: Path, ner: Path, out: Path) -> Path:
    """Writes the adapter's GGUF. Raises ModelError where it fails the parity gate or is too large."""
    begun = Run.of(run)
    with base_folder(begun.base) as folder, TemporaryDirectory() as temporary:
        work = Path(temporary)
        base = find_base(folder, begun.base)
        model = with_lora(open_model(base, OPTIONS, torch.device("cpu")), OPTIONS)
        checkpoints.load(run / "checkpoint" / STATE, model.get_base_model())
        save(model, base, begun.said(steps_of(run)), ner, work / "adapter")
        made = work / "adapter.gguf"
        report = run_export(work / "adapter", made, ExportOptions(base=str(folder), adapter_only=True), say=print)
        for finding in report.failures:
            raise ModelError(f"{finding.check}: {finding.message}")
        with_pairs(made, ABOUT)
        if made.stat().st_size > LARGEST:
            raise ModelError(f"the adapter has {made.stat().st_size:,} bytes, more than {LARGEST:,}; lower its rank")
        with whole(out) as partial:
            shutil.copyfile(made, partial)
    return out


def main() -> None:
    """Reads the command line and exports."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the folder that train_base.py was given with -o")
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR")
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    print(f"{args.out}: {export(args.run, args.ner, args.out).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
