"""Candidates of one or several outputs of an extraction -> judged by models, stage by stage.

Each stage is what one model is asked about one thing: a pass over all records, into an output that is resumed. So one
model is in memory at a time. Knows nothing of the terminal; what asks a model it opens by a function that it is given.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from genner_cli.errors import ModelError, UsageError
from genner_cli.files import OUTPUT_FIELDS, size
from genner_cli.files.gold import NO_NAMES
from genner_cli.files.predictions import extraction_of
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.whole import make_folder
from genner_cli.generation import Score
from genner_cli.methods.asking import Asker
from genner_cli.methods.candidates import BEST, Candidate, union
from genner_cli.methods.posing import Poser
from genner_cli.methods.ruling import Ruling
from genner_cli.plurals import counted
from genner_cli.running.local import Progress, named, silent
from genner_cli.running.rewriting import Done, Files, Record, Rewritten, id_of, rewrite
from genner_cli.types import Document, Extraction, FailedDocument

log = logging.getLogger("genner")
STAGES = ".stages"
"""What a folder with the stages of an output is called, beside its name."""


class Judge(NamedTuple):
    """A model that is open to be asked."""

    poser: Poser
    score: Score


Open = Callable[[str], AbstractContextManager[Judge]]
"""Opens a model for what it is asked (`candidates.ASKS`)."""


@dataclass(frozen=True, slots=True)
class Voter:
    """A model, not yet open. `name`: in votes; `fingerprint`: of its files; `settings`: how it is asked."""

    name: str
    fingerprint: str
    open: Open
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stage:
    """What one model is asked, and whether it is the last voter on that: then the record has the decision."""

    ask: str
    voter: Voter
    decides: bool

    @property
    def name(self) -> str:
        """Without the folders that a model's name has where its file name does not tell it apart."""
        return f"{self.ask}-{os.path.basename(self.voter.name)}"


def stages(asks: Iterable[str], voters: Mapping[str, Sequence[Voter]], *, decide: bool = True) -> list[Stage]:
    """In the order of what is asked; `voters`: those for each. Without `decide` all candidates keep their votes."""
    return [
        Stage(ask, voter, decide and number == len(voters[ask]))
        for ask in asks
        for number, voter in enumerate(voters[ask], 1)
    ]


def judge(
    files: Files, sources: Sequence[str], plan: Sequence[Stage], ruling: Ruling, progress: Progress = silent
) -> Done:
    """Runs all stages; the last one's output is that of `files`, the others' are in a folder beside it.

    sources: the names of the inputs, in order; none for one whose entities have their sources. The same call resumes.
    Raises UsageError for inputs that do not have the same documents, and for those without an entity to judge, of a
    stream at its end; GennerError, KeyboardInterrupt.
    """
    inputs = expand(files.inputs)
    _refuse_unconcerned(inputs, ruling, files)
    folder = stages_folder(files.output, make=len(plan) > 1)
    done, last = Done(), "" if sources else inputs[0]
    for number, stage in enumerate(plan, 1):
        output = files.output if number == len(plan) else str(folder / f"{number}-{stage.name}.jsonl")
        of_stage = Files(
            inputs=(last,) if last else tuple(inputs), output=output,
            text_field=files.text_field, id_field=files.id_field, restart=files.restart,
            retry_errors=files.retry_errors,
        )  # fmt: skip
        with Voting(stage, ruling, sources, first=not last) as voting:
            joined = None if last else lambda read: _joined(inputs, sources, files, read, ruling)
            done = rewrite(of_stage, voting, named(progress, f"{number} of {len(plan)}, {stage.name}"), joined)
        last = output
    return done


def has_stream(paths: Iterable[str]) -> bool:
    """Whether one of them can be read only once."""
    return any(size(path) is None for path in paths)


def _refuse_unconcerned(inputs: Sequence[str], ruling: Ruling, files: Files) -> None:
    """Raises UsageError where there are entities, and none with a label that is judged. Reads on to the first that has
    one; of a stream, which can be read only once, nothing."""
    if not ruling.limit or has_stream(inputs):
        return
    records = read_documents(inputs, text_field=files.text_field, id_field=files.id_field, dropped=())
    any(concerned for _, concerned in _with_concern(records, inputs, ruling))


def _with_concern(records: Iterable[Record], inputs: Sequence[str], ruling: Ruling) -> Iterator[tuple[Record, bool]]:
    """The records, each with whether one with a label that is judged has come. Raises UsageError at the end where none
    has, but others."""
    labels: Counter[str] = Counter()
    concerned = False
    for record in records:
        entities = extraction_of(record).entities
        concerned = concerned or bool(ruling.concerned(entities))
        labels.update(entity.label for entity in entities)
        yield record, concerned
    if labels and not concerned:
        known = ", ".join(f"{label} ({count:,})" for label, count in labels.most_common())
        wanted = ", ".join(ruling.tree.labels())
        raise UsageError(
            f"{', '.join(inputs)}: no entity has one of the labels {wanted}; there are {known}: name some of these with"
            " --types or --labels"
        )


def stages_folder(output: str, *, make: bool = True) -> Path:
    """The folder of an output's stages. Raises UsageError where it cannot be made."""
    folder = Path(output + STAGES)
    if make:
        make_folder(folder)
    return folder


class Voting:
    """One stage (`rewriting.Rewriting`). The model is opened for the first record that has a candidate."""

    def __init__(self, stage: Stage, ruling: Ruling, sources: Sequence[str], *, first: bool) -> None:
        self._stage, self._ruling, self._sources, self._first = stage, ruling, tuple(sources), first
        self._stack = ExitStack()
        self._asker: Asker | None = None
        self._problem = ""
        self._others: Counter[str] = Counter()

    def __enter__(self) -> Voting:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        if others := +self._others:
            counts = ", ".join(f"{label} ({count:,})" for label, count in others.most_common())
            log.warning("%s with other labels left out: %s", counted(others.total(), "entity"), counts)

    @property
    def settings(self) -> dict[str, Any]:
        """The question, the model, and how votes are counted."""
        voter = self._stage.voter
        return {
            "command": "judge",
            "asked": self._stage.ask,
            "model's name": voter.name,
            "model's content": voter.fingerprint,
            **voter.settings,
            **self._ruling.settings(self._stage.ask),
            "sources": list(self._sources) if self._first or self._stage.ask == BEST else None,
            "decides": self._stage.decides,
        }

    def rewrite(self, documents: Sequence[Record], files: Files, /) -> list[Rewritten]:
        """Records whose candidates have the votes of this model too."""
        batch = [extraction_of(document) for document in documents]
        known = [
            self._concerned(candidates_of(document)) if _is_sound(one) else []
            for document, one in zip(documents, batch, strict=True)
        ]
        texts = [document.text if isinstance(document, Document) else "" for document in documents]
        voted = self._voted(texts, known)
        if self._stage.decides:
            voted = [self._ruling.decide(self._stage.ask, each) for each in voted]
        return [_rewritten(*each, files) for each in zip(documents, batch, voted, strict=True)]

    def _concerned(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates that are judged; the others are counted."""
        found = self._ruling.concerned(candidates)
        self._others.update(each.label for each in candidates)
        self._others.subtract(each.label for each in found)
        return found

    def _voted(self, texts: Sequence[str], known: Sequence[list[Candidate]]) -> list[list[Candidate]]:
        if not any(known):
            return list(known)
        if asker := self._open():
            return asker.votes(self._stage.ask, texts, known)
        name = self._stage.voter.name
        return [[each.voted(self._stage.ask, name, None) for each in candidates] for candidates in known]

    def _open(self) -> Asker | None:
        """None for a model that cannot be opened: it costs its votes, and not the run."""
        if not self._asker and not self._problem:
            try:
                judge = self._stack.enter_context(self._stage.voter.open(self._stage.ask))
                self._asker = Asker(self._stage.voter.name, judge.poser, judge.score, self._ruling)
            except ModelError as error:
                self._problem = str(error)
                log.warning("%s; its votes count as no, and --restart asks again", error)
        return self._asker


def _is_sound(extraction: Extraction) -> bool:
    return extraction.error is None and isinstance(extraction.document, Document)


def candidates_of(record: Record) -> list[Candidate]:
    """The candidates of a record that a stage wrote, or of an extraction's."""
    found = []
    for value in record.fields.get("entities", ()):
        sources, votes = value.get("sources") or (), value.get("votes") or {}
        found.append(Candidate(value["start"], value["end"], value["label"], tuple(sources), votes, value.get("score")))
    return found


def _rewritten(document: Record, extraction: Extraction, candidates: Sequence[Candidate], files: Files) -> Rewritten:
    """The record with these candidates; one that failed, as it was."""
    error = extraction.error
    if isinstance(extraction.document, FailedDocument) and error is None:
        error = extraction.document.message
    others = {n: v for n, v in document.fields.items() if n not in (files.id_field, *OUTPUT_FIELDS)}
    record = {**id_of(document, files)}
    if isinstance(document, Document):
        record[files.text_field] = document.text
    if error is not None:
        return Rewritten({**record, **others, "entities": [], "error": {"message": error}}, error=error)
    assert isinstance(document, Document)
    values = [candidate_value(each, document.text) for each in candidates]
    return Rewritten({**record, **others, "entities": values}, len(values))


def candidate_value(candidate: Candidate, text: str) -> dict[str, Any]:
    """A candidate as it stands in a record."""
    value: dict[str, Any] = {
        "start": candidate.start, "end": candidate.end, "label": candidate.label,
        "text": text[candidate.start : candidate.end],
    }  # fmt: skip
    if candidate.score is not None:
        value["score"] = candidate.score
    return {**value, "sources": list(candidate.sources), "votes": candidate.votes}


def _joined(
    inputs: Sequence[str], sources: Sequence[str], files: Files, read: Callable[[int], None], ruling: Ruling
) -> Iterator[Record]:
    """The documents with the candidates of all outputs; of a stream, it shows at the end whether any is judged."""
    records = proposals(inputs, sources, files, read, ruling.names)
    if ruling.limit and has_stream(inputs):
        return (record for record, _ in _with_concern(records, inputs, ruling))
    return records


def proposals(
    paths: Sequence[str],
    sources: Sequence[str],
    files: Files,
    read: Callable[[int], None],
    names: Mapping[str, str] = NO_NAMES,
) -> Iterator[Record]:
    """The documents of several outputs that stand side by side, each with the union of the candidates.

    `names`: what labels are called instead, by what the outputs call them (`LabelTree.names`). A source whose record
    failed proposes nothing there; where all failed, or one cannot be read, the document did.
    Raises UsageError where the outputs do not have the same documents.
    """
    readers = [
        read_documents([path], text_field=files.text_field, id_field=files.id_field, dropped=(), progress=read)
        for path in paths
    ]
    for number, records in enumerate(zip_longest(*readers), 1):
        if None in records:
            ended, other = paths[records.index(None)], next(each for each in records if each is not None)
            raise UsageError(f"{ended}: ends before document {number:,}, which is in {other.source}; {_REMEDY}")
        yield _proposal(records, sources, names)


_REMEDY = "give outputs of `genner extract` for the same documents, in the same order"


def _proposal(records: Sequence[Record], sources: Sequence[str], names: Mapping[str, str]) -> Record:
    first = next((each for each in records if isinstance(each, Document)), records[0])
    for each in records:
        if each.id != first.id or (isinstance(each, Document) and each.text != first.text):  # type: ignore[union-attr]
            raise UsageError(f"{each.source}: is not the document of {first.source}; {_REMEDY}")
    done = {source: extraction_of(each) for source, each in zip(sources, records, strict=True)}
    for one in done.values():
        if isinstance(one.document, FailedDocument) and one.error is None:  # unreadable, not recorded as failed
            return one.document
    sound = {
        source: [replace(entity, label=names.get(entity.label, entity.label)) for entity in each.entities]
        for source, each in done.items()
        if _is_sound(each)
    }
    if not sound or isinstance(first, FailedDocument):
        return first
    values = [candidate_value(each, first.text) for each in union(sound)]
    fields = {name: value for name, value in first.fields.items() if name != "error"}
    return Document(first.text, first.id, fields={**fields, "entities": values}, source=first.source)


def source_names(paths: Sequence[str]) -> list[str]:
    """Short names of files: without folders and suffixes where that tells them apart."""
    short = [os.path.basename(path).split(".jsonl")[0].removesuffix(".gguf") for path in paths]
    return short if len(set(short)) == len(short) else list(paths)
