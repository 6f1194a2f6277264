"""Labelled documents -> what a model and its GGUFs are tried on: texts to extract from, and token ids to compute.

Knows nothing of what is compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genner_cli.errors import UsageError
from genner_cli.prompting import Instructions
from genner_cli.tasks import Task
from genner_cli.training.samples import encode_samples, make_samples
from genner_cli.training.tokens import Tokens, load_tokenizer
from genner_cli.training.virtual_tokens import placed
from genner_cli.types import Document

MOST_TOKENS, MOST_LOGITS = 4096, 2**28
"""Tokens whose logits are computed, and numbers (1 GiB) that are kept, at most."""
_TEXTS = (
    "In 1984, Zoë O’Neill-Ōtani didn't pay $1,234.56 (or 99%) for 3rd-hand iPhone15s at AT&T's.\n\n\tIt's 7:05pm!!",
    "北京市は東京都、서울 한국어 Москва́ Ελλάδα ירושלים القاهرة नमस्ते ภาษาไทย ქართული հայերեն தமிழ் বাংলা ትግርኛ ភាសា မြန်မာ",
    "  two  blanks\r\n\u00a0nbsp\u2003em\u3000wide 😀👩\u200d👧🇩🇪 ﬁ½²Ⅷ ǅ I'LL WE'VE they're x'd _a_ camelCase a/b\\c",
)
OWN_TEXTS = tuple(Document(text, source=f"genner's own text {number}") for number, text in enumerate(_TEXTS, 1))
"""Texts that tokenizers cut differently if anything about them differs: digits, contractions, scripts, spaces."""


@dataclass(frozen=True, slots=True)
class Example:
    """Token ids of a prompt and its gold completion; `source` names file and line."""

    source: str
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Probe:
    """`documents` to extract from as `task` says; `examples` to compute logits of."""

    task: Task
    tokens: Tokens
    documents: tuple[Document, ...]
    examples: tuple[Example, ...]


def make_probe(folder: Path, documents: Sequence[Document], instructions: Instructions, *, virtual: int = 0) -> Probe:
    """The documents as the model of a folder was trained on them: all its labels that they have, and its default ones.

    `virtual`: how many virtual tokens stand in each example. Without documents there is nothing to extract from, and
    logits are computed of OWN_TEXTS. Raises UsageError where none of them can be used.
    """
    tokens = Tokens(load_tokenizer(folder))
    gold = {entity.label for document in documents for entity in document.entities}
    chosen = {*instructions.default_labels, *gold}
    task = Task.of(instructions, [label for label in instructions.labels if label.name in chosen])
    samples = make_samples(documents or OWN_TEXTS, labels=task.labels, chunk_bytes=task.chunk_bytes).samples
    encoded = encode_samples(samples, tokens, instructions, longest=MOST_TOKENS)
    found = [
        Example(sample.source, placed(example, virtual).ids)
        for sample, example in zip(encoded.samples, encoded.examples, strict=True)
    ]
    if not found:
        raise UsageError("no document to verify with can be rendered for this model; name others with --verify")
    return Probe(task, tokens, tuple(documents), tuple(_affordable(found, len(tokens.tokenizer))))


def _affordable(examples: Sequence[Example], vocabulary: int) -> list[Example]:
    """The first ones, as many tokens as time and memory allow."""
    room = max(1, min(MOST_TOKENS, MOST_LOGITS // vocabulary))
    chosen = []
    for example in examples:
        if room > 0:
            chosen.append(Example(example.source, example.ids[:room]))
            room -= len(example.ids)
    return chosen
