"""genner-base: the adapter that comes with genner, and the model that it was trained on -> one GGUF on this machine.

The base comes through `genner pull`'s ways; merging and quantizing need no torch. What is made is compared with base
and adapter as llama.cpp runs them side by side, and gets its name only if it agrees.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from convert.logits import gguf_logits, noise
from convert.merge_gguf import merge_gguf
from convert.quantize import quantize
from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_file
from genner_cli.files.whole import rename_durably
from genner_cli.hub.pulling import pull
from genner_cli.hub.references import Progress
from genner_cli.prompting import Instructions
from genner_cli.provenance import Provenance

NOISE_LIMIT = 0.25
"""Root mean square difference of logits, in their standard deviations, between the merged model and base and adapter
side by side (`convert.logits.noise`)."""
_TEXTS = (
    "Ada Lovelace worked with Charles Babbage in London.",
    "Play the new album by Nina Simone on Sunday at 7pm.",
    "Naloxone reverses the hypotension that clonidine causes in rats, as the University of Oslo reported in 1984.",
)


def fetch_base(progress: Progress) -> Path:
    """The GGUF of the model that genner-base was trained on, fetched into the local cache if it is not there.

    Raises ModelError with a remedy where it cannot be fetched, or is another file.
    """
    trained_on = _provenance()
    base = pull(trained_on.base, progress=progress).path
    if hash_file(base) != trained_on.base_file:
        raise ModelError(f"{base} is another file than genner-base was trained on; remove it and run genner pull base")
    return base


def make_base(base: Path, say: Callable[[str], None]) -> Path:
    """Merges and quantizes genner-base into the local cache, and gives its path.

    Takes some 400 MB of disk meanwhile. Raises ModelError where the result does not compute what base and adapter do.
    """
    out = hub.base_path()
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="making-", dir=out.parent) as work:
        say("merging genner-base into its base model")
        whole = merge_gguf(base, hub.BASE_ADAPTER, Path(work) / "whole.gguf")
        say(f"quantizing to {hub.BASE_TYPE}")
        made = quantize(whole, Path(work) / out.name, hub.BASE_TYPE)
        say("comparing it with base and adapter")
        _refuse_other(made, base)
        rename_durably(made, out)
    return out


def _provenance() -> Provenance:
    found = Provenance.from_metadata(read_header(hub.BASE_ADAPTER).metadata)
    if found is None:
        raise ModelError(f"{hub.BASE_ADAPTER} names no base; install genner again")
    return found


def _refuse_other(made: Path, base: Path) -> None:
    """Raises ModelError where the logits of prompts are not those of base and adapter side by side."""
    with Model(base, gpu_layers=0, adapter=hub.BASE_ADAPTER) as model:
        instructions = Instructions.from_metadata(model.metadata)
        assert instructions, "training writes the adapter's instructions"
        prefix = model.prefix_ids(instructions.prompt.prefix(instructions.labels[:3]))
        prompts = [prefix + model.prompt(instructions.prompt.rest(text)) for text in _TEXTS]
    threads = os.cpu_count() or 1
    expected = gguf_logits(base, prompts, threads=threads, adapter=hub.BASE_ADAPTER)
    worst = max(map(noise, expected, gguf_logits(made, prompts, threads=threads)))
    if worst > NOISE_LIMIT:
        raise ModelError(
            f"genner-base as made here differs from its base and adapter by {worst:.2g} standard deviations of the"
            f" logits ({NOISE_LIMIT} allowed); install genner and llama-cpp-python again, and report it"
        )
