"""How far two GGUFs compute alike: their logits on a few texts of different kinds. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from convert.logits import gguf_logits, noise
from genner_cli.engine.model import Model

TEXTS = (
    "Ada Lovelace worked with Charles Babbage in London on a machine that nobody finished in their time.",
    "Play the new album by Nina Simone on Sunday at 7pm, and remind me of the dentist on Monday.",
    "Naloxone reverses the hypotension that clonidine causes in rats, as the University of Oslo reported in 1984.",
)


def logit_noise(
    expected: Path, found: Path, threads: int, *, adapter: Path | None = None, made_of: Path | None = None
) -> float:
    """How far the logits of one GGUF are from those of another (`convert.logits.noise`), on the text that differs most.

    `adapter`: one that is applied to the first; `made_of`: the GGUF that the first is in another type of weights, if
    the adapter was trained on that. Raises ModelError where llama.cpp cannot load or run one of them.
    """
    with Model(found, gpu_layers=0) as model:
        prompts = [model.begin_ids + model.plain(text) for text in TEXTS]
    first = gguf_logits(expected, prompts, threads=threads, adapter=adapter, made_of=made_of)
    return max(map(noise, first, gguf_logits(found, prompts, threads=threads)))
