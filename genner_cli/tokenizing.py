"""Text -> token ids, alike for llama.cpp's tokenizer of a GGUF and for the transformers tokenizer it was made of.

Takes a vocabulary, the texts of its added tokens and an `encode`; knows nothing of where they come from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

from genner_cli.errors import DataError
from genner_cli.locking import Vocabulary
from genner_cli.types import Piece

Encode = Callable[[str], list[int]]
BLANK = "▁"
"""U+2581, as which tokenizers like SentencePiece's store a space."""
LONGEST_RUN = 8192
"""Characters without a word boundary: more would overflow the stack in llama.cpp's std::regex."""
_BYTES_OF_UTF_8 = [bytes((byte,)) for byte in range(256) if byte not in (0xC0, 0xC1) and byte < 0xF5]


class Segmenter:
    """Text to ids. `added`: the texts that the tokenizer reads as one token wherever they stand, with their ids.

    `encode` gives the ids of text without any of those. Added tokens are literal text: whatever a tokenizer says of
    stripping the spaces beside them (lstrip, rstrip) or of words (single_word) is not done.
    """

    def __init__(self, vocabulary: Vocabulary, added: Mapping[str, int], encode: Encode) -> None:
        self._vocabulary = vocabulary
        self._added = added
        self._encode = encode
        self._plain = lru_cache(maxsize=64)(self._plain_ids)  # prompt, lock and draft ask for the same text
        self._spelled: dict[str, list[str]] = {}
        for token in [*added, *((BLANK, "\0") if encode(BLANK) == encode(" ") else ())]:
            self._spelled.setdefault(token[:4], []).append(token)
        self._whole = None not in map(vocabulary.id_of, _BYTES_OF_UTF_8) and self._written(encode(" ")) == b" "

    def plain(self, text: str) -> list[int]:
        """Ids of text read as plain characters, never an added token; their bytes are those of the text.

        Raises DataError where the vocabulary cannot write the text, and where it is too long without white space.
        """
        return list(self._plain(text))

    def _plain_ids(self, text: str) -> Sequence[int]:
        if len(text) > LONGEST_RUN and (longest := max(map(len, _runs(text)))) > LONGEST_RUN:
            raise DataError(f"{longest} characters stand without a word boundary; give shorter chunks")
        ids = plain_ids(text, self._likely(text), self._encode, self._byte_id)
        if not self._whole and self._written(ids) != text.encode():
            raise DataError(f"the model's vocabulary cannot write {text[:40]!r}; it lacks a byte of it")
        return ids

    def pieces(self, text: str) -> list[bytes]:
        """The bytes of the canonical tokens of a plain text."""
        return [piece for id in self.plain(text) if (piece := self._vocabulary.pieces[id]) is not None]

    def prompt(self, pieces: Iterable[Piece]) -> list[int]:
        """Ids of a prompt, each piece on its own, without BOS."""
        return [id for piece in pieces for id in (self._literal if piece.literal else self.plain)(piece.text)]

    def _literal(self, text: str) -> list[int]:
        """Ids of text with its added tokens: of those that begin first, the longest."""
        added = (token for token in self._likely(text) if token in self._added)
        places = sorted((at, -len(token), token) for token in added for at in _occurrences(text, token))
        ids: list[int] = []
        done = 0
        for at, _, token in places:
            if at >= done:
                ids += [*self.plain(text[done:at]), self._added[token]]
                done = at + len(token)
        return ids + self.plain(text[done:])

    def _likely(self, text: str) -> Iterator[str]:
        """What of `_spelled` may stand in the text; there are thousands in all."""
        return (token for start, tokens in self._spelled.items() if start in text for token in tokens)

    def _written(self, ids: Iterable[int]) -> bytes:
        return b"".join(self._vocabulary.pieces[id] or b"" for id in ids)

    def _byte_id(self, byte: bytes) -> int:
        id = self._vocabulary.id_of(byte)
        if id is None:
            raise DataError(f"the model's vocabulary has no token for the byte 0x{byte.hex()} of this text")
        return id


def plain_ids(text: str, spelled: Iterable[str], encode: Encode, byte_id: Callable[[bytes], int]) -> list[int]:
    """Token ids of text in which each of `spelled` is read as plain characters.

    Tokenizers read the text of an added token as that token wherever it stands (llama.cpp: user-defined tokens even
    with parse_special false). Here the first character of each such place is spelled in byte tokens, which no added
    token can match, and the rest is read alone.
    """
    ids: list[int] = []
    done = 0
    for at in sorted({at for token in spelled for at in _occurrences(text, token)}):
        ids += encode(text[done:at]) if at > done else []
        ids += [byte_id(bytes((byte,))) for byte in text[at].encode()]
        done = at + 1
    return ids + (encode(text[done:]) if done < len(text) else [])


def _occurrences(text: str, token: str) -> Iterator[int]:
    at = text.find(token)
    while at >= 0:
        yield at
        at = text.find(token, at + 1)


def _runs(text: str) -> Sequence[str]:
    """What stands between white space, and the runs of white space."""
    return re.findall(r"\S+|\s+", text)
