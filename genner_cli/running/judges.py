"""Models on this machine as voters: each is opened in a child process when it is asked (`asked`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from genner_cli import hub
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint
from genner_cli.methods.posing import JUDGE_PROMPT, Asked, Poser, Rendered
from genner_cli.running.asked import CHILD, AskedModel, Opening
from genner_cli.running.judging import Judge, Voter, source_names
from genner_cli.running.spec import RunSpec


def voters(models: Sequence[str | None], spec: RunSpec) -> list[Voter]:
    """The models of these references, None for the bundled one; none is loaded yet. Raises UsageError, ModelError."""
    files = [hub.resolve(model, download=spec.download) for model in models]
    if len(set(files)) < len(files):
        raise UsageError("--model names a model twice; name each once")
    names = source_names([str(file) for file in files])
    settings = {
        "labels": [[label.name, label.definition] for label in spec.labels or ()],
        "no-chat-template": spec.no_chat_template,
    }
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec), settings)
        for name, file in zip(names, files, strict=True)
    ]


@contextmanager
def open_judge(file: Path, spec: RunSpec, child: str = CHILD) -> Iterator[Judge]:
    """One that genner trained is asked in its own extraction prompt, another one in a chat. `child`: the Python code of
    the process. Raises ModelError."""
    with AskedModel(Opening(file, spec, JUDGE_PROMPT), child) as opened:
        yield Judge(_poser(opened, spec), opened.score)


def _poser(opened: AskedModel, spec: RunSpec) -> Poser:
    labels = spec.labels or ()
    if opened.instructions:
        return Rendered(opened.instructions, labels)
    (prompt,) = opened.prompts
    return Asked(prompt, labels)
