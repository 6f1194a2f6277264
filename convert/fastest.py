"""A GGUF -> the same model in another type of weights: a named one, or the one that is fastest on this machine.

From a quantized file what its type dropped stays lost, and the new type drops more: how much, is measured on the logits
and reported. Nothing is compared with transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.logit_noise import logit_noise
from convert.quantize import quantize, takes_back
from genner_cli.engine.gguf_header import Header, read_header
from genner_cli.engine.type_speeds import TypeSpeeds, keep_speeds, read_speeds, tokens_per_second
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.whole import rename_durably
from genner_cli.generation import EngineOptions

FASTEST = "fastest"
CANDIDATES = ("Q8_0", "IQ4_NL", "Q4_0", "Q4_K_M", "BF16")
"""Types that some processor has fast kernels for; the first of equally fast ones is taken, so the more exact first."""
EQUAL = 0.97
"""A type with this share of the highest speed is as fast."""


@dataclass(frozen=True, slots=True)
class Requantized:
    """What was made. `speeds`: tokens per second of the types that were compared, empty where the type was named;
    `noise`: of the logits, against the source (`convert.logits.noise`)."""

    type: str
    path: Path
    noise: float
    speeds: TypeSpeeds


def requantize(
    source: Path, out: Path, type: str, engine: EngineOptions, *, imatrix: Path | None, say: Callable[[str], None]
) -> Requantized:
    """Writes `source`, of any type, to `out` in a type, or in the fastest one.

    The speeds of types are measured once for the shapes of a model and a machine. Raises UsageError where the source is
    the fastest already, ModelError where it cannot be read or quantized.
    """
    header = read_header(source)
    with TemporaryDirectory(prefix=out.name, dir=_folder(out)) as work:
        speeds: TypeSpeeds = {}
        if type == FASTEST:
            types = (header.quantization, *(type for type in CANDIDATES if not takes_back(type, header.metadata)))
            measured = measured_speeds(source, types, Path(work), engine, say)
            speeds = {type: measured[type] for type in types}
        chosen = fastest(speeds) if speeds else type
        if chosen == header.quantization and speeds:
            raise UsageError(
                f"{source}: {_listed(speeds)}: {chosen} is the fastest here already; use the file as it is"
            )
        say(f"quantizing to {chosen}")
        made = quantize(source, Path(work) / out.name, chosen, imatrix=imatrix, threads=engine.threads, requantize=True)
        say("comparing the logits")
        found = logit_noise(source, made, engine.thread_count)
        rename_durably(made, out)
    return Requantized(read_header(out).quantization, out, found, speeds)


def _folder(out: Path) -> Path:
    if out.suffix != ".gguf":
        raise UsageError(f"{out}: a GGUF's name ends in .gguf; name it {out.name}.gguf")
    if not out.parent.is_dir():
        raise ModelError(f"{out.parent} is not a folder; make it, or name another place")
    return out.parent


def measured_speeds(
    source: Path, types: Sequence[str], work: Path, engine: EngineOptions, say: Callable[[str], None]
) -> TypeSpeeds:
    """Tokens per second of a GGUF in each of these types, and in others that were measured before; files are made in
    the folder `work`. Raises ModelError where the source cannot be read or quantized."""
    header = read_header(source)
    known = dict(read_speeds(header, engine))
    for type in types:
        if type not in known:
            say(f"timing {type}")
            known[type] = _speed(source, header, type, work, engine)
            keep_speeds(header, engine, known)
    return known


def _speed(source: Path, header: Header, type: str, work: Path, engine: EngineOptions) -> float:
    if type == header.quantization:
        return tokens_per_second(source, engine)
    made = quantize(source, work / "timed.gguf", type, threads=engine.threads, requantize=True)
    try:
        return tokens_per_second(made, engine)
    finally:
        made.unlink()


def fastest(speeds: TypeSpeeds) -> str:
    """The first of CANDIDATES that is as fast as any of these types."""
    order = (*CANDIDATES, *(type for type in speeds if type not in CANDIDATES))
    return next(type for type in order if speeds.get(type, 0) >= EQUAL * max(speeds.values()))


def _listed(speeds: TypeSpeeds) -> str:
    order = sorted(speeds, key=lambda type: -speeds[type])
    return "tokens per second " + ", ".join(f"{type} {speeds[type]:.0f}" for type in order)
