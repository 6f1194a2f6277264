"""Labels that nobody lists: one to four words of the letters a to z, with hyphens inside. Knows nothing of formats."""

from __future__ import annotations

import re
import string
from collections.abc import Hashable
from typing import NamedTuple

MOST_WORDS = 4
MOST_LETTERS = 20
"""Of a word; more than in any English word that names a kind of things."""
GBNF_WORD = f'[a-z] ("-"? [a-z]){{0,{MOST_LETTERS - 1}}}'
GBNF_LABEL = f'word (" " word){{0,{MOST_WORDS - 1}}}'
_WORD = f"[a-z](?:-?[a-z]){{0,{MOST_LETTERS - 1}}}"
_LABEL = re.compile(f"{_WORD}(?: {_WORD}){{0,{MOST_WORDS - 1}}}")


def is_free_label(label: str) -> bool:
    """Whether a label can be written where there is no list of them."""
    return _LABEL.fullmatch(label) is not None


class Progress(NamedTuple):
    """Where in a free label: which word, letters of it that are written, and whether a letter must come."""

    word: int = 1
    letters: int = 0
    needs_letter: bool = True


_LETTERS = string.ascii_lowercase.encode()
_ALIKE = bytes(b"a"[0] if byte in _LETTERS else byte if byte in b" -" else 0 for byte in range(256))
BYTES = [bytes((byte,)) for byte in range(256) if _ALIKE[byte]]


class FreeLabel(NamedTuple):
    """The region of labels without a list."""

    alike: bytes = _ALIKE
    end: bytes = b'"'

    def after(self, at: Hashable, data: bytes) -> Progress | None:
        assert isinstance(at, Progress)
        for byte in data:
            if byte not in _LETTERS and at.needs_letter:
                return None
            if byte in _LETTERS:
                at = Progress(at.word, at.letters + 1, needs_letter=False)
            else:
                at = at._replace(needs_letter=True) if byte in b"-" else Progress(at.word + 1)
            if at.word > MOST_WORDS or at.letters + at.needs_letter > MOST_LETTERS:
                return None
        return at


FREE_LABEL = FreeLabel()
