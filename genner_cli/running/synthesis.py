"""Labels and a subject -> synthetic gold documents: plan, sentences, annotation, correction, each a file that resumes.

ProgGen (Heng et al. 2024, arXiv 2403.11103); what differs stands in docs/methods/synthesis.md. One model is in memory
at a time. Knows nothing of the terminal.
"""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genner_cli.demonstrations import covering
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.gold import write_gold
from genner_cli.files.hashing import hash_file
from genner_cli.files.plans import Plan, read_plan, write_plan
from genner_cli.files.whole import make_folder, write_whole
from genner_cli.files.writing import encode_value
from genner_cli.methods import synthesis
from genner_cli.methods.synthesis import Verdict, Written
from genner_cli.plurals import counted
from genner_cli.running.annotating import annotated, correct
from genner_cli.running.local import Progress, named, silent
from genner_cli.running.rewriting import Files, rewrite
from genner_cli.running.spec import SHOTS
from genner_cli.running.synthesis_job import STAGES, Synthesis, records_of, write_records
from genner_cli.running.writers import Manner, Writing
from genner_cli.types import Document
from genner_cli.version import __version__

log = logging.getLogger("genner")
MOST_ROUNDS = 5
"""In which further sentences are asked for, in place of those that were not kept."""
LEAST_YIELD = 0.2
"""Of the sentences of a further round, at least so many are expected to be kept."""
SENTENCE_TOKENS, LIST_TOKENS = 96, 160
MIN_P = 0.05
"""How far a token may fall behind the most probable one (`generation.Sampling`)."""
TRAIN, REJECTED, REPORT = "train.jsonl", "rejected.jsonl", "synth.json"


def begin(job: Synthesis, *, restart: bool) -> None:
    """Makes the folders. `restart`: what earlier runs wrote is discarded, but for the plan. Raises UsageError."""
    stages_folder = job.folder / STAGES
    if restart:
        shutil.rmtree(stages_folder, ignore_errors=True)
    make_folder(stages_folder)


def plan_of(job: Synthesis, progress: Progress = silent) -> Plan:
    """The plan of the file, or one that the author makes and that is written there. Raises UsageError."""
    if job.plan.exists():
        plan = read_plan(str(job.plan))
        strangers = plan.names.keys() - {label.name for label in job.labels}
        if strangers:
            raise UsageError(f"{job.plan}: has names of {min(strangers)!r}, which is not among the labels")
        if job.about and job.about != plan.about:
            log.warning("%s: its `about` is used, not that of --about", job.plan)
        return plan
    if not job.about:
        raise UsageError("there is no plan yet; say with --about what the sentences are about")
    values = _listed(job, "values", synthesis.value_questions(job.about), progress)
    topics = values.get("topic", ())
    names = _listed(job, "names", synthesis.name_questions(job.about, job.labels, topics, job.count), progress)
    plan = synthesis.planned(job.about, values, {label.name: names.get(label.name, ()) for label in job.labels})
    for missing in [*(synthesis.ATTRIBUTES.keys() - plan.attributes.keys()), *(n for n in names if not names[n])]:
        log.warning(
            "%s: the model listed nothing for %s; write something there, or use a larger model", job.plan, missing
        )
    write_plan(job.plan, plan)
    return plan


def _listed(job: Synthesis, stage: str, questions: Sequence[Document], progress: Progress) -> dict[str, Any]:
    """What the author lists, by what is asked for."""
    answers = _asked(job, stage, questions, _manner(job, synthesis.LINES, LIST_TOKENS), progress)
    return synthesis.listed((each.fields["of"], each.fields.get("answer", "")) for each in answers)


def _manner(job: Synthesis, grammar: str, tokens: int) -> Manner:
    return Manner(grammar, tokens, job.seed, job.temperature, MIN_P)


def _asked(
    job: Synthesis,
    stage: str,
    questions: Sequence[Document],
    manner: Manner,
    progress: Progress,
    plan: Plan | None = None,
) -> list[Document]:
    """The questions with what the author answers, in fields. `plan`: they ask for sentences of it, after examples."""
    asked, output = job.stage(f"{stage}.questions.jsonl"), job.stage(f"{stage}.jsonl")
    write_records(asked, ({**each.fields, "text": each.text} for each in questions))
    examples = covering(job.examples, SHOTS, [label.name for label in job.labels]) if plan and job.examples else ()
    made_of = {"plan": plan.value(), "sentences to make": job.count} if plan else {}
    with Writing(job.author, manner, synthesis.shown(job.about, examples), made_of) as writing:
        rewrite(Files(inputs=(str(asked),), output=str(output)), writing, named(progress, stage))
    return records_of(output)


def sentences(job: Synthesis, plan: Plan, progress: Progress = silent) -> tuple[list[Document], Counter[Verdict]]:
    """The sentences to annotate, with the attributes and names that were asked for, and how many came to what; those
    that are not kept stand in a file.

    In each further round as many are asked for as are missing. Raises ModelError where too few are kept after the last.
    """
    found: list[Document] = []
    verdicts: list[Verdict] = []
    for number in range(1, MOST_ROUNDS + 1):
        kept = verdicts.count(Verdict.KEPT)
        if kept == job.count:
            break
        missing = job.count - kept
        rate = max(LEAST_YIELD, kept / len(found)) if found else 1.0
        numbers = range(len(found), len(found) + round(missing / rate))
        questions = synthesis.sentence_questions(plan, numbers, job.seed)
        manner = _manner(job, synthesis.LINE, SENTENCE_TOKENS)
        found += _asked(job, f"sentences-{number}", questions, manner, progress, plan)
        verdicts = _verdicts(job, found)
    counts = Counter(verdicts)
    write_records(job.folder / REJECTED, _rejected(found, verdicts))
    if counts[Verdict.KEPT] < job.count:
        raise _too_few(job, counts)
    return [_kept(each) for each, verdict in zip(found, verdicts, strict=True) if verdict is Verdict.KEPT], counts


def _rejected(found: Sequence[Document], verdicts: Sequence[Verdict]) -> Iterator[dict[str, Any]]:
    for each, verdict in zip(found, verdicts, strict=True):
        if verdict is not Verdict.KEPT:
            yield {"id": each.id, "text": _written(each).text, "why": verdict}


def _kept(document: Document) -> Document:
    fields = {name: document.fields[name] for name in ("id", "attributes", "names")}
    return Document(_written(document).text, document.id, fields=fields)


def _verdicts(job: Synthesis, found: Sequence[Document]) -> list[Verdict]:
    examples = [each.text for each in job.examples]
    return synthesis.sifted(list(map(_written, found)), job.count, examples=examples, elsewhere=job.elsewhere)


def _written(document: Document) -> Written:
    if "answer" not in document.fields:
        return Written(document.id or "", "", Verdict.FAILED)
    return synthesis.written(document.id or "", document.fields["answer"], cut="cut" in document.fields)


def _too_few(job: Synthesis, counts: Counter[Verdict]) -> ModelError:
    return ModelError(
        f"{job.author.name}: of {counted(counts.total(), 'sentence')} asked for in {MOST_ROUNDS} rounds,"
        f" {counted(counts[Verdict.KEPT], 'sentence')} of {job.count:,} can be used ({reported(counts)};"
        f" {job.folder / REJECTED}); use a larger model, another seed, a plan with more values and names ({job.plan}),"
        " or a smaller -n"
    )


def reported(counts: Counter[Verdict]) -> str:
    """One phrase for people: what was not kept, by reason."""
    return ", ".join(f"{counts[each]:,} {each}" for each in Verdict if counts[each] and each is not Verdict.KEPT)


@dataclass(frozen=True)
class Made:
    """What a run came to, in phrases for people."""

    sentences: Counter[Verdict]
    corrected: str
    documents: Sequence[Document]

    def summary(self) -> str:
        """One line."""
        dropped = reported(self.sentences)
        diversity = synthesis.diversity(self.documents)
        return (
            f"{counted(len(self.documents), 'sentence')} of {self.sentences.total():,} asked for"
            + (f" ({dropped})" if dropped else "")
            + f"; {counted(diversity['entities'], 'entity')}, {diversity['distinct mentions']:,} of them distinct,"
            f" {counted(diversity['sentences without entities'], 'sentence')} without; {self.corrected}"
        )


def synthesize(job: Synthesis, progress: Progress = silent) -> Made:
    """All stages, each resuming what an earlier run left of it, to train.jsonl and a report in the folder.

    Raises UsageError, ModelError, GennerError where the disk refuses, and KeyboardInterrupt at a signal.
    """
    plan = plan_of(job, progress)
    job = replace(job, about=plan.about)
    texts, counts = sentences(job, plan, progress)
    documents = annotated(job, texts, progress)
    documents, corrected = correct(job, documents, progress)
    train = job.folder / TRAIN
    write_gold(train, map(_gold, documents))
    made = Made(counts, corrected, documents)
    write_whole(job.folder / REPORT, encode_value(_report(job, plan, made)))
    return made


def _gold(document: Document) -> Document:
    return replace(document, entities=tuple(replace(each, score=None) for each in document.entities))


def _report(job: Synthesis, plan: Plan, made: Made) -> dict[str, Any]:
    """Where the documents come from, and what became of all that was asked for."""
    return {
        "command": "synth",
        "genner": __version__,
        "asked for": job.count,
        "seed": job.seed,
        "temperature": job.temperature,
        "min-p": MIN_P,
        "labels": {label.name: label.definition for label in job.labels},
        "author": {"file": job.author.name, "content": job.author.fingerprint},
        "voters": {voter.name: voter.fingerprint for voter in job.voters},
        **job.sources,
        "plan": plan.value(),
        "sentences": {str(verdict): count for verdict, count in sorted(made.sentences.items())},
        "corrected": made.corrected,
        "diversity": synthesis.diversity(made.documents),
        "train.jsonl": hash_file(job.folder / TRAIN),
    }
