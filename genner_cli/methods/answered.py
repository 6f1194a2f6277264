"""Labelled documents -> questions about their entities with the answers, shown before a question like them.

After GPT-NER's verification with examples (arXiv 2304.10428, section 3.4): mentions of texts like the one asked about,
each posed with the label that is asked about; the answer is yes where the mention is labelled so. Knows nothing of
tokenizers and files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from genner_cli.demonstrations import ByWords, Query
from genner_cli.prompting import Demonstration, Prompt
from genner_cli.types import Document, Range

YES, NO = "Yes", "No"
Pose = Callable[[str, str], str]
"""A text and a mention in it -> the text with the question about it."""
_WORD = re.compile(r"\w+")
_RANKED = 4
"""Texts that are looked at for each that is shown: not every one has a mention for either answer."""


@dataclass
class Answered:
    """Chooses for each question. `prompts[n]`: the literal parts with n answered questions; `shots`: how many are shown
    at most; `budget`: the UTF-8 bytes that they may have together."""

    prompts: tuple[Prompt, ...]
    pool: ByWords
    shots: int
    budget: int
    _near: tuple[str, list[Document]] = field(default=("", []), repr=False)

    def before(self, passage: str, mention: str, label: str, pose: Pose) -> list[Demonstration]:
        """What is shown before the question whether a mention in a passage has a label, the nearest text last: as many
        answers yes as no, as far as texts have both, and the same mention where a text has it. The passage itself, a
        part of it, and a text that it is a part of are never shown."""
        shown: list[Demonstration] = []
        counts, left = {YES: 0, NO: 0}, self.budget
        for document in self._ranked(passage):
            for answer in sorted(counts, key=lambda answer: counts[answer]):
                spans = _spans(document, label, answer)
                other = min(spans, key=lambda span: document.text[slice(*span)].casefold() != mention, default=None)
                if other is None:
                    continue
                each = Demonstration(pose(document.text, document.text[slice(*other)]), answer)
                if each.size <= left:
                    shown.append(each)
                    counts[answer], left = counts[answer] + 1, left - each.size
                break
            if len(shown) == self.shots:
                break
        return shown[::-1]

    def _ranked(self, passage: str) -> list[Document]:
        """The nearest texts, the nearest first; all questions about a passage have the same."""
        if self._near[0] != passage:
            numbers = self.pool.ranked(Query(passage, passage), _RANKED * self.shots)
            asked = " ".join(passage.split())
            near = (self.pool.documents[number] for number in numbers)
            self._near = (passage, [each for each in near if not _shares(asked, " ".join(each.text.split()))])
        return self._near[1]


def _shares(one: str, other: str) -> bool:
    return one in other or other in one


def _spans(document: Document, label: str, answer: str) -> Sequence[Range]:
    """The mentions about which a question with this label has this answer: of those without the label, entities first,
    then words with a capital."""
    right = dict.fromkeys(Range(each.start, each.end) for each in document.entities if each.label == label)
    if answer == YES:
        return list(right)
    others = (Range(each.start, each.end) for each in document.entities)
    return [span for span in dict.fromkeys([*others, *_names(document)]) if span not in right]


def _names(document: Document) -> Iterator[Range]:
    """Words with capitals outside of all entities."""
    for match in _WORD.finditer(document.text):
        apart = all(match.end() <= each.start or each.end <= match.start() for each in document.entities)
        if apart and match[0][0].isupper():
            yield Range(*match.span())
