"""CSV or TSV of documents: a header, then one row per document. A column is the text, the others are carried through.

A .csv may be separated by commas, semicolons or tabs: by what its header has most of. A line between tabs in which
quotes are not those of CSV (`1<tab>"Ann" she said`) is taken as it is. All cells are strings.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import IO

from genner_cli.errors import DataError
from genner_cli.files import kind
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.documents import DocumentFormat
from genner_cli.files.records import Record, has_half_character, text_parts
from genner_cli.files.streams import length_of, not_utf8, opened, readable, refuse_cut, rest_of_line, shown_name
from genner_cli.types import FailedDocument

_TOKENS = frozenset(("token", "tokens", "word", "words"))


class DocumentTable(DocumentFormat):
    suffixes = (".csv", ".tsv")

    def read(self, path: str, options: AnnotationOptions, limit: int) -> Iterator[tuple[Record, int]]:
        """One record for each row. A row that is wrong is a failure, and the next one follows."""
        name = shown_name(path)
        lines = None
        try:
            with readable(name), opened(path) as (raw, stream):
                length_before = length_of(raw)
                lines = _Lines(stream, name, limit)
                for record in _records(lines, name, _separator(path, lines.first()), options):
                    yield record, raw.tell() if raw.seekable() else 0
                refuse_cut(raw, length_before)
        except DataError as error:
            yield FailedDocument(str(error), f"{name}:{lines.number if lines else 1}"), 0


class _Lines:
    """The lines of a stream with their ends; an iterator that can be drawn from again after it raised csv.Error.

    Bytes that are not UTF-8 become half characters; `not_utf8`: where the last of them are, and the remedy.
    """

    def __init__(self, stream: IO[bytes], name: str, limit: int) -> None:
        csv.field_size_limit(max(csv.field_size_limit(), limit))  # for all of Python; it can only be raised
        self._stream = stream
        self._name = name
        self._limit = limit
        self._first: str | None = None
        self._too_long = False
        self.last = self.not_utf8 = ""
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line, self._first = self._first, None
        line = self._next() if line is None else line
        if not line:
            raise StopIteration
        self.number += 1
        self.last = line.removesuffix("\n").removesuffix("\r")
        if self._too_long:
            raise csv.Error(f"the line has more than {self._limit:,} bytes")
        return line

    def first(self) -> str:
        """The first line, which comes again."""
        self._first = self._next().removeprefix("\ufeff")
        return self._first

    def _next(self) -> str:
        line = self._stream.readline(self._limit + 2)
        self._too_long = len(line.rstrip(b"\r\n")) > self._limit
        if self._too_long and not line.endswith(b"\n"):
            rest_of_line(self._stream)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            self.not_utf8 = f"{self._name}:{self.number + 1}: {not_utf8(error)}"
            return line.decode("utf-8", "surrogateescape")


def _separator(path: str, header: str) -> str:
    if kind(path) == ".tsv":
        return "\t"
    return max(",;\t", key=header.count)


def _records(lines: _Lines, name: str, separator: str, options: AnnotationOptions) -> Iterator[Record]:
    reader = csv.reader(lines, delimiter=separator, strict=True)
    header: list[str] | None = None
    while True:
        before = lines.number
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            row = lines.last.split(separator)
            if separator != "\t" or not header or len(row) != len(header) or lines.number > before + 1:
                yield _broken(name, before + 1, lines.number, error)
                continue
        source = f"{name}:{before + 1}"
        if header is None:
            header = _header(row, source, options, lines.not_utf8)
        elif row:
            yield _record(header, row, source, options, lines.not_utf8)


def _broken(name: str, first: int, last: int, error: csv.Error) -> FailedDocument:
    source = f"{name}:{first}"
    lines = "the line is" if first == last else f"lines {first:,} to {last:,} are"
    return FailedDocument(f"{source}: not CSV ({error}); {lines} left out, correct the quotes there", source)


def _header(row: Sequence[str], source: str, options: AnnotationOptions, not_utf8: str) -> list[str]:
    """The names of the columns. Raises DataError where they are not those of a table of documents."""
    names = [name.strip() for name in row]
    if has_half_character(names):
        raise DataError(not_utf8)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{source}: several columns are called {twice[0]!r}; rename them")
    text_field = options.text_field
    missing = [part for part in text_parts(text_field) if part not in names]
    if text_field not in names and missing:
        remedy = "choose the one with the text with --text-field"
        if _TOKENS & {name.lower() for name in names}:
            remedy += "; a table with one row per token is read by genner data convert"
        raise DataError(f"{source}: no column {missing[0]!r}; the columns are {', '.join(map(repr, names))}; {remedy}")
    return names


def _record(
    header: Sequence[str], row: Sequence[str], source: str, options: AnnotationOptions, not_utf8: str
) -> Record:
    fields = dict(zip(header, row, strict=False))
    if len(row) != len(header):
        lengths = f"the row has {len(row):,} cells, and the header {len(header):,}"
        message = f"{source}: {lengths}; correct the row or its quotes"
    elif has_half_character(row):
        message = not_utf8
        fields = {name: cell for name, cell in fields.items() if not has_half_character(cell)}
    else:
        return options.document(fields, source)
    document_id = fields.get(options.id_field)
    fields = {name: cell for name, cell in fields.items() if name not in (options.text_field, *options.without)}
    return FailedDocument(message, source, document_id, fields)


FORMAT = DocumentTable()
