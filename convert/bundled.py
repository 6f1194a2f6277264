"""genner-base: the adapter that comes with genner and the model that it was trained on -> one GGUF on this machine.

The base comes as `genner pull` brings any; merging and quantizing need no torch. The result is checked against base and
adapter side by side, and gets its name only if it agrees.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from convert.fastest import fastest, measured_speeds
from convert.logit_noise import logit_noise
from convert.logits import NOISE_LIMIT
from convert.merged import merge_checked
from convert.quantize import quantize
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_file
from genner_cli.files.room import room_for
from genner_cli.files.whole import rename_durably
from genner_cli.generation import EngineOptions
from genner_cli.hub import own
from genner_cli.hub.pulling import pull
from genner_cli.hub.references import Progress
from genner_cli.provenance import Provenance

TYPES = ("Q8_0", "BF16")
"""Types of weights that genner-base may get, the more compact first; those of 4 bits lost 4 points of F1 (docs/LOG.md,
2026-11-30)."""
_FILES = 3
"""Files that lie in the work folder at the same time, each at most as large as the F16 model."""


def fetch_base(progress: Progress) -> Path:
    """The GGUF that genner-base's adapter was trained on, fetched into the local cache if it is not there.

    Raises ModelError where it cannot be fetched or is another file.
    """
    if not own.BASE_ADAPTER.is_file():
        raise ModelError(f"{own.BASE_ADAPTER} is missing; install genner again")
    trained_on = Provenance.from_metadata(read_header(own.BASE_ADAPTER).metadata)
    if trained_on is None:
        raise ModelError(f"{own.BASE_ADAPTER} names no base; install genner again")
    base = pull(trained_on.base, progress=progress).path
    if hash_file(base) != trained_on.base_file:
        raise ModelError(
            f"{base} is not the file that genner-base was trained on (SHA-256 {trained_on.base_file}); remove it, and"
            " run `genner pull base` again"
        )
    return base


def make_base(base: Path, engine: EngineOptions, say: Callable[[str], None]) -> Path:
    """Merges genner-base into the local cache, in the type of TYPES that is fastest here; gives its path.

    Raises ModelError where there is no room for it, and where the result does not compute what base and adapter do.
    """
    try:
        with own.making() as work:
            return own.made_base() or _made(base, work, engine, say)
    except OSError as error:
        raise ModelError(
            f"genner-base cannot be stored ({error}); free some space, and run `genner pull base`"
        ) from error


def _made(base: Path, work: Path, engine: EngineOptions, say: Callable[[str], None]) -> Path:
    size = _FILES * 2 * sum(tensor.numbers for tensor in read_header(base).tensors.values())
    with room_for("genner-base", size, work):
        merged = merge_checked(base, own.BASE_ADAPTER, work / "merged.gguf", threads=engine.threads, say=say)
        speeds = measured_speeds(merged, TYPES, work, engine, say)
        type = fastest({type: speeds[type] for type in TYPES})
        say(f"quantizing to {type}")
        made = quantize(merged, work / "made.gguf", type, threads=engine.threads)
    noise = logit_noise(merged, made, engine.thread_count)
    if noise > NOISE_LIMIT:
        raise ModelError(
            f"genner-base in {type} differs from the unquantized one by {noise:.2g} standard deviations of the logits"
            f" ({NOISE_LIMIT} allowed); install genner and llama-cpp-python again"
        )
    rename_durably(made, own.base_path(type))
    return own.base_path(type)
