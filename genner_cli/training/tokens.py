"""A Hugging Face tokenizer as the vocabulary that the lock speaks to.

Must give the same ids as `engine.model` gives for the exported GGUF (invariant 3).
Byte-level BPE only.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import bytes_to_unicode

from genner_cli.errors import ModelError
from genner_cli.locking import Vocabulary, plain_ids
from genner_cli.types import Piece


class Tokens:
    """Text to ids and ids to bytes, as extraction does it."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast) -> None:
        self.tokenizer = tokenizer
        self._added = {token.content: (id, token.special) for id, token in tokenizer.added_tokens_decoder.items()}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token; special ones may never be written."""
        byte_of = {char: byte for byte, char in bytes_to_unicode().items()}
        pieces: list[bytes | None] = [None] * len(self.tokenizer)
        for token, id in self.tokenizer.get_vocab().items():
            if token not in self._added:
                try:
                    pieces[id] = bytes(byte_of[char] for char in token)
                except KeyError:
                    raise ModelError(f"token {token!r} is not byte-level; only byte-level BPE can be trained") from None
        user_defined = {text.encode(): id for text, (id, special) in self._added.items() if not special}
        return Vocabulary(pieces, user_defined)

    def plain(self, text: str) -> list[int]:
        """Ids of text read as plain characters: never an added token."""
        return plain_ids(text, self._added, self._encode, self.vocabulary.id_of)

    def pieces(self, text: str) -> list[bytes]:
        """The bytes of the canonical tokens of a plain text."""
        return [piece for id in self.plain(text) if (piece := self.vocabulary.pieces[id]) is not None]

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a prompt, each piece on its own."""
        return [
            id for piece in pieces for id in (self._encode(piece.text) if piece.literal else self.plain(piece.text))
        ]

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer.encode(text, add_special_tokens=False))
