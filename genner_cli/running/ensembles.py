"""The roles of an ensemble, chosen on gold documents: every model is asked about every candidate once, then about the
overlaps of what was chosen; both are stages that are resumed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from genner_cli.files.gold import read_gold_files
from genner_cli.files.hashing import hash_file
from genner_cli.files.predictions import extraction_of
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.roles import Roles
from genner_cli.files.writing import Writer, encode_value, json_line
from genner_cli.methods.candidates import OVERLAP, VALID, Candidate, preferred
from genner_cli.methods.ensemble import KEEP_ALL, Polled, choose_deciders, choose_roles, f1, fitted, judged
from genner_cli.methods.ruling import Ruling
from genner_cli.pairing import pair_with_gold
from genner_cli.running.judges import voters
from genner_cli.running.judging import (
    Voter,
    candidate_value,
    candidates_of,
    judge,
    source_names,
    stages,
    stages_folder,
)
from genner_cli.running.local import Progress, silent
from genner_cli.running.rewriting import Files, Record, files_of
from genner_cli.running.spec import RunSpec
from genner_cli.scoring.tables import Table, percent
from genner_cli.types import Document

Keep = Callable[[Sequence[Candidate]], Iterable[Candidate]]


def choose(
    gold: Sequence[Document],
    files: Files,
    sources: Sequence[str],
    voters: Sequence[Voter],
    ruling: Ruling,
    progress: Progress = silent,
) -> Roles:
    """The roles; `files`: predictions for the gold documents, `sources`: their names; the stages are in a folder beside
    the output. Raises DataError where gold and predictions part, UsageError, GennerError.

    What is shown with a candidate depends on the files that others are in. So where not all files are chosen, the
    chosen models are asked again about the candidates of the chosen files, as `genner judge` will ask them.
    """
    for path in (each for each in files.inputs if each != "-"):  # before hours of asking; stdin is read only once
        for _ in pair_with_gold(gold, map(extraction_of, _records(path, files))):
            pass
    work = _Work(files, stages_folder(files.output), ruling, progress)
    names = [voter.name for voter in voters]
    answered = work.asked(VALID, files, sources, voters)
    polled = _polled(gold, answered, files)
    roles = choose_roles(polled, sources, names)
    if set(roles.extractors) < set(sources):
        chosen = work.kept("chosen", answered, partial(_of_sources, roles.extractors))
        asked = [voter for voter in voters if voter.name in roles.voters]
        answered = work.asked(VALID, chosen, (), asked, "valid-chosen")
        roles = fitted(roles, _polled(gold, answered, files))
    kept = work.kept("kept", answered, lambda found: judged(found, *roles[:3]))
    decided_file = work.asked(OVERLAP, kept, (), voters)
    deciders, score = choose_deciders(_polled(gold, decided_file, files), names)
    return Roles(roles.extractors, roles.voters, deciders, roles.thresholds, _measured(polled, sources, score))


def choose_and_write(
    gold: Sequence[str], predictions: Sequence[str], spec: RunSpec, progress: Progress = silent, *, chat: bool = False
) -> tuple[Roles, str]:
    """Chooses the roles of files of predictions and of the models in `spec.model`, separated by commas, and writes them
    to the output; gives them, and the file. `chat`: see `voters`. Raises as `choose`."""
    documents = read_gold_files(gold, text_field=spec.text_field, id_field=spec.id_field, names=spec.tree.names())
    spec.for_gold(documents)  # refuses labels that gold does not have
    paths = expand(predictions)
    writer = Writer(spec.output, inputs=(*gold, *paths), suffixes=(".json",))
    models = [*spec.model.split(",")] if spec.model else [None]
    asked = voters(models, spec, paths, chat=chat)
    ruling = Ruling(tree=spec.tree, limit=spec.labels is not None)
    documents = tuple(replace(each, entities=tuple(ruling.concerned(each.entities))) for each in documents)
    roles = choose(documents, files_of(paths, spec), source_names(paths), asked, ruling, progress)
    with writer:
        writer.write(encode_value(roles.value()))
    return roles, writer.path


def _of_sources(sources: Collection[str], candidates: Iterable[Candidate]) -> Iterator[Candidate]:
    """The candidates of these sources, not voted on yet."""
    for each in candidates:
        if own := tuple(source for source in each.sources if source in sources):
            yield replace(each, sources=own, votes={})


@dataclass(frozen=True, slots=True)
class _Work:
    """Asks about candidates, and keeps some; all files are in a folder."""

    files: Files
    folder: Path
    ruling: Ruling
    progress: Progress

    def asked(self, ask: str, files: Files, sources: Sequence[str], voters: Sequence[Voter], name: str = "") -> str:
        """The file in which the candidates have all votes on one question, and none is decided on."""
        of_ask = replace(files, output=str(self.folder / f"{name or ask}.jsonl"))
        judge(of_ask, sources, stages((ask,), {ask: voters}, decide=False), self.ruling, self.progress)
        return of_ask.output

    def kept(self, name: str, path: str, keep: Keep) -> Files:
        """A file of the candidates that are kept. Where gold was changed, others are, and they are asked about anew."""
        target = self.folder / f"{name}.jsonl"
        before = hash_file(target) if target.exists() else None
        _write_kept(path, target, self.files, keep)
        restart = self.files.restart or hash_file(target) != before
        return replace(self.files, inputs=(str(target),), restart=restart)


def _records(path: str, files: Files) -> Iterator[Record]:
    return read_documents([path], text_field=files.text_field, id_field=files.id_field, dropped=())


def _polled(gold: Sequence[Document], path: str, files: Files) -> list[Polled]:
    records = list(_records(path, files))
    pairs = pair_with_gold(gold, map(extraction_of, records))
    return [
        Polled(frozenset((e.start, e.end, e.label) for e in document.entities), tuple(candidates_of(record)))
        for record, (document, _) in zip(records, pairs, strict=True)
    ]


def _write_kept(path: str, target: Path, files: Files, keep: Keep) -> None:
    """Records with the candidates that are kept."""
    with Writer(str(target)) as writer:
        for record in _records(path, files):
            if isinstance(record, Document):
                found = keep(candidates_of(record))
                values = [candidate_value(each, record.text) for each in found]
                writer.write(json_line({**record.fields, files.text_field: record.text, "entities": values}))
            else:
                writer.write(json_line({**record.fields, "entities": [], "error": {"message": record.message}}))


def _measured(polled: Sequence[Polled], sources: Sequence[str], score: float) -> dict[str, object]:
    def alone(source: str) -> float:
        return f1(polled, lambda found: preferred(each for each in found if source in each.sources))

    return {"documents": len(polled), "f1": score, "f1 of each file": {source: alone(source) for source in sources}}


def _yes(threshold: float) -> str:
    return "yes to everything" if threshold <= KEEP_ALL else f"yes above {threshold:.4g}"


def roles_lines(found: Roles) -> Iterator[Table | str]:
    """The roles of an ensemble, and its F1 beside that of each of the files."""
    yield f"extractors: {', '.join(found.extractors)}"
    yield "voters: " + ", ".join(f"{name} ({_yes(found.thresholds[name])})" for name in found.voters)
    yield f"deciders: {', '.join(found.deciders) or 'none; the longest of overlapping entities is kept'}"
    measured = {**found.measured["f1 of each file"], "with these roles": found.measured["f1"]}
    yield Table.of(("entities of", "F1"), ((name, percent(value)) for name, value in measured.items()))
