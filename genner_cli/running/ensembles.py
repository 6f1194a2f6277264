"""The roles of an ensemble, chosen on gold documents: every model is asked about every candidate once, then about the
overlaps of what was chosen; both are stages that are resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from genner_cli.files.hashing import hash_file
from genner_cli.files.predictions import extraction_of
from genner_cli.files.reading import read_documents
from genner_cli.files.roles import Roles
from genner_cli.files.writing import Writer, json_line
from genner_cli.methods.candidates import OVERLAP, VALID, Candidate, preferred
from genner_cli.methods.ensemble import KEEP_ALL, Polled, choose_deciders, choose_roles, f1, judged
from genner_cli.methods.ruling import Ruling
from genner_cli.pairing import pair_with_gold
from genner_cli.running.judging import Voter, candidate_value, candidates_of, judge, stages, stages_folder
from genner_cli.running.local import Progress, silent
from genner_cli.running.rewriting import Files, Record
from genner_cli.scoring.tables import Table, percent
from genner_cli.types import Document

Keep = Callable[[Sequence[Candidate]], Iterable[Candidate]]


def choose(
    gold: Sequence[Document],
    files: Files,
    sources: Sequence[str],
    voters: Sequence[Voter],
    progress: Progress = silent,
) -> Roles:
    """The roles; `files`: predictions for the gold documents, `sources`: their names; the stages are in a folder beside
    the output. Raises DataError where gold and predictions part, UsageError, GennerError."""
    for path in (each for each in files.inputs if each != "-"):  # before hours of asking; stdin is read only once
        for _ in pair_with_gold(gold, map(extraction_of, _records(path, files))):
            pass
    folder = stages_folder(files.output)
    names = [voter.name for voter in voters]
    polled_file = _asked(VALID, files, sources, voters, folder, progress)
    polled = _polled(gold, polled_file, files)
    roles = choose_roles(polled, sources, names)
    kept = folder / "kept.jsonl"
    before = hash_file(kept) if kept.exists() else None
    _write_kept(polled_file, kept, files, lambda found: judged(found, *roles[:3]))
    others = hash_file(kept) != before  # where gold was changed, other candidates are kept, and asked about anew
    of_kept = replace(files, inputs=(str(kept),), restart=others)
    decided_file = _asked(OVERLAP, of_kept, (), voters, folder, progress)
    deciders, score = choose_deciders(_polled(gold, decided_file, files), names)
    return Roles(roles.extractors, roles.voters, deciders, roles.thresholds, _measured(polled, sources, score))


def _asked(
    ask: str, files: Files, sources: Sequence[str], voters: Sequence[Voter], folder: Path, progress: Progress
) -> str:
    """The file in which the candidates have all votes on one question, and none is decided on."""
    of_ask = replace(files, output=str(folder / f"{ask}.jsonl"))
    judge(of_ask, sources, stages((ask,), {ask: voters}, decide=False), Ruling(), progress)
    return of_ask.output


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
