"""A YAML file of patterns and lists -> patterns.

    patterns:
      - {label: EMAIL, check: email}
      - {label: CUSTOMER, regex: 'C-\\d{6}'}
      - {label: SHIP, words: [Fram, Gjøa]}
      - {label: STAFF, words_file: staff.txt, ignore_case: true}
    allow: [The Oslo Times]

Knows nothing of what a regular expression or a check is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import yaml

from genner_cli.errors import DataError, ReadError, UsageError
from genner_cli.files.settings import read_yaml
from genner_cli.files.streams import text_lines
from genner_cli.types import Label, Pattern, Patterns

_SHAPE = "write 'patterns:' and below it '- {label: EMAIL, check: email}', one line per pattern"
_KEYS = ("label", "regex", "check", "words", "words_file", "ignore_case", "region")
_FINDING = ("regex", "check", "words", "words_file")


def read_patterns(path: str) -> Patterns:
    """Patterns and allowed mentions. Files of words are found from the folder of this one.

    Raises UsageError with file and line for what is not YAML or not of this shape.
    """
    root = read_yaml(path, lambda file: yaml.compose(file, Loader=yaml.SafeLoader), _SHAPE)
    parts = _mapping(path, root, ("patterns", "allow"))
    patterns = [_pattern(path, node) for node in _sequence(path, parts.get("patterns"))]
    allowed = tuple(_texts(path, parts.get("allow")))
    if not patterns and not allowed:
        raise UsageError(f"{path}: has no patterns; {_SHAPE}")
    return Patterns(tuple(patterns), allowed)


def _pattern(path: str, node: yaml.Node) -> Pattern:
    source = f"{path}:{node.start_mark.line + 1}"
    parts = _mapping(path, node, _KEYS)
    if "label" not in parts or not parts.keys() & set(_FINDING):
        raise UsageError(f"{source}: a pattern has a label and {', '.join(_FINDING[:-1])} or {_FINDING[-1]}; {_SHAPE}")
    words = [*_texts(path, parts.get("words")), *_words_of(path, parts.get("words_file"))]
    if parts.keys() & {"words", "words_file"} and not words:
        raise UsageError(f"{source}: the list has no words; add some, or remove the pattern")
    pattern = Pattern(
        _text(path, parts["label"], "the label") or "",
        expression=_text(path, parts.get("regex"), "the regex"),
        check=_text(path, parts.get("check"), "the check"),
        words=tuple(words),
        ignore_case=_flag(path, parts.get("ignore_case")),
        region=_text(path, parts.get("region"), "the region"),
        source=source,
    )
    try:
        Label(pattern.label)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    return pattern


def _mapping(path: str, node: yaml.Node | None, known: tuple[str, ...]) -> dict[str, yaml.Node]:
    """The nodes of a mapping by their keys."""
    if not isinstance(node, yaml.MappingNode):
        line = f":{node.start_mark.line + 1}" if node else ""
        raise UsageError(f"{path}{line}: is not a mapping; {_SHAPE}")
    parts: dict[str, yaml.Node] = {}
    for key, value in node.value:
        if key.value not in known:
            raise _wrong(path, key, f"unknown key {key.value!r}; known are {', '.join(known)}")
        if key.value in parts:
            raise _wrong(path, key, f"key {key.value!r} comes twice; remove one")
        parts[key.value] = value
    return parts


def _sequence(path: str, node: yaml.Node | None) -> list[yaml.Node]:
    if node is None:
        return []
    if not isinstance(node, yaml.SequenceNode):
        raise _wrong(path, node, f"is not a list; {_SHAPE}")
    return list(node.value)


def _texts(path: str, node: yaml.Node | None) -> Iterator[str]:
    for item in _sequence(path, node):
        text = _text(path, item, "a word")
        if text and text.strip():
            yield text


def _text(path: str, node: yaml.Node | None, what: str) -> str | None:
    """A text as it is written there, so that NO and 1984 are not a truth value and a number."""
    if node is None:
        return None
    if isinstance(node, yaml.ScalarNode) and node.tag != "tag:yaml.org,2002:null":
        return str(node.value)
    shown = "empty" if isinstance(node, yaml.ScalarNode) else "a list or a mapping"
    raise _wrong(path, node, f"{what} is {shown}, not a text; {_SHAPE}")


def _flag(path: str, node: yaml.Node | None) -> bool:
    value: Any = None if node is None else yaml.SafeLoader("").construct_object(node)
    if value not in (None, True, False):
        raise _wrong(path, node, "ignore_case is not true or false")
    return bool(value)


def _words_of(path: str, node: yaml.Node | None) -> Iterator[str]:
    """The lines of a file of words that are not white space."""
    name = _text(path, node, "words_file")
    if name is None:
        return
    try:
        for _, line in text_lines(os.path.join(os.path.dirname(path), name)):
            if line.strip():
                yield line.strip()
    except (DataError, ReadError) as error:
        raise _wrong(path, node, str(error)) from error


def _wrong(path: str, node: yaml.Node | None, message: str) -> UsageError:
    line = f":{node.start_mark.line + 1}" if node else ""
    return UsageError(f"{path}{line}: {message}")
