"""WebAnno TSV 3, the export of WebAnno and INCEpTION -> the text of its document, and the spans of one layer.

    #FORMAT=WebAnno TSV 3.3
    #T_SP=de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity|identifier|value

    #Text=Ada King sang.
    1-1<tab>0-3<tab>Ada<tab>_<tab>PER[1]
    1-2<tab>4-8<tab>King<tab>_<tab>PER[1]

Offsets count UTF-16 units of the document; what stood between its sentences comes back as line ends. Spans of several
tokens share a number; parts of a token have rows of their own (1-1.1). The layer of named entities is read where there
is one, else the first. (inception-project.github.io, user guide, appendix WebAnno TSV)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError
from genner_cli.files.annotations import AnnotationOptions, Dropped

BEGINNING = "#FORMAT=WebAnno TSV"
_FIXED = 3  # columns: number, offsets, token
_ITEM = re.compile(r"(?P<value>(?:\\.|[^\[\\])*)(?:\[(?P<number>\d+)\])?")
_ESCAPES = {"t": "\t", "n": "\n", "r": "\r"}


class _Layer(NamedTuple):
    """A layer, and the columns of its features."""

    kind: str
    name: str
    features: list[str]
    first: int


@dataclass(slots=True)
class _File:
    """The layers, the sentences with the rows of each, and where each row stands."""

    layers: list[_Layer] = field(default_factory=list)
    sentences: list[tuple[str, list[list[str]]]] = field(default_factory=list)


def record_of(content: str, path: str, options: AnnotationOptions, dropped: Dropped) -> dict[str, Any]:
    """The record of a document: text, entities and tokens, in code points.

    Raises DataError for another version, and where tokens do not stand in the text.
    """
    if not content.startswith(f"{BEGINNING} 3"):
        raise DataError(f"{path}:1: {content.partition(chr(10))[0]!r} is not WebAnno TSV 3; export it again as that")
    file = _parsed(content, path)
    text, offsets = _text(file, path)
    rows = [row for _, its_rows in file.sentences for row in its_rows]
    layer = _chosen(file.layers, path)
    for other in file.layers:
        if other is not layer and any(cell not in ("_", "") for row in rows for cell in _cells(row, other)):
            dropped(f"layers {other.name!r}", path)
    for at, name in enumerate(layer.features):
        cells = {cell for row in rows for cell in row[layer.first + at : layer.first + at + 1]}
        if at != _label(layer) and any(not cell.startswith(("_", "*")) for cell in cells):
            dropped(f"features {name!r}", path)
    ranges = [_range(row, text, offsets, path) for row in rows]
    entities = list(_entities(rows, ranges, layer, path, dropped))
    tokens = [token for row, token in zip(rows, ranges, strict=True) if "." not in row[0]]
    return {options.text_field: text, "entities": entities, "tokens": tokens}


def _parsed(content: str, path: str) -> _File:
    file = _File()
    column = _FIXED
    for number, line in enumerate(content.split("\n"), 1):
        line = line.removesuffix("\r")
        key, _, value = line.partition("=")
        if key in ("#T_SP", "#T_CH", "#T_RL"):
            name, *features = value.split("|")
            file.layers.append(_Layer(key, name, features, column))
            column += len(features)
        elif key == "#Text":
            if file.sentences and not file.sentences[-1][1]:
                value = f"{file.sentences.pop()[0]}\n{_unescaped(value)}"
                file.sentences.append((value, []))
            else:
                file.sentences.append((_unescaped(value), []))
        elif line and not line.startswith("#"):
            row = line.split("\t")
            if not file.sentences or len(row) < _FIXED or not re.fullmatch(r"\d+-\d+", row[1]):
                raise DataError(f"{path}:{number}: {line!r} is not a row of WebAnno TSV; export the document again")
            file.sentences[-1][1].append(row)
    return file


def _unescaped(value: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), value)


def _text(file: _File, path: str) -> tuple[str, Offsets]:
    """The text of the document: its sentences, with as many line ends between them as the offsets have."""
    text = ""
    length = 0
    for sentence, rows in file.sentences:
        inner = Offsets(sentence, Unit.UTF16)
        start = int(rows[0][1].partition("-")[0]) if rows else length
        before = sentence.find(_unescaped(rows[0][2])) if rows else 0
        gap = start - inner.of(max(0, before)) - length
        if gap < 0:
            raise DataError(f"{path}: the sentence {sentence[:40]!r} cannot begin at {start}; export it again")
        text += "\n" * gap + sentence
        length += gap + inner.of(len(sentence))
    return text, Offsets(text, Unit.UTF16)


def _range(row: Sequence[str], text: str, offsets: Offsets, path: str) -> list[int]:
    """The range of a token, or of a part of one, in code points. Raises DataError where it does not stand there."""
    try:
        start, end = (offsets.place(int(offset)) for offset in row[1].split("-"))
        stands = end <= len(text) and text[start:end] == _unescaped(row[2])
    except DataError:
        stands = False
    if not stands:
        raise DataError(
            f"{path}: the token {row[2]!r} ({row[0]}) does not stand at {row[1]}; export the document again"
        )
    return [start, end]


def _chosen(layers: Sequence[_Layer], path: str) -> _Layer:
    spans = [layer for layer in layers if layer.kind == "#T_SP" and any(layer.features)]
    named = [layer for layer in spans if layer.name.endswith(".NamedEntity")]
    if not spans:
        raise DataError(f"{path}: has no layer of spans with a feature; export a document with named entities")
    return (named or spans)[0]


def _label(layer: _Layer) -> int:
    """The number of the feature that is read as the label."""
    return layer.features.index("value") if "value" in layer.features else 0


def _cells(row: Sequence[str], layer: _Layer) -> Sequence[str]:
    return row[layer.first : layer.first + len(layer.features)]


def _entities(
    rows: Sequence[Sequence[str]], ranges: Sequence[Sequence[int]], layer: _Layer, path: str, dropped: Dropped
) -> Iterator[dict[str, Any]]:
    """A span for each number, or each cell without one, from the first to the last of its rows."""
    feature = _label(layer)
    spans: dict[object, tuple[str, int, int]] = {}
    for at, (row, (start, end)) in enumerate(zip(rows, ranges, strict=True)):
        cell = row[layer.first + feature] if layer.first + feature < len(row) else "_"
        for item in re.findall(r"(?:\\.|[^|\\])+", "" if cell == "_" else cell):
            match = _ITEM.fullmatch(item)
            if match is None:
                raise DataError(f"{path}: {item!r} of the token {row[2]!r} ({row[0]}) is not a label")
            key = match["number"] or (at, item)
            label, first, last = spans.get(key, (match["value"], start, end))
            spans[key] = (label, min(first, start), max(last, end))
    for label, start, end in spans.values():
        if label == "*" or start == end:
            dropped("spans without a label" if label == "*" else "spans of no length", f"{path} at {start}:{end}")
        else:
            yield {"start": start, "end": end, "label": _unescaped(label)}
