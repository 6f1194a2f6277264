"""Exports the trained model to one GGUF file: converted, then quantized to Q8_0.

python export.py runs/bundled/model -o genner_cli/models/genner-small.gguf
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from train import INSTRUCTIONS

from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.quantize import quantize
from genner_cli.files.hashing import hash_files, weight_files

ABOUT = {
    "general.name": "genner-small",
    "general.license": "cc-by-sa-4.0",
    "general.description": "English entities under open labels, source-locked; made by examples/bundled_model",
}


def export(model: Path, out: Path) -> Path:
    """Writes one GGUF file, and gives its path back. It names its own weights, once quantized, as those it was made of:
    they are what adapters on it are trained on."""
    (model / "genner.json").write_text(json.dumps(INSTRUCTIONS.to_metadata(), indent=2, ensure_ascii=False))
    with tempfile.TemporaryDirectory() as folder:
        whole = hf_to_gguf(model, Path(folder) / "f32.gguf", metadata=ABOUT)
        quantize(whole, out, "Q8_0")
        base = gguf_to_hf(out, Path(folder) / "base")
        before, own = (hash_files(weight_files(place)).encode() for place in (model, base))
    out.write_bytes(out.read_bytes().replace(before, own))  # of the same length
    return out


def main() -> None:
    """Reads the command line and exports."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    args = parser.parse_args()
    print(f"{args.out}: {export(args.model, args.out).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
