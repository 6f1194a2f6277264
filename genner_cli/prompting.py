"""Labels and a text -> the prompt, for training and extraction alike; what a model says of itself.

A prompt is a fixed prefix, shared by all texts with the same labels, and the rest. The literal parts of a model that
genner trained stand in its metadata, chat template already applied, so no template runs at extraction. A model that
genner did not train is shown demonstrations as well: texts with their answers.
Knows nothing of tokenizers and files.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from genner_cli.errors import ModelError, UsageError
from genner_cli.types import Entity, Label, Piece

PROMPT_VERSION = 1
"""How labels are written into a prompt and which metadata a model carries. Another version is refused."""
VERSION_KEY = "genner.prompt.version"
"""A GGUF has it if genner trained the model."""


HINTS = "\n\nEntities that another model found, each with the probability that it is right:\n"
NO_HINTS = "none\n"


def hint_lines(hints: Sequence[Entity], labels: Collection[str]) -> str:
    """What stands behind a text that has hints (SuperContext, arXiv 2312.15918): one line `MENTION | LABEL | 0.97` for
    each of them that has one of the labels, if there are labels, without a probability where it has no score; `none`
    without any."""
    lines = (
        " | ".join([" ".join(hint.text.split()), hint.label, *([] if hint.score is None else [f"{hint.score:.2f}"])])
        for hint in hints
        if not labels or hint.label in labels
    )
    return HINTS + ("".join(f"{line}\n" for line in lines) or NO_HINTS)


class Demonstration(NamedTuple):
    """A text with the answer to it; `hints`: what stands between both (`hint_lines`)."""

    text: str
    answer: str
    hints: str = ""

    @property
    def size(self) -> int:
        """UTF-8 bytes of all."""
        return sum(len(part.encode()) for part in self)


class Turn(NamedTuple):
    """The literal parts around the answer of a demonstration; behind the second stands the next text."""

    before_answer: str
    after_answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """The literal parts of a prompt; control tokens in them are read as such.

    `turns`: one for each demonstration that stands before the text asked about.
    """

    before_labels: str
    before_text: str
    after_text: str
    turns: tuple[Turn, ...] = ()

    def prefix(self, labels: Sequence[Label]) -> tuple[Piece, ...]:
        """What stands before every text: one line `NAME: definition` or `NAME` for each label."""
        lines = "".join(
            f"{label.name}: {label.definition}\n" if label.definition else f"{label.name}\n" for label in labels
        )
        return (Piece(self.before_labels, literal=True), Piece(lines), Piece(self.before_text, literal=True))

    def shown(self, demonstrations: Sequence[Demonstration]) -> tuple[Piece, ...]:
        """What stands between the prefix and the text, one demonstration for each turn, read as plain characters."""
        pieces: list[Piece] = []
        for (text, answer, hints), turn in zip(demonstrations, self.turns, strict=True):
            pieces += [Piece(text), *_hint_pieces(hints), Piece(turn.before_answer, literal=True)]
            pieces += [Piece(answer), Piece(turn.after_answer, literal=True)]
        return tuple(pieces)

    def rest(self, text: str, hints: str = "") -> tuple[Piece, ...]:
        """The text and the hints to it, read as plain characters, and what stands behind them."""
        return (Piece(text), *_hint_pieces(hints), Piece(self.after_text, literal=True))


def _hint_pieces(hints: str) -> tuple[Piece, ...]:
    return (Piece(hints),) if hints else ()


def label_passes(labels: Sequence[Label], fits: Callable[[Sequence[Label]], bool]) -> tuple[tuple[Label, ...], ...]:
    """The labels in order, in as few runs as there can be of which each `fits`, or is a single label."""
    passes = []
    rest = tuple(labels)
    while rest:
        counts = range(2, len(rest) + 1)
        count = len(rest) if fits(rest) else 1 + bisect_left(counts, True, key=lambda count: not fits(rest[:count]))
        passes.append(rest[:count])
        rest = rest[count:]
    return tuple(passes)


ONLY_THESE_LABELS = "Use only the labels of the label set."


def general_prompt(instruction: str, *, open: bool = False) -> Prompt:
    """The prompt with this wording of the task; the chat template of a model, if it has one, goes around it. `open`:
    there is no label set."""
    before_labels = f"{instruction}\n" if open else f"{instruction}\n\nLabel Set:\n"
    return Prompt(before_labels, before_text="\nText:\n", after_text="\n\nAnswer:\n")


GENERAL_PROMPT = general_prompt(f"Mark the named entities in the text. {ONLY_THESE_LABELS}")
"""What training on a base without a prompt of its own begins with."""
OPEN_INSTRUCTION = (
    "List every name, thing, quantity and idea in the text as a JSON list of objects: the mention as it stands in the"
    " text as key, and as value what kind of thing it is, in one to four lower-case words."
)
"""What a model is asked that names the labels itself, after NuNER's prompt (arXiv 2402.15343, section 3)."""
UNTRAINED_FORMAT = "category"
"""Found more without examples than the others did (docs/prompting.md)."""
UNTRAINED_CHUNK_BYTES = 2000


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a model is to be asked, and how: stands as metadata in the GGUF of a model that genner trained.

    `labels` are those it was trained on; `default_labels` those used when none are asked for;
    `chunk_bytes` the longest text it was trained on, in UTF-8 bytes. `together`: sets of labels that it learnt to tell
    apart; `open_labels`: it was trained on labels of any name. `whole_words`: it is kept from entities that start or
    end inside words.
    """

    prompt: Prompt
    format: str
    depth: int
    labels: tuple[Label, ...]
    default_labels: tuple[str, ...]
    chunk_bytes: int
    together: tuple[tuple[str, ...], ...] = ()
    open_labels: bool = False
    whole_words: bool = False

    def __post_init__(self) -> None:
        named = {name for names in (self.default_labels, *self.together) for name in names}
        strangers = named - {label.name for label in self.labels}
        if strangers:
            raise ValueError(f"default labels, or labels in sets, without a label: {', '.join(sorted(strangers))}")

    @classmethod
    def untrained(cls, prompt: Prompt = GENERAL_PROMPT) -> Instructions:
        """For a model that genner did not train: labels of any name, and none of its own."""
        return cls(prompt, UNTRAINED_FORMAT, 1, (), (), UNTRAINED_CHUNK_BYTES, open_labels=True, whole_words=True)

    def labels_trained_together(self, labels: Sequence[Label]) -> tuple[Label, ...]:
        """The labels to ask for so that these are recognised as in training: the smallest set that was learnt
        together and has them all, in its order. Without one, or where one has another definition, these alone."""
        known = {label.name: label for label in self.labels}
        names = {label.name for label in labels}
        sets = [each for each in self.together if names <= set(each)]
        if not sets or any(known[label.name] != label for label in labels):
            return tuple(labels)
        return tuple(known[name] for name in min(sets, key=len))

    def to_metadata(self) -> dict[str, str]:
        """GGUF key-value pairs, all of them strings."""
        return {
            VERSION_KEY: str(PROMPT_VERSION),
            "genner.prompt.before_labels": self.prompt.before_labels,
            "genner.prompt.before_text": self.prompt.before_text,
            "genner.prompt.after_text": self.prompt.after_text,
            "genner.format": self.format,
            "genner.depth": str(self.depth),
            "genner.labels": json.dumps({label.name: label.definition for label in self.labels}, ensure_ascii=False),
            "genner.default_labels": json.dumps(self.default_labels, ensure_ascii=False),
            "genner.chunk_bytes": str(self.chunk_bytes),
            "genner.together": json.dumps(self.together, ensure_ascii=False),
            "genner.open_labels": json.dumps(self.open_labels),
            "genner.whole_words": json.dumps(self.whole_words),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Instructions | None:
        """Reads them back; None for a model that genner did not train.

        Raises ModelError for another version and for missing or broken values.
        """
        version = metadata.get(VERSION_KEY)
        if version is None:
            return None
        if version != str(PROMPT_VERSION):
            raise ModelError(
                f"the model was made for prompt version {version}, this genner knows {PROMPT_VERSION};"
                " install a matching genner or export the model again"
            )
        try:
            return cls(
                prompt=Prompt(
                    before_labels=metadata["genner.prompt.before_labels"],
                    before_text=metadata["genner.prompt.before_text"],
                    after_text=metadata["genner.prompt.after_text"],
                ),
                format=metadata["genner.format"],
                depth=int(metadata["genner.depth"]),
                labels=tuple(Label(name, text) for name, text in json.loads(metadata["genner.labels"]).items()),
                default_labels=tuple(json.loads(metadata["genner.default_labels"])),
                chunk_bytes=int(metadata["genner.chunk_bytes"]),
                together=tuple(tuple(names) for names in json.loads(metadata.get("genner.together", "[]"))),
                open_labels=bool(json.loads(metadata.get("genner.open_labels", "false"))),
                whole_words=bool(json.loads(metadata.get("genner.whole_words", "false"))),
            )
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, UsageError) as error:
            raise ModelError(f"the model's genner metadata is broken ({error!r}); export it again") from error
