"""JSON as completions have it: the text of strings, and a reader of strings, integers, lists and objects.

Canonical: `json.dumps(..., ensure_ascii=False)` with its default spaces. Knows nothing of entities.
"""

from __future__ import annotations

import json
import re

from genner_cli.errors import DataError

CHARACTER = r'[^"\\\x00-\x1f] | "\\" (["\\bfnrt] | "u" [0-9a-f] [0-9a-f] [0-9a-f] [0-9a-f])'
"""GBNF of one character of a JSON string."""
_encode = json.JSONEncoder(ensure_ascii=False).encode


def quoted(text: str) -> bytes:
    """The text inside a JSON string."""
    return _encode(text)[1:-1].encode()


STRING = r'"(?:[^"\\\x00-\x1f]|\\.)*"'
"""Of a JSON string, as a regular expression."""
_TOKEN = re.compile(rf"[ \t\n\r]*({STRING}|-?[0-9]+|[{{}}\[\],:])")


def unquoted(string: str) -> str:
    """The text of a JSON string; what stands between its quotes, where it is broken."""
    try:
        return str(json.loads(string))
    except ValueError:
        return string[1:-1]


class Scanner:
    """Reads JSON of strings, integers, lists and objects, with the place of each part."""

    def __init__(self, completion: str) -> None:
        self.completion = completion
        self.at = 0

    def take(self, *expected: str) -> str:
        """The next token, which must be one of these if any are given; raises DataError."""
        match = _TOKEN.match(self.completion, self.at)
        if match is None or (expected and match[1] not in expected):
            wanted = " or ".join(expected) or "a string or number"
            raise DataError(f"the completion is not the expected JSON at character {self.at}: {wanted} is missing")
        self.began, self.at = match.start(1), match.end()
        return match[1]

    def string(self) -> str:
        """The next token, a string."""
        token = self.take()
        try:
            value = json.loads(token)
        except ValueError:
            value = None
        if not isinstance(value, str):
            raise DataError(f"the completion has {token!r} where a string belongs, at character {self.began}")
        return value

    def number(self) -> int:
        """The next token, a number."""
        token = self.take()
        if not re.fullmatch(r"-?[0-9]{1,18}", token):
            raise DataError(f"the completion has {token!r} where a number belongs, at character {self.began}")
        return int(token)

    def end(self) -> None:
        """Raises DataError if anything but white space follows."""
        if self.completion[self.at :].strip():
            raise DataError(f"the completion continues after its JSON, at character {self.at}")
