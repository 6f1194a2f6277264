"""Labelled files -> what in them spoils training or its figures: duplicates, leaks, contradictions.

Takes the documents of each file. Knows nothing of how they were read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from genner_cli.data.runs import links, words_of
from genner_cli.data.tokens import tokenize
from genner_cli.plurals import counted
from genner_cli.types import Document


class Check(StrEnum):
    """The checks. That of problems is done by what reads the files."""

    PROBLEMS = "problems"
    DUPLICATES = "duplicates"
    LEAKS = "leaks"
    ANNOTATIONS = "annotations"
    LABELS = "labels"


TITLES = {
    Check.PROBLEMS: "invalid entities and records",
    Check.DUPLICATES: "texts that occur more than once in a file",
    Check.LEAKS: "pairs of files that share texts or runs of eight words",
    Check.ANNOTATIONS: "identical texts with different entities",
    Check.LABELS: "mentions with inconsistent labels",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found: what it is, how often it occurs, and where (file and line)."""

    what: str
    count: int
    places: tuple[str, ...]

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        return {"what": self.what, "count": self.count, "places": list(self.places)}


Files = Mapping[str, Sequence[Document]]
"""The documents of each file, by its name."""


def duplicates(files: Files) -> Iterator[Finding]:
    """Texts that are in one file more than once, but for case and punctuation; the most frequent first."""
    for name, documents in files.items():
        groups = [group for group in _by_text(documents).values() if len(group) > 1]
        for group in sorted(groups, key=len, reverse=True):
            yield Finding(f"{_shown(group[0].text)} occurs {len(group):,} times in {name}", len(group), _places(group))


def different_annotations(files: Files) -> Iterator[Finding]:
    """The very same text with different entities, in one file or in several."""
    texts: defaultdict[str, list[Document]] = defaultdict(list)
    for documents in files.values():
        for document in documents:
            texts[document.text].append(document)
    for text, group in texts.items():
        ways = {frozenset(document.entities): document for document in group}
        if len(ways) > 1:
            places = _places(list(ways.values()))
            yield Finding(f"{_shown(text)} is annotated in {len(ways):,} ways", len(group), places)


def leaks(files: Files) -> Iterator[Finding]:
    """Documents of one file that are in an earlier file too, or share a run of eight words with it."""
    every = [(name, document) for name, documents in files.items() for document in documents]
    shared: defaultdict[tuple[str, str], list[tuple[Document, Document]]] = defaultdict(list)
    for one, other in links(document.text for _, document in every):
        (first, earlier), (second, later) = every[one], every[other]
        if first != second:
            shared[first, second].append((earlier, later))
    for (first, second), pairs in shared.items():
        same = sum(words_of(earlier.text) == words_of(later.text) for earlier, later in pairs)
        count = len({later.source for _, later in pairs})
        shared_text = f"with the whole text or eight consecutive words of {first} ({same:,} identical)"
        what = f"{second} has {counted(count, 'document')} {shared_text}"
        yield Finding(what, count, tuple(f"{later.source} ({earlier.source})" for earlier, later in pairs))


def label_contradictions(files: Files) -> Iterator[Finding]:
    """Mentions with inconsistent labels, or unlabelled elsewhere; those with most contradictions first.

    An occurrence counts where it stands as whole words. It has no label if no entity overlaps it; one within a
    longer entity, or across one, says nothing.
    """
    documents = [document for documents in files.values() for document in documents]
    labels: defaultdict[tuple[str, ...], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for document in documents:
        for entity in document.entities:
            labels[_words(entity.text)][entity.label].append(document.source)
    for mention, source in _unlabelled(documents, labels):
        labels[mention][""].append(source)
    contradictions = [_contradiction(words, ways) for words, ways in labels.items() if len(ways) > 1]
    yield from sorted(contradictions, key=lambda finding: (-finding.count, finding.what))


def _contradiction(words: tuple[str, ...], ways: Mapping[str, Sequence[str]]) -> Finding:
    """`count` is how many occurrences differ from the most frequent way."""
    ordered = sorted(ways, key=lambda label: (-len(ways[label]), label))
    shown = ", ".join(f"{label or 'unlabelled'} {len(ways[label]):,}x" for label in ordered)
    odd = [place for label in ordered[1:] for place in ways[label]]
    return Finding(f"{_shown(' '.join(words))} is {shown}", len(odd), tuple(dict.fromkeys(odd)))


def _unlabelled(
    documents: Sequence[Document], mentions: Mapping[tuple[str, ...], object]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Each mention's occurrences that no entity overlaps."""
    lengths: defaultdict[str, set[int]] = defaultdict(set)
    for mention in mentions:
        lengths[mention[0]].add(len(mention))
    for document in documents:
        ranges = tokenize(document.text)
        words = [document.text[start:end] for start, end in ranges]
        taken = _covered(document, [start for start, _ in ranges])
        for at, word in enumerate(words):
            for length in lengths.get(word, ()):
                candidate = tuple(words[at : at + length])
                if len(candidate) == length and candidate in mentions and not any(taken[at : at + length]):
                    yield candidate, document.source


def _covered(document: Document, starts: Sequence[int]) -> list[bool]:
    """Whether each token that starts so is part of an entity."""
    covered = []
    reach = number = 0
    for start in starts:
        while number < len(document.entities) and document.entities[number].start <= start:
            reach = max(reach, document.entities[number].end)
            number += 1
        covered.append(start < reach)
    return covered


def _words(text: str) -> tuple[str, ...]:
    return tuple(text[start:end] for start, end in tokenize(text)) or (text,)


def _by_text(documents: Sequence[Document]) -> dict[tuple[str, ...], list[Document]]:
    groups: defaultdict[tuple[str, ...], list[Document]] = defaultdict(list)
    for document in documents:
        groups[tuple(words_of(document.text))].append(document)
    return groups


def _places(documents: Sequence[Document]) -> tuple[str, ...]:
    return tuple(document.source for document in documents)


def _shown(text: str) -> str:
    text = " ".join(text.split())
    return repr(text if len(text) <= 60 else text[:57] + "...")


CHECKS: Mapping[Check, Callable[[Files], Iterator[Finding]]] = {
    Check.DUPLICATES: duplicates,
    Check.LEAKS: leaks,
    Check.ANNOTATIONS: different_annotations,
    Check.LABELS: label_contradictions,
}


def lines_of(found: Mapping[Check, Sequence[Finding]], examples: int) -> Iterator[str]:
    """The findings of each check, for people: at most `examples`, each with as many places."""
    for name, findings in found.items():
        count = sum(finding.count for finding in findings) if name is Check.PROBLEMS else len(findings)
        yield f"{name} ({TITLES[name]}): {count:,}"
        for finding in findings[:examples]:
            yield f"  {finding.what}"
            if (name is not Check.PROBLEMS or finding.count > 1) and examples:
                more = ", ..." if len(finding.places) > examples else ""
                yield f"    {', '.join(finding.places[:examples])}{more}"
        if len(findings) > examples:
            yield f"  ... and {len(findings) - examples:,} more (--examples, --json)"
