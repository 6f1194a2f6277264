"""A labels file, or the value of --types -> labels.

Takes YAML, either names with their definitions or a list of names:

    PER: a person, real or fictional        - PER
    ORG:                                    - name: ORG
                                              definition: a company, a party, a team

or a tree, in which a label has others below it beside what is said of itself:

    location:
      definition: a place
      aliases: [place]
      stop: true                          # may be the most precise label that is known
      city: a town
      country:

Gives labels in their order. Knows nothing of what a model was trained on.
"""

from __future__ import annotations

import logging
import os
import reprlib
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat
from typing import Any

import yaml

from genner_cli.errors import UsageError
from genner_cli.files.records import Record
from genner_cli.files.settings import read_yaml
from genner_cli.types import FailedDocument, Label, LabelNode, LabelTree

log = logging.getLogger("genner")
_SHAPE = "write 'NAME: definition', or a list of names or of {name: NAME, definition: ...}"
_OWN_SHAPE = 'write a list of names, ["PER", "ORG"], or an object {"PER": "a person"}'
_TEXT = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_BOOL = "tag:yaml.org,2002:bool"
_OF_A_NODE = ("definition", "aliases", "stop")
"""Keys below a label of a tree that are not labels."""


def parse_types(types: str) -> list[Label]:
    """The labels of "PER,ORG", each once. Raises `UsageError` for none and for a name that cannot be one."""
    names = dict.fromkeys(name.strip() for name in types.split(","))
    labels = [Label(name) for name in names if name]
    if not labels:
        raise UsageError(f"--types {types!r} names no label; write for example --types PER,ORG")
    return labels


def is_file_of_labels(types: str) -> bool:
    """Whether what should be names of labels is the name of a file that is there, with a suffix."""
    return bool(os.path.splitext(types)[1]) and os.path.isfile(types)


def with_own_labels(record: Record, field: str | None) -> Record:
    """The document with the labels that one of its fields asks for; a failure where they cannot be read.

    They are a list of names, a text like that of --types, or an object of names and definitions. Without the field, or
    with null, a document has no labels of its own.
    """
    value = record.fields.get(field) if field else None
    if value is None or isinstance(record, FailedDocument):
        return record
    try:
        return replace(record, labels=tuple(_own_labels(value)))
    except UsageError as error:
        message = f"{record.source}: field {field!r}: {error}"
        return FailedDocument(message, record.source, record.id, record.fields)


class OwnLabelsSeen:
    """Whether any document of a run has labels of its own: a field that none has is probably misspelt."""

    def __init__(self, field: str | None) -> None:
        self._field = field
        self._documents = 0
        self._labels = False

    def note(self, document: Record) -> None:
        """Of one after the other. A document that failed may have failed for its labels."""
        self._documents += 1
        self._labels = self._labels or isinstance(document, FailedDocument) or document.labels is not None

    def warn(self) -> None:
        """After the last document."""
        if self._field and self._documents and not self._labels:
            log.warning(
                "--labels-field: no document read has the field %r; all are asked for the same labels; check its name",
                self._field,
            )


def _own_labels(value: Any) -> list[Label]:
    names = parse_types(value) if isinstance(value, str) else value
    pairs = names.items() if isinstance(names, dict) else zip(names if isinstance(names, list) else (), repeat(""))
    labels = [each if isinstance(each, Label) else _own_label(each, definition) for each, definition in pairs]
    if not labels or len({label.name for label in labels}) < len(labels):
        raise UsageError(f"{reprlib.repr(value)} names no label, or one twice; {_OWN_SHAPE}")
    return labels


def _own_label(name: Any, definition: Any) -> Label:
    if not isinstance(name, str) or not isinstance(definition, str | None):
        raise UsageError(f"{reprlib.repr(name)} is not a name with a definition; {_OWN_SHAPE}")
    return Label(name, " ".join((definition or "").split()))


def read_label_tree(path: str) -> LabelTree:
    """The labels of a YAML file with those below them. Spaces and line ends in a definition become single spaces.

    Raises `UsageError` with file and line for what is not YAML or not of this shape, for a name that cannot
    be one or comes twice below the same label, and for no labels. Only plain YAML is read: no tag makes an object.
    """
    nodes = _nodes(path, _parsed(path))
    if not nodes:
        raise UsageError(f"{path}: has no labels; {_SHAPE}")
    try:
        return LabelTree(nodes)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _nodes(path: str, root: yaml.Node | None) -> tuple[LabelNode, ...]:
    nodes: dict[str, LabelNode] = {}
    for name_node, value in _pairs(path, root):
        node = _tree_node(path, name_node, value)
        if node.label.name in nodes:
            raise _error(path, name_node, f"label {node.label.name!r} comes twice; remove one")
        nodes[node.label.name] = node
    return tuple(nodes.values())


def _tree_node(path: str, name_node: yaml.Node, value: yaml.Node | None) -> LabelNode:
    if not isinstance(value, yaml.MappingNode):
        return LabelNode(_label(path, name_node, value))
    own = {key.value: each for key, each in value.value if key.value in _OF_A_NODE}
    below = yaml.MappingNode(value.tag, [pair for pair in value.value if pair[0].value not in _OF_A_NODE])
    stop = own.get("stop")
    if stop is not None and (stop.tag != _BOOL or not isinstance(stop, yaml.ScalarNode)):
        raise _error(path, stop, "stop is neither true nor false; write 'stop: true'")
    return LabelNode(
        _label(path, name_node, own.get("definition")),
        _nodes(path, below),
        _aliases(path, own.get("aliases")),
        stop=stop is not None and str(stop.value).lower() in ("true", "yes", "on"),
    )


def _aliases(path: str, node: yaml.Node | None) -> tuple[str, ...]:
    if node is None:
        return ()
    if not isinstance(node, yaml.SequenceNode):
        raise _error(path, node, "aliases are not a list; write 'aliases: [place, LOC]'")
    return tuple(_text(path, each, "an alias") for each in node.value)


def read_label_map(path: str) -> dict[str, str | None]:
    """A YAML mapping of old labels to new ones; null or nothing stands for None.

    Raises `UsageError` with file and line for anything else, for a name that cannot be a label or comes twice, and
    for an empty mapping.
    """
    root = _parsed(path)
    names: dict[str, str | None] = {}
    for old, new in root.value if isinstance(root, yaml.MappingNode) else ():
        name = _text(path, old, "an old label")
        if name in names:
            raise _error(path, old, f"label {name!r} comes twice; remove one")
        names[name] = None if new.tag == _NULL else _label(path, new, None).name
    if not names:
        raise UsageError(f"{path}: maps no labels; write 'OLD: NEW', or 'OLD:' to drop it, a line for each label")
    return names


def _parsed(path: str) -> yaml.Node | None:
    """The tree of nodes rather than values, for it has the lines and still has both of two equal keys."""
    return read_yaml(path, lambda file: yaml.compose(file, Loader=yaml.SafeLoader), _SHAPE)


def _pairs(path: str, root: yaml.Node | None) -> Iterator[tuple[yaml.Node, yaml.Node | None]]:
    """The nodes of each label's name and definition."""
    if isinstance(root, yaml.MappingNode):
        yield from root.value
    elif isinstance(root, yaml.SequenceNode):
        for item in root.value:
            yield _object(path, item) if isinstance(item, yaml.MappingNode) else (item, None)
    elif root is not None and root.tag != _NULL:
        raise _error(path, root, f"neither a mapping nor a list; {_SHAPE}")


def _object(path: str, node: yaml.MappingNode) -> tuple[yaml.Node, yaml.Node | None]:
    nodes: dict[str, yaml.Node] = {}
    for key, value in node.value:
        name = _text(path, key, "a key")
        if name not in ("name", "definition"):
            raise _error(path, key, f"unknown key {name!r}; {_SHAPE}")
        if name in nodes:
            raise _error(path, key, f"key {name!r} comes twice; remove one")
        nodes[name] = value
    if "name" not in nodes:
        raise _error(path, node, f"a label without a name; {_SHAPE}")
    return nodes["name"], nodes.get("definition")


def _label(path: str, name_node: yaml.Node, definition_node: yaml.Node | None) -> Label:
    name = _text(path, name_node, "a label's name")
    definition = ""
    if definition_node is not None and definition_node.tag != _NULL:
        definition = _text(path, definition_node, f"the definition of {name!r}")
    try:
        return Label(name, " ".join(definition.split()))
    except UsageError as error:
        raise _error(path, name_node, str(error)) from error


def _text(path: str, node: yaml.Node, what: str) -> str:
    if isinstance(node, yaml.ScalarNode) and node.tag == _TEXT:
        return str(node.value)
    if isinstance(node, yaml.ScalarNode):
        raise _error(
            path, node, f"{what} is {node.value or 'empty'}, which YAML does not read as text; put it in quotes"
        )
    raise _error(path, node, f"{what} is a list or a mapping, not text; {_SHAPE}")


def _error(path: str, node: yaml.Node, message: str) -> UsageError:
    return UsageError(f"{path}:{node.start_mark.line + 1}: {message}")
