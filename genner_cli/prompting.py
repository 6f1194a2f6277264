"""Labels and a text -> the prompt, for training and extraction alike; what a model says of itself.

A prompt is a fixed prefix, shared by all texts with the same labels, and the rest. Its literal parts
stand in the model's metadata, chat template already applied, so no template runs at extraction.
Knows nothing of tokenizers and files.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genner_cli.errors import ModelError, UsageError
from genner_cli.types import Label, Piece

PROMPT_VERSION = 1
"""How labels are written into a prompt and which metadata a model carries. Another version is refused."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """The literal parts of a prompt; control tokens in them are read as such."""

    before_labels: str
    before_text: str
    after_text: str

    def prefix(self, labels: Sequence[Label]) -> tuple[Piece, ...]:
        """What stands before every text: one line `NAME: definition` or `NAME` for each label."""
        lines = "".join(
            f"{label.name}: {label.definition}\n" if label.definition else f"{label.name}\n" for label in labels
        )
        return (Piece(self.before_labels, literal=True), Piece(lines), Piece(self.before_text, literal=True))

    def rest(self, text: str) -> tuple[Piece, ...]:
        """The text, read as plain characters, and what stands behind it."""
        return (Piece(text), Piece(self.after_text, literal=True))


GENERAL_PROMPT = Prompt(
    before_labels="Mark the named entities in the text. Use only the labels of the label set.\n\nLabel Set:\n",
    before_text="\nText:\n",
    after_text="\n\nAnswer:\n",
)
"""For models that were not trained by genner; their chat template, if any, goes around it."""


@dataclass(frozen=True, slots=True)
class Instructions:
    """What a trained model needs to be told, and how: stands in its GGUF as metadata.

    `labels` are those it was trained on; `default_labels` those used when none are asked for;
    `chunk_bytes` the longest text it was trained on, in UTF-8 bytes.
    """

    prompt: Prompt
    format: str
    depth: int
    labels: tuple[Label, ...]
    default_labels: tuple[str, ...]
    chunk_bytes: int

    def __post_init__(self) -> None:
        strangers = set(self.default_labels) - {label.name for label in self.labels}
        if strangers:
            raise ValueError(f"default labels that are no labels: {', '.join(sorted(strangers))}")

    def to_metadata(self) -> dict[str, str]:
        """GGUF key-value pairs, all of them strings."""
        return {
            "genner.prompt.version": str(PROMPT_VERSION),
            "genner.prompt.before_labels": self.prompt.before_labels,
            "genner.prompt.before_text": self.prompt.before_text,
            "genner.prompt.after_text": self.prompt.after_text,
            "genner.format": self.format,
            "genner.depth": str(self.depth),
            "genner.labels": json.dumps({label.name: label.definition for label in self.labels}, ensure_ascii=False),
            "genner.default_labels": json.dumps(self.default_labels, ensure_ascii=False),
            "genner.chunk_bytes": str(self.chunk_bytes),
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> Instructions | None:
        """Reads them back; None for a model that genner did not train.

        Raises ModelError for another version and for missing or broken values.
        """
        version = metadata.get("genner.prompt.version")
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
                    *(metadata[f"genner.prompt.{part}"] for part in ("before_labels", "before_text", "after_text"))
                ),
                format=metadata["genner.format"],
                depth=int(metadata["genner.depth"]),
                labels=tuple(Label(name, text) for name, text in json.loads(metadata["genner.labels"]).items()),
                default_labels=tuple(json.loads(metadata["genner.default_labels"])),
                chunk_bytes=int(metadata["genner.chunk_bytes"]),
            )
        except (KeyError, ValueError, TypeError, AttributeError, RecursionError, UsageError) as error:
            raise ModelError(f"the model's genner metadata is broken ({error!r}); export it again") from error
