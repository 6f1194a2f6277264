"""Completions -> counts as the scripts of arXiv 2601.17898 count them (szu-tera/LLMs4NER, evaluation/, 2026-05).

Takes the completion that a model wrote and the one that it should have written, gives multisets of tuples, which
differ by format: bracketed and XML (label, start, end) if both completions have the same text without their markup,
else (label, text); category JSON (label, text); occurrence JSON (label, text, index); offset JSON (label, text,
start, end). JSON that cannot be read says nothing. Formats are not scored alike by this; it is there to compare with
the paper's tables. `inserted` is not in the paper, and is read as bracketed is.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from genner_cli.errors import DataError, UsageError
from genner_cli.formats import output_format
from genner_cli.scoring.counts import Counts
from genner_cli.scoring.evaluation import name_of, sides
from genner_cli.scoring.figures import DocumentCounts, Key
from genner_cli.types import Document, Extraction

Bag = Counter[tuple[Any, ...]]
"""Tuples that begin with the label."""


class _Marked(NamedTuple):
    """A completion without its markup, and the spans of it that were marked: label, start, end."""

    text: str
    spans: list[tuple[str, int, int]]


def document_counts(
    extraction: Extraction, format: str, labels: Sequence[str], *, depth: int = 1
) -> tuple[DocumentCounts, int]:
    """The counts of one document, and how many gold entities the format cannot say and so leaves out.

    Raises DataError where there is not the one completion that the paper's scripts read; of a document that failed,
    or that is blank, it may be missing.
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
    if format not in _READERS:
        raise UsageError(
            f"there are no official figures for the format {format!r}; choose one of {', '.join(_READERS)}"
        )
    gold, predicted = _READERS[format](wanted, written, labels)
    found = {label: Counts() for label, *_ in (*gold, *predicted)}
    for number, bag in enumerate((gold & predicted, gold - predicted, predicted - gold)):
        for (label, *_), count in bag.items():
            found[label] += Counts(*(count if place == number else 0 for place in range(3)))
    return {Key("label", label): each for label, each in found.items()}


def _inline(read: Callable[[str, Sequence[str]], _Marked]) -> Callable[[str, str, Sequence[str]], tuple[Bag, Bag]]:
    def bags(wanted: str, written: str, labels: Sequence[str]) -> tuple[Bag, Bag]:
        gold, predicted = read(wanted, labels), read(written, labels)
        if gold.text == predicted.text:
            return Counter(gold.spans), Counter(predicted.spans)
        return _mentions(gold), _mentions(predicted)

    return bags


def _mentions(marked: _Marked) -> Bag:
    return Counter((label, marked.text[start:end]) for label, start, end in marked.spans)


def _read_bracketed(completion: str, events: re.Pattern[str]) -> _Marked:
    """A closing with its label ends the innermost open bracket; blanks before it are no part of the text."""
    completion = completion.strip()
    text, at = "", 0
    opened: list[int] = []
    spans = []
    for event in events.finditer(completion):
        copied = completion[at : event.start()]
        at = event.end()
        text += copied if event["open"] else copied.rstrip()
        if event["open"]:
            opened.append(len(text))
        elif opened and (start := opened.pop()) < len(text) and (label := " ".join(event["label"].split())):
            spans.append((label, start, len(text)))
    return _Marked(text + completion[at:], spans)


def _read_xml(completion: str, labels: Sequence[str]) -> _Marked:
    """A closing tag ends the innermost open one of its label, and forgets those opened since."""
    tags = "|".join(re.escape(label) for label in sorted(labels, key=len, reverse=True))
    text, at = "", 0
    opened: list[tuple[str, int]] = []
    spans = []
    for event in re.finditer(rf"<(?P<close>/?)(?P<label>{tags})>", completion):
        text += completion[at : event.start()]
        at = event.end()
        if not event["close"]:
            opened.append((event["label"], len(text)))
            continue
        place = next((place for place in reversed(range(len(opened))) if opened[place][0] == event["label"]), None)
        if place is not None:
            label, start = opened[place]
            del opened[place:]
            spans += [(label, start, len(text))] if start < len(text) else []
    return _Marked(text + completion[at:], spans)


def _json(read: Callable[[Any], Iterable[tuple[Any, ...]]]) -> Callable[[str, str, Sequence[str]], tuple[Bag, Bag]]:
    def bag(completion: str) -> Bag:
        try:
            return Counter(read(json.loads(completion)))
        except (ValueError, TypeError, OverflowError, RecursionError):
            return Counter()

    return lambda wanted, written, labels: (bag(wanted), bag(written))


def _grouped(value: Any) -> Iterable[tuple[Any, ...]]:
    if not isinstance(value, dict):
        return []
    return [
        (label, str(mention)) for label, mentions in value.items() if isinstance(mentions, list) for mention in mentions
    ]


def _listed(*numbers: str) -> Callable[[Any], Iterable[tuple[Any, ...]]]:
    def read(value: Any) -> Iterable[tuple[Any, ...]]:
        items = value if isinstance(value, list) else []
        whole = [item for item in items if isinstance(item, dict) and _has(item, ("text", "label", *numbers))]
        return [(str(item["label"]), str(item["text"]), *(int(item[name]) for name in numbers)) for item in whole]

    return read


def _has(item: dict[str, Any], names: Iterable[str]) -> bool:
    return all(item.get(name) is not None for name in names)


_BRACKETS = re.compile(r"(?P<open>\[)|\|\s*(?P<label>[^\]]+)\]")
_MARKS = re.compile(r"(?P<open>⟦)|⦂\s*(?P<label>[^⟧]+)⟧")

_READERS: dict[str, Callable[[str, str, Sequence[str]], tuple[Bag, Bag]]] = {
    "bracketed": _inline(lambda completion, labels: _read_bracketed(completion, _BRACKETS)),
    "xml": _inline(_read_xml),
    "category": _json(_grouped),
    "occurrence": _json(_listed("occurrence_index")),
    "offset": _json(_listed("start", "end")),
    "inserted": _inline(lambda completion, labels: _read_bracketed(completion, _MARKS)),
}
