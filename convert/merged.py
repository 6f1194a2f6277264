"""An adapter's GGUF and its base's -> one model, checked against llama.cpp running the two side by side.

Needs no torch. A merged model is faster than base and adapter side by side, whose products are computed one by one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.logit_noise import logit_noise
from convert.merge_gguf import merge_gguf
from convert.quantize import quantize
from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.files.room import OTHER_TEMPORARY, room_for
from genner_cli.generation import EngineOptions
from genner_cli.provenance import Provenance

NOISE_LIMIT = 0.05
"""Root mean square difference of logits, in their standard deviations, between the merged model and the two side by
side, all in F16 (`convert.logits.noise`). Rounding gives 0.002; without the adapter it is 0.5 and more."""
_FILES = 2
"""F16 models that lie in the temporary folder at the same time: the merged one, and the base to compare it with."""


@contextmanager
def whole_model(
    source: Path, *, base: str | None, download: bool, engine: EngineOptions, say: Callable[[str], None]
) -> Iterator[Path]:
    """`source`, or, if that is an adapter, the F16 model of it and its base, which is there for the block only.

    `base`: a GGUF or a reference to one; None: the one that the adapter names. Raises ModelError where it is not at
    hand or does not fit, and where the merged model does not compute what base and adapter do.
    """
    if not is_adapter(source):
        yield source
        return
    model = hub.resolve(base or _named_base(source), download=download)
    size = _FILES * 2 * sum(tensor.numbers for tensor in read_header(model).tensors.values())
    with TemporaryDirectory(prefix="genner-") as work:
        with room_for(f"{source} merged into {model}", size, Path(work), OTHER_TEMPORARY):
            merged = merge_checked(model, source, Path(work) / "merged.gguf", threads=engine.threads, say=say)
        yield merged


def merge_checked(
    base: Path, adapter: Path, out: Path, *, threads: int | None = None, say: Callable[[str], None]
) -> Path:
    """Writes the F16 model of a base and an adapter, both GGUFs. Raises ModelError where the adapter does not fit, and
    where the merged model does not compute what the two do side by side."""
    say(f"merging {adapter.name} into {base.name}")
    merge_gguf(base, adapter, out)
    say("comparing it with base and adapter side by side")
    _refuse_other(out, base, adapter, threads or os.cpu_count() or 1)
    return out


def is_adapter(path: Path) -> bool:
    """Whether a GGUF is an adapter."""
    return read_header(path).metadata.get("general.type") == "adapter"


def _named_base(adapter: Path) -> str:
    found = Provenance.from_metadata(read_header(adapter).metadata)
    if found is None:
        raise ModelError(f"{adapter} names no base; give the GGUF of the base that it was trained on with --base")
    return found.base


def _refuse_other(merged: Path, base: Path, adapter: Path, threads: int) -> None:
    # In F16 as well: products with quantized weights round their inputs to 8 bits, which an adapter amplifies.
    with TemporaryDirectory(dir=merged.parent) as work:
        whole = quantize(base, Path(work) / "base.gguf", "F16", threads=threads, requantize=True)
        worst = logit_noise(whole, merged, threads, adapter=adapter, made_of=base)
    if worst > NOISE_LIMIT:
        raise ModelError(
            f"{adapter}: merged into {base}, logits differ from those of the two side by side by {worst:.2g} standard"
            f" deviations ({NOISE_LIMIT} allowed); export the adapter again"
        )
