"""Models on this machine as voters: each is opened in a child process when it is asked (`asked`)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from genner_cli import hub
from genner_cli.errors import UsageError
from genner_cli.files.hashing import fingerprint, hash_files
from genner_cli.files.predictions import extraction_of
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.roles import Roles
from genner_cli.files.writing import check_target
from genner_cli.methods.candidates import ASKS, BEST, LABEL, OVERLAP, VALID
from genner_cli.methods.posing import JUDGE_PROMPT, PASSAGE_BYTES, Asked, Poser, Rendered
from genner_cli.methods.ruling import Ruling
from genner_cli.running.asked import CHILD, AskedModel, Opening
from genner_cli.running.examples import examples_of
from genner_cli.running.judging import (
    Judge,
    Stage,
    Voter,
    has_stream,
    judge,
    log,
    source_names,
    stages,
    stages_folder,
)
from genner_cli.running.local import Progress, silent
from genner_cli.running.rewriting import Done, files_of
from genner_cli.running.spec import SHOTS, STDIO, Nearness, RunSpec
from genner_cli.tasks import Task
from genner_cli.types import Label

JUDGED_FORMAT = "bracketed"
"""In which a model that genner did not train tells right entities from wrong ones best (docs/methods.md)."""


def voters(
    models: Sequence[str | None], spec: RunSpec, inputs: Sequence[str] = (), *, chat: bool = False
) -> list[Voter]:
    """The models of these references, None for the bundled one; none is loaded yet.

    `inputs`: whose entities' labels are asked for where the spec names none; `chat`: models that genner did not train
    are asked questions in a chat. Raises UsageError, ModelError.
    """
    files = [hub.resolve(model, download=spec.download) for model in models]
    if len(set(files)) < len(files):
        raise UsageError("--model names a model twice; name each once")
    names = source_names([str(file) for file in files])
    settings: dict[str, Any] = {
        "labels": [[label.name, label.definition] for label in spec.labels or ()],
        "no-chat-template": spec.no_chat_template,
        "chat": chat,
    }
    if spec.examples:
        settings |= _examples(spec, chat=chat)
    return [
        Voter(name, fingerprint([file]), partial(open_judge, file, spec, inputs=tuple(inputs), chat=chat), settings)
        for name, file in zip(names, files, strict=True)
    ]


def _examples(spec: RunSpec, *, chat: bool) -> dict[str, Any]:
    """What a resumed run compares of the examples. Raises UsageError for those that cannot be shown."""
    if chat:
        raise UsageError("--examples are answers in an extraction prompt and cannot be combined with --chat")
    if spec.nearest not in (None, Nearness.NONE, Nearness.WORDS):
        raise UsageError(f"--nearest {spec.nearest}: judges choose examples by words alone; give --nearest words")
    examples_of(spec)
    return {
        "examples": hash_files(map(Path, expand([spec.examples or ""]))),
        "names of labels": spec.tree.names(),
        "shots": spec.shots or SHOTS,
        "nearest": str(spec.nearest or Nearness.NONE),
        "context": spec.engine.context,  # a quarter of which the examples may take
    }


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
        extracted = str(stages_folder(spec.output, make=False) / "extracted.jsonl")
        nearest = (
            Nearness.WORDS if spec.nearest and spec.nearest.way else None
        )  # vectors are the extracting model's own
        self._judging = replace(spec, nearest=nearest)
        self._voters = voters([spec.model if model == "self" else model], self._judging, [extracted])
        stages_folder(spec.output)
        self.extracting = replace(spec, output=extracted)

    def run(self, progress: Progress = silent) -> Done:
        """Judges what was extracted."""
        return judge_files([self.extracting.output], self._judging, self._voters, (VALID,), Ruling(), progress=progress)


@contextmanager
def open_judge(
    file: Path, spec: RunSpec, ask: str = VALID, *, inputs: Sequence[str] = (), chat: bool = False, child: str = CHILD
) -> Iterator[Judge]:
    """See `voters`; without examples, which label is right is always a question in a chat, since small models
    answer that better (docs/methods.md). `child`: the Python code of the process. Raises ModelError, and UsageError
    where no labels are known."""
    chat = chat or (ask == LABEL and not spec.examples)
    with AskedModel(Opening(file, spec, JUDGE_PROMPT), child) as opened:
        yield Judge(_poser(opened, spec, inputs, chat=chat), opened.score)


def _poser(opened: AskedModel, spec: RunSpec, inputs: Sequence[str], *, chat: bool) -> Poser:
    if opened.instructions:
        if spec.examples:
            log.warning("%s: was trained by genner and has a prompt of its own; it is shown no examples", opened.file)
        return Rendered.of_trained(opened.instructions, spec.labels or ())
    if chat:
        return Asked(opened.prompts[0], spec.labels or ())
    labels = spec.labels or _labels_in(inputs, spec)

    def task_of(asked: tuple[Label, ...]) -> Task:
        shown = spec.examples if set(labels) <= set(asked) else None  # no level of a tree alone has examples
        return opened.task(
            RunSpec(
                labels=asked, tree=spec.tree, format=JUDGED_FORMAT, examples=shown, shots=spec.shots if shown else None,
                nearest=spec.nearest if shown else None, no_chat_template=spec.no_chat_template,
                text_field=spec.text_field, id_field=spec.id_field, chunk_bytes=PASSAGE_BYTES, engine=spec.engine,
            )
        )  # fmt: skip

    return Rendered(labels, task_of, passage_bytes=PASSAGE_BYTES, inclination=True)


def _labels_in(inputs: Sequence[str], spec: RunSpec) -> tuple[Label, ...]:
    """The labels of the entities in files, by name. Raises UsageError for streams, which can be read only once."""
    paths = expand(inputs)
    if has_stream(paths):
        raise UsageError("the labels of a stream are not known beforehand; name them with --types or --labels")
    records = read_documents(paths, text_field=spec.text_field, id_field=spec.id_field, dropped=())
    return tuple(map(Label, sorted({entity.label for each in records for entity in extraction_of(each).entities})))
