"""What did quantization cost? Numbers, logits and entities of a quantized GGUF against the unquantized one's.

Takes both and what to try them on, gives findings. Knows nothing of transformers.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from convert.gguf_numbers import numbers_of
from convert.logits import NOISE_LIMIT, Logits, gguf_logits, noise
from convert.probe import Probe
from convert.report import Finding
from genner_cli.engine.engine import Engine
from genner_cli.engine.gguf_header import TensorInfo, read_header
from genner_cli.engine.model import Model
from genner_cli.extraction import extract
from genner_cli.generation import EngineOptions
from genner_cli.scoring import Counts, score
from genner_cli.types import Entity

ERROR_LIMIT, LEAST_ERROR, MOST_ERROR = 6.0, 0.01, 0.95
"""A tensor's error, relative to its size, is about 2 to 3 times 2 ** -(bits of a number) on normal weights (Q8_0 0.005,
Q4_K 0.07, Q2_K 0.3), and up to 4 on heavy tails. F16 and BF16 are compared with the second; at 1, nothing is left."""
AGREEMENT_LIMIT = 0.75
"""F1 of the entities, with the unquantized model's as gold. The bundled model, on any twenty of 200 tweets, which it
does badly: 0.88 and more for Q4_K_M, 0.83 and more for Q2_K."""
LOST_F1_LIMIT = 0.1
"""F1 on gold entities that may be lost; the same twenty documents: up to 0.053 for Q4_K_M, 0.065 for Q3_K_M."""
LET_PASS = 4
"""Missing or new entities, at most, that say nothing about a quantization: two mentions with other boundaries."""
SAMPLED = 1 << 20
"""Numbers of each tensor that are looked at, in rows all over it."""


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What a GGUF did with a probe: logits of each example [tokens, vocabulary], entities of each document."""

    path: Path
    logits: tuple[Logits, ...]
    entities: tuple[tuple[Entity, ...], ...]


def observe(probe: Probe, gguf: Path, options: EngineOptions) -> Behaviour:
    """Runs a GGUF on the probe; a document that fails has no entities."""
    threads = options.thread_count
    logits = tuple(gguf_logits(gguf, [example.ids for example in probe.examples], threads=threads))
    with Model(gguf, gpu_layers=options.gpu_layers) as model, Engine(model, options) as engine:
        entities = tuple(result.entities for result in extract(probe.documents, probe.task, engine.generate))
    return Behaviour(gguf, logits, entities)


def check_quantization(
    probe: Probe, type: str, whole: Behaviour, quantized: Path, options: EngineOptions
) -> list[Finding]:
    """Findings on numbers, logits and, given documents, entities; `whole` is what the unquantized GGUF did."""
    numbers = check_tensors(type, whole.path, quantized)
    if not numbers.passed:
        return [numbers]
    found = observe(probe, quantized, options)
    hint = f"{numbers.measured['tensor']} differs most from the unquantized model's"
    findings = [numbers, _logits(probe, type, whole, found, hint)]
    return [*findings, _entities(probe, type, whole, found, hint)] if probe.documents else findings


def check_tensors(type: str, whole: Path, quantized: Path) -> Finding:
    """Whether each tensor holds the unquantized one's numbers, as exactly as its own type can.

    Types that the gguf package cannot read back are left out; norms, which are in F32, it always can.
    """
    originals, copies = read_header(whole).tensors, read_header(quantized).tensors
    if originals.keys() != copies.keys():
        name = min(originals.keys() ^ copies.keys())
        return Finding("tensors", type, False, {"tensor": name}, f"the tensor {name} is in one of the two files only")
    errors = {name: _error(whole, originals[name], quantized, copy) for name, copy in copies.items()}
    readable = {name: error for name, error in errors.items() if error is not None}
    limits = {name: _limit(copies[name]) for name in readable}
    worst = max(readable, key=lambda name: readable[name] / limits[name])
    measured = {
        "tensor": worst, "type": copies[worst].kind_name, "error": readable[worst], "limit": limits[worst],
        "compared": len(readable),
    }  # fmt: skip
    passed = readable[worst] <= limits[worst]
    message = f"{worst} differs by {readable[worst]:.2g} of its size, {limits[worst]:.2g} are allowed in this type"
    return Finding("tensors", type, passed, measured, "" if passed else message)


def _limit(tensor: TensorInfo) -> float:
    bits = 8 * tensor.size / tensor.numbers
    return float(np.clip(ERROR_LIMIT * 2**-bits, LEAST_ERROR, MOST_ERROR))


def _error(whole: Path, original: TensorInfo, quantized: Path, copy: TensorInfo) -> float | None:
    """Root mean square error relative to the root mean square, over rows all over the tensor."""
    step = max(1, original.numbers // SAMPLED)
    a, b = numbers_of(whole, original, step=step), numbers_of(quantized, copy, step=step)
    if a is None or b is None:
        return None
    size = float(np.linalg.norm(a.astype(np.float64)))
    error = float(np.nan_to_num(np.linalg.norm(a.astype(np.float64) - b), nan=np.inf))
    return error / size if size else (0.0 if error == 0 else np.inf)


def _logits(probe: Probe, type: str, whole: Behaviour, found: Behaviour, hint: str) -> Finding:
    noises = [noise(a, b) for a, b in zip(whole.logits, found.logits, strict=True)]
    worst = int(np.argmax(noises))
    measured = {"noise": noises[worst], "limit": NOISE_LIMIT}
    passed = noises[worst] <= NOISE_LIMIT
    message = f"{probe.examples[worst].source}: logits differ by {noises[worst]:.2g} standard deviations; {hint}"
    return Finding("logits", type, passed, measured, "" if passed else message)


def _entities(probe: Probe, type: str, whole: Behaviour, found: Behaviour, hint: str) -> Finding:
    gold = [document.entities for document in probe.documents]
    agreement = score(zip(whole.entities, found.entities, strict=True)).micro
    before, after = (score(zip(gold, each.entities, strict=True)).micro for each in (whole, found))
    differing = agreement.missed + agreement.spurious
    measured = {
        "agreement": agreement.f1 if agreement != Counts() else 1.0, "differing": differing, "limit": AGREEMENT_LIMIT,
        "entities": agreement.hit + agreement.missed, "gold": before.hit + before.missed,
        "f1_unquantized": before.f1, "f1": after.f1, "limit_of_lost_f1": LOST_F1_LIMIT,
    }  # fmt: skip
    passed = differing <= LET_PASS or (agreement.f1 >= AGREEMENT_LIMIT and before.f1 - after.f1 <= LOST_F1_LIMIT)
    return Finding("entities", type, passed, measured, "" if passed else _changed(probe, whole, found, measured, hint))


def _changed(probe: Probe, whole: Behaviour, found: Behaviour, measured: dict[str, Any], hint: str) -> str:
    """The document that lost or won most, and what all of them lost."""
    changes = [set(a) ^ set(b) for a, b in zip(whole.entities, found.entities, strict=True)]
    worst = max(range(len(changes)), key=lambda at: len(changes[at]))
    some = sorted(changes[worst], key=lambda entity: entity.start)[0]
    return (
        f"{measured['differing']} of {measured['entities']} entities differ from the unquantized model's (agreement"
        f" {measured['agreement']:.2f}, F1 {measured['f1_unquantized']:.3f} before, {measured['f1']:.3f} after), as"
        f" {some.text!r} ({some.label}) at {some.start} in {probe.documents[worst].source}; {hint}"
    )
