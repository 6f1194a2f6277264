"""Synthetic sentences -> their entities: extracted, and the least certain ones judged."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from genner_cli.files.predictions import extraction_of
from genner_cli.methods import synthesis
from genner_cli.methods.candidates import BOUNDARY, LABEL, VALID, Candidate
from genner_cli.methods.ruling import Ruling
from genner_cli.methods.synthesis import Scored
from genner_cli.plurals import counted
from genner_cli.running.judging import candidate_value, candidates_of, judge, stages
from genner_cli.running.local import Progress, named, run, silent
from genner_cli.running.rewriting import Files
from genner_cli.running.synthesis_job import Synthesis, records_of, write_records
from genner_cli.types import Document, Entity, Extraction, LabelTree, canonical_order

log = logging.getLogger("genner")


def annotated(job: Synthesis, texts: Sequence[Document], progress: Progress = silent) -> list[Document]:
    """The sentences with the entities that the annotator extracts; those that failed are left out, and warned of."""
    source, output = job.stage("texts.jsonl"), job.stage("annotated.jsonl")
    write_records(source, ({**each.fields, "text": each.text} for each in texts))
    spec = replace(job.annotation, inputs=(str(source),), output=str(output))
    run(spec, job.backend, named(progress, "annotation"))
    extractions = [extraction_of(each) for each in records_of(output)]
    failed = [each for each in extractions if each.error is not None]
    if failed:
        log.warning("%s cannot be annotated (%s); see %s", counted(len(failed), "sentence"), failed[0].error, output)
    return [_with_entities(each) for each in extractions if each.error is None]


def _with_entities(extraction: Extraction) -> Document:
    assert isinstance(extraction.document, Document)
    return replace(extraction.document, entities=extraction.entities)


def correct(job: Synthesis, documents: Sequence[Document], progress: Progress = silent) -> tuple[list[Document], str]:
    """The documents after the voters have judged the least certain annotations, and a phrase that says what changed:
    whether each is an entity, where it begins and ends, and which label it has."""
    places = {(number, at): entity for number, each in enumerate(documents) for at, entity in enumerate(each.entities)}
    scored = [Scored(place, entity.label, entity.score or 0.0) for place, entity in places.items()]
    doubted = synthesis.uncertain(scored, job.corrected) if job.voters else set()
    if not doubted:
        return list(documents), "no annotation was checked"
    judged = _judged(job, documents, doubted, progress)
    found = []
    counts: Counter[str] = Counter()
    for number, document in enumerate(documents):
        certain = [entity for at, entity in enumerate(document.entities) if (number, at) not in doubted]
        before = {(each.start, each.end, each.label) for each in document.entities if each not in certain}
        entities = list(certain)
        for each in sorted(judged.get(document.id or "", ()), key=lambda each: each.key not in before):
            unchanged = each.key in before  # and lies beside or within the others, as it did
            overlaps = not unchanged and any(each.start < other.end and other.start < each.end for other in entities)
            counts["unchanged" if unchanged else "overlapping" if overlaps else "changed"] += 1
            if not overlaps:
                text = document.text[each.start : each.end]
                entities.append(Entity(each.start, each.end, each.label, text))
        found.append(replace(document, entities=tuple(sorted(entities, key=canonical_order))))
    counts["removed"] = len(doubted) - counts.total()
    what = ", ".join(f"{counts[name]:,} {name}" for name in ("unchanged", "changed", "removed", "overlapping"))
    return found, f"{len(doubted):,} of {counted(len(places), 'annotation')} checked: {what}"


def _judged(
    job: Synthesis, documents: Sequence[Document], doubted: set[tuple[int, int]], progress: Progress
) -> dict[str, list[Candidate]]:
    """What the voters make of doubted annotations, by document."""
    source, output = job.stage("uncertain.jsonl"), job.stage("judged.jsonl")
    asked: dict[int, list[Candidate]] = {}
    for number, at in sorted(doubted):
        entity = documents[number].entities[at]
        asked.setdefault(number, []).append(Candidate(entity.start, entity.end, entity.label, score=entity.score))
    records = (
        {
            "id": documents[number].id,
            "text": documents[number].text,
            "entities": [candidate_value(each, documents[number].text) for each in candidates],
        }
        for number, candidates in asked.items()
    )
    write_records(source, records)
    asks = (BOUNDARY, LABEL, VALID) if len(job.labels) > 1 else (BOUNDARY, VALID)
    ruling = Ruling(tree=LabelTree.flat(job.labels))
    files = Files(inputs=(str(source),), output=str(output))
    judge(files, (), stages(asks, dict.fromkeys(asks, job.voters)), ruling, named(progress, "correction"))
    return {each.id or "": candidates_of(each) for each in records_of(output)}
