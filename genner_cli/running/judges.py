"""Models on this machine as voters: each is opened in a child process when it is asked (`asked`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from genner_cli import hub
from genner_cli.demonstrations import ByWords
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint, hash_files
from genner_cli.files.reading import expand
from genner_cli.files.roles import Roles
from genner_cli.files.writing import check_target
from genner_cli.methods.answered import Answered
from genner_cli.methods.candidates import ASKS, BEST, LABEL, OVERLAP, VALID
from genner_cli.methods.posing import JUDGE_PROMPT, YES, Asked, Poser, Rendered, about, question_of
from genner_cli.methods.ruling import Ruling
from genner_cli.prompting import Demonstration
from genner_cli.running.asked import CHILD, AskedModel, Opening
from genner_cli.running.examples import BUDGET_SHARE, SAMPLED, examples_of
from genner_cli.running.judging import Judge, Stage, Voter, judge, log, source_names, stages, stages_folder
from genner_cli.running.local import Progress, silent
from genner_cli.running.rewriting import Done, files_of
from genner_cli.running.spec import SHOTS, STDIO, RunSpec
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
            "names of labels": spec.tree.names(),
            "shots": spec.shots or SHOTS,
            "context": spec.engine.context,  # a quarter of which the examples may take
        }
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec, pool), settings)
        for name, file in zip(names, files, strict=True)
    ]


def judge_files(
    inputs: Sequence[str],
    spec: RunSpec,
    asked: Sequence[Voter],
    asks: Sequence[str],
    ruling: Ruling,
    roles: Roles | None = None,
    progress: Progress = silent,
) -> Done:
    """Judges what the inputs hold, into the output of the run. Raises UsageError, and as `judging.judge`."""
    if spec.output == STDIO:
        raise UsageError("the stages of a judgement are files beside its output; name one with -o FILE")
    paths = expand(list(inputs))
    sources = source_names(paths)
    if roles:
        paths, sources = roles.files_of(paths, sources)
    if BEST in asks and len(paths) != 2:
        raise UsageError(f"--ask best chooses between two files, not {len(paths)}; name the two, and no others")
    unasked = roles is not None and not roles.deciders
    if unasked and OVERLAP in asks and VALID not in asks:
        raise UsageError("--roles: no model decides on overlaps; ask valid too, which resolves them then")
    ruling = replace(ruling, sources=tuple(sources), flat=unasked and OVERLAP in asks)
    plan = _planned([ask for ask in asks if not (unasked and ask == OVERLAP)], asked, roles)
    return judge(files_of(paths, spec), sources, plan, ruling, progress)


def _planned(asks: Sequence[str], asked: Sequence[Voter], roles: Roles | None) -> list[Stage]:
    """The stages: each model for each question, or those with the role. Raises UsageError for roles of others."""
    by_name = {voter.name: voter for voter in asked}
    return stages(asks, {ask: roles.models_of(ask, by_name) if roles else asked for ask in asks})


def asks_of(given: str | None, files: int, *, whole: bool, spec: RunSpec) -> tuple[str, ...]:
    """What is asked of this number of files, in order; None for what is usual. Raises UsageError, also where other
    options are about something that is not asked."""
    asks = _asks(given) if given is not None else (VALID, OVERLAP) if files > 1 else (VALID,)
    if LABEL in asks and not spec.labels:
        raise UsageError("--ask label chooses among labels; name them with --types or --labels")
    if whole and BEST not in asks:
        raise UsageError("--whole chooses between whole answers; add --ask best")
    if spec.examples and VALID not in asks:
        raise UsageError("--examples are shown where it is asked whether an entity is right; add valid to --ask")
    return asks


def _asks(given: str) -> tuple[str, ...]:
    asks = tuple(each.strip() for each in given.split(","))
    for each in asks:
        if each not in ASKS:
            raise UsageError(f"--ask {given}: {each!r} is not one of {', '.join(ASKS)}")
    if len(set(asks)) < len(asks) or (BEST in asks and len(asks) > 1):
        raise UsageError(f"--ask {given}: ask each once, and best alone")
    return asks


class Verification:
    """What is extracted into a file beside the output is judged by a model, record by record, failed ones too.
    `extracting`: the run of the extraction."""

    def __init__(self, spec: RunSpec, model: str) -> None:
        """`model`: a reference, or `self` for the one that extracts. Raises UsageError and ModelError where that cannot
        be, before anything is extracted."""
        if spec.output == STDIO or spec.shard or spec.cluster:
            raise UsageError("--verify needs -o FILE, and cannot be combined with --shard and --cluster")
        if model == "self" and spec.adapter:
            raise UsageError(
                "--verify self cannot be combined with --adapter; merge it (genner export) or name a judge"
            )
        check_target(spec.output, inputs=spec.inputs)
        self._spec = spec
        self._voters = voters([spec.model if model == "self" else model], spec)
        self.extracting = replace(spec, output=str(stages_folder(spec.output) / "extracted.jsonl"))

    def run(self, progress: Progress = silent) -> Done:
        """Judges what was extracted."""
        return judge_files([self.extracting.output], self._spec, self._voters, (VALID,), Ruling(), progress=progress)


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
