"""Completions -> counts as the scripts of arXiv 2601.17898 count them (szu-tera/LLMs4NER, evaluation/, 2026-05).

Takes the completion that a model wrote and the one that it should have written, and compares multisets of the tuples
that `OutputFormat.official` reads: by label and offsets where both completions have the same text without their
markup, else by label and mention; JSON by all that an item says. Formats are not scored alike by this; it is there
to compare with the paper's tables.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from genner_cli.errors import DataError
from genner_cli.formats import Marked, output_format
from genner_cli.scoring.counts import Counts
from genner_cli.scoring.evaluation import name_of, sides
from genner_cli.scoring.figures import DocumentCounts, Key
from genner_cli.types import Document, Extraction


def document_counts(
    extraction: Extraction, format: str, labels: Sequence[str], *, depth: int = 1
) -> tuple[DocumentCounts, int]:
    """The counts of one document, and how many gold entities the format cannot represent and so leaves out.

    Raises DataError where there is not the one completion that the paper's scripts read; of a document that failed,
    or whose text is white space, it may be missing.
    """
    gold, _ = sides(extraction)
    text = extraction.document.text if isinstance(extraction.document, Document) else ""
    may_lack = extraction.error or not text.strip()
    if len(extraction.completions) > 1 or not (extraction.completions or may_lack):
        raise DataError(f"{name_of(extraction)}: has {_remedy(len(extraction.completions))}")
    rendering = output_format(format).render(text, gold, labels, depth=depth)
    written = "".join(extraction.completions)
    return counts(format, rendering.completion, written, labels), len(rendering.left_out)


def _remedy(completions: int) -> str:
    if not completions:
        return "no completion to score; write predictions with `genner extract --keep-completion`, or give --model"
    return f"{completions} completions, its text was cut into chunks; extract with --chunk-bytes as long as the text"


def counts(format: str, wanted: str, written: str, labels: Sequence[str]) -> DocumentCounts:
    """The counts of one document, for each label; `labels`: those asked for (XML knows no other tags).

    wanted, written: the completion of the gold entities, and the model's. Raises UsageError for an unknown format.
    """
    gold, predicted = (output_format(format).official(completion, labels) for completion in (wanted, written))
    by_offsets = gold.text == predicted.text
    expected, given = _bag(gold, by_offsets=by_offsets), _bag(predicted, by_offsets=by_offsets)
    by_label = {label: Counts() for label, *_ in (*expected, *given)}
    for number, bag in enumerate((expected & given, expected - given, given - expected)):
        for (label, *_), count in bag.items():
            by_label[label] += Counts(*(count if place == number else 0 for place in range(3)))
    return {Key("label", label): each for label, each in by_label.items()}


def _bag(marked: Marked, *, by_offsets: bool) -> Counter[tuple[Any, ...]]:
    if by_offsets:
        return Counter(marked.entities)
    return Counter((label, marked.text[start:end]) for label, start, end in marked.entities)
