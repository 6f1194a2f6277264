"""CSV of tokens: a header, then one row per token with its document and tag. (.tsv: the same between tabs.)

    document,token,tag,start,end
    7,Ann,B-PER,0,3

Columns are known by name: `document` (also sentence, sentence #, sentence_id, id), `token` (word, words), `tag` (tags,
ner, ner_tag, label), or are named by --token-column and --tag-column. An empty document cell means the one above.
With `start` and `end` the offsets are exact and what stood between the tokens comes back as spaces; without them
`detokenize` makes the text.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from genner_cli.data.tokens import detokenize
from genner_cli.errors import DataError
from genner_cli.files import kind
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place
from genner_cli.files.records import Record
from genner_cli.files.streams import content, decoded
from genner_cli.files.tagging import entities_of, tagged
from genner_cli.files.writing import Writer
from genner_cli.types import Document, FailedDocument, Range

_NAMES = {
    "document": ("document", "sentence", "sentence #", "sentence_id", "id"),
    "token": ("token", "word", "words"),
    "tag": ("tag", "tags", "ner", "ner_tag", "label"),
    "start": ("start",),
    "end": ("end",),
}
_HEADER = ("document", "token", "tag", "start", "end")


class _Row(NamedTuple):
    line: int
    document: str
    token: str
    tag: str
    start: str
    end: str


class TokenCsv(AnnotationFormat):
    suffixes = (".csv", ".tsv")
    converts_offsets = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each run of rows with the same document; its offsets are in code points."""
        for name, group in groupby(_rows(path, options, dropped), lambda row: row.document):
            rows = list(group)
            source = f"{path}:{rows[0].line}"
            try:
                text, ranges = _text(rows, options, source)
                entities = entities_of(ranges, [row.tag for row in rows], source)
            except DataError as error:
                yield FailedDocument(str(error), source)
                continue
            record: dict[str, Any] = {options.text_field: text} | ({options.id_field: name} if name else {})
            record |= {"entities": entities, "tokens": [list(token) for token in ranges]}
            yield options.document(record, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One row for each token. A document without an id, or with one that came before, gets a number as its id."""
        used: set[str] = set()
        with Writer(path, suffixes=("",)) as writer:
            writer.write(_csv([_HEADER], path))
            for number, document in enumerate(documents):
                name = document.id
                if not name or name in used:
                    name = f"#{number}"
                    dropped("ids that are missing or not the only ones", place(document))
                used.add(name)
                writer.write(_csv(_cells(document, name, options, dropped), path))


def _rows(path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[_Row]:
    text = decoded(content(path), path).removeprefix("\ufeff")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path), strict=True)
    document = ""
    try:
        columns = _columns(path, next(reader, []), options, dropped)
        for row in reader:
            cells = {key: row[column] for key, column in columns.items() if column < len(row)}
            document = cells.get("document") or document
            if cells.get("token"):
                start, end = cells.get("start", ""), cells.get("end", "")
                yield _Row(reader.line_num, document, cells["token"], cells.get("tag") or "O", start, end)
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({error}); correct the line") from error


def _delimiter(path: str) -> str:
    return "\t" if kind(path) == ".tsv" else ","


def _columns(path: str, header: Sequence[str], options: AnnotationOptions, dropped: Dropped) -> dict[str, int]:
    """The number of each column that is there."""
    asked = {"token": options.token_column, "tag": options.tag_column}
    names = [name.strip() for name in header]
    numbers = {}
    for key, known in _NAMES.items():
        wanted = (asked[key],) if asked.get(key) else known
        number = next((at for at, name in enumerate(names) if name in wanted or name.lower() in wanted), None)
        if number is not None:
            numbers[key] = number
        elif key in asked:
            given = ", ".join(map(repr, names)) or "none"
            raise DataError(f"{path}:1: no column of {key}s, the columns are {given}; choose one with --{key}-column")
    for at, name in enumerate(names):
        if at not in numbers.values():
            dropped(f"columns {name!r}", f"{path}:1")
    return numbers


def _text(rows: Sequence[_Row], options: AnnotationOptions, source: str) -> tuple[str, list[Range]]:
    if not all(row.start and row.end for row in rows):
        return detokenize([row.token for row in rows])
    text = ""
    length = 0
    ranges = []
    for row in rows:
        width = FORMAT.offsets(row.token, options).of(len(row.token))
        if not (row.start.isdecimal() and row.end.isdecimal() and length <= int(row.start) == int(row.end) - width):
            where = f"{source.rpartition(':')[0]}:{row.line}"
            raise DataError(f"{where}: {row.token!r} cannot stand at {row.start}:{row.end}; correct start and end")
        text += " " * (int(row.start) - length)
        ranges.append(Range(len(text), len(text) + len(row.token)))
        text += row.token
        length = int(row.end)
    return text, ranges


def _cells(document: Document, name: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Sequence[object]]:
    text = document.text
    tokens = tagged(document, options.scheme, dropped)
    dropped.drop_fields(document, {"tokens", options.id_field})
    if not tokens.ranges:
        dropped("documents without a token", place(document))
    elif _with_spaces(text, tokens.ranges) != text:
        dropped("texts with other white space than spaces", place(document))
    offsets = FORMAT.offsets(text, options)
    for (start, end), tag in zip(tokens.ranges, tokens.tags, strict=True):
        yield name, text[start:end], tag, offsets.of(start), offsets.of(end)


def _with_spaces(text: str, ranges: Sequence[Range]) -> str:
    """What will be read back."""
    parts = []
    at = 0
    for start, end in ranges:
        parts += [" " * (start - at), text[start:end]]
        at = end
    return "".join(parts)


def _csv(rows: Iterable[Sequence[object]], path: str) -> bytes:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=_delimiter(path), lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


FORMAT = TokenCsv()
