"""Models on this machine as voters: llama.cpp opened to answer closed questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from genner_cli import hub
from genner_cli.engine.chat import CHAT_TEMPLATE, literal_prompts
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Poser, Rendered
from genner_cli.prompting import Instructions
from genner_cli.running.judging import Judge, Voter, source_names
from genner_cli.running.spec import RunSpec

DAY = "2026-01-01"
"""For chat templates that write a date: the same every day, so that a run can be resumed."""


def voters(models: Sequence[str | None], spec: RunSpec) -> list[Voter]:
    """The models of these references, None for the bundled one; none is loaded yet. Raises UsageError, ModelError."""
    files = [hub.resolve(model, download=spec.download) for model in models]
    if len(set(files)) < len(files):
        raise UsageError("--model names a model twice; name each once")
    names = source_names([str(file) for file in files])
    settings = {
        "labels": {label.name: label.definition for label in spec.labels or ()},
        "no-chat-template": spec.no_chat_template,
    }
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec), settings)
        for name, file in zip(names, files, strict=True)
    ]


@contextmanager
def open_judge(file: Path, spec: RunSpec) -> Iterator[Judge]:
    """One that genner trained is asked in its own extraction prompt, another one in a chat. Raises ModelError."""
    with Model(file, gpu_layers=spec.engine.gpu_layers) as model, Engine(model, spec.engine) as engine:
        yield Judge(_poser(model, spec), engine.score)


def _poser(model: Model, spec: RunSpec) -> Poser:
    instructions = Instructions.from_metadata(model.metadata)
    if instructions:
        return Rendered(instructions, spec.labels or ())
    (prompt,) = literal_prompts(
        None if spec.no_chat_template else model.metadata.get(CHAT_TEMPLATE),
        model.path,
        general=JUDGE_PROMPT,
        special=model.special_tokens,
        begins=model.begins,
        date=DAY,
    )
    return Asked(prompt, spec.labels or ())
