"""Models on this machine as voters: each is opened in a child process when it is asked (`asked`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from genner_cli import hub
from genner_cli.demonstrations import ByWords
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint, hash_files
from genner_cli.files.reading import expand
from genner_cli.methods.answered import Answered
from genner_cli.methods.posing import JUDGE_PROMPT, YES, Asked, Poser, Rendered, about, question_of
from genner_cli.prompting import Demonstration
from genner_cli.running.asked import CHILD, AskedModel, Opening
from genner_cli.running.examples import BUDGET_SHARE, SAMPLED, examples_of
from genner_cli.running.judging import Judge, Voter, log, source_names
from genner_cli.running.spec import SHOTS, RunSpec
from genner_cli.types import Document


def voters(models: Sequence[str | None], spec: RunSpec) -> list[Voter]:
    """The models of these references, None for the bundled one; none is loaded yet. Raises UsageError, ModelError."""
    files = [hub.resolve(model, download=spec.download) for model in models]
    if len(set(files)) < len(files):
        raise UsageError("--model names a model twice; name each once")
    names = source_names([str(file) for file in files])
    pool = examples_of(spec) if spec.examples else ()
    settings: dict[str, Any] = {
        "labels": [[label.name, label.definition] for label in spec.labels or ()],
        "no-chat-template": spec.no_chat_template,
    }
    if spec.examples:
        settings |= {
            "examples": hash_files(map(Path, expand([spec.examples]))),
            "shots": spec.shots or SHOTS,
            "context": spec.engine.context,  # a quarter of which the examples may take
        }
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec, pool), settings)
        for name, file in zip(names, files, strict=True)
    ]


@contextmanager
def open_judge(file: Path, spec: RunSpec, pool: tuple[Document, ...] = (), child: str = CHILD) -> Iterator[Judge]:
    """One that genner trained is asked in its own extraction prompt, another one in a chat, in which it is shown
    questions about the documents of the pool with their answers. `child`: the Python code of the process. Raises
    ModelError."""
    most = (spec.shots or SHOTS) if pool else 0
    with AskedModel(Opening(file, spec, JUDGE_PROMPT, most), child) as opened:
        poser = _poser(opened, spec, pool)
        if pool and isinstance(poser, Rendered):
            log.warning("%s: was trained by genner and is asked in its own prompt; it is shown no examples", file)
        yield Judge(poser, opened.score)


def _poser(opened: AskedModel, spec: RunSpec, pool: tuple[Document, ...]) -> Poser:
    labels = spec.labels or ()
    if opened.instructions:
        return Rendered(opened.instructions, labels)
    if not pool:
        return Asked(opened.prompts[0], labels)
    room = min(spec.engine.context, opened.trained_context) // BUDGET_SHARE
    return Asked(opened.prompts[0], labels, answered=_answered(opened, pool, room))


def _answered(opened: AskedModel, pool: tuple[Document, ...], room: int) -> Answered:
    """Answered questions of at most `room` tokens. Those of all texts would take long to count, so the budget is in
    bytes, by what a sample takes at most for one."""
    prompts = opened.prompts
    label = max((entity.label for document in pool for entity in document.entities), key=len)
    texts = (each.text for each in pool[:: 1 + len(pool) // SAMPLED] if each.text)
    sample = [Demonstration(about(text, f'Is "" {question_of(label)}'), YES[0]) for text in texts]
    turn, *sizes = opened.sizes([prompts[1].shown([each]) for each in (Demonstration("", ""), *sample)])
    sizes = [size - turn for size in sizes]
    shots = min(len(prompts) - 1, room // (turn + min(sizes)))
    if shots < len(prompts) - 1:
        shown = (opened.file, shots, len(prompts) - 1, room)
        log.warning("%s: %d of %d examples fit into %d tokens, a quarter of the context", *shown)
    rate = max(tokens / each.size for tokens, each in zip(sizes, sample, strict=True))
    return Answered(prompts, ByWords(pool), shots, int(max(0, room - shots * turn) / rate))
