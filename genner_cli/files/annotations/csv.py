"""CSV of tokens: a header, then one row per token with its document and tag. (.tsv: the same between tabs.)

    document,token,tag,start,end
    7,Ann,B-PER,0,3

Columns are known by name (`_NAMES`), or are named by --token-column and --tag-column. An empty document cell means the
one above; without a column of documents an empty row separates them. With `start` and `end` the offsets are exact and
what stood between the tokens comes back as spaces; without them a column `misc` may say where no space follows, else
`detokenize` makes the text. Comments are those of `files.comments`.

Double quotes quote cells, unless the file makes a table of rows of equal length only where they are tokens.
"""

from __future__ import annotations

import csv
import io
import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from genner_cli.data.characters import stripped
from genner_cli.data.tags import OUTSIDE, is_tag
from genner_cli.data.tokens import detokenize
from genner_cli.errors import DataError
from genner_cli.files import kind
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place
from genner_cli.files.comments import Comment, comment_of
from genner_cli.files.records import Record
from genner_cli.files.streams import content, decoded
from genner_cli.files.tagging import entities_of, is_glued, spaced, tagged
from genner_cli.files.writing import Writer
from genner_cli.plurals import counted
from genner_cli.types import Document, FailedDocument, Range

_NAMES: Mapping[str, tuple[str, ...]] = {
    "document": ("document", "document_id", "doc_id", "sentence", "sentence #", "sentence_id", "sentence_idx",
                 "sent_id", "id"),
    "token": ("token", "word", "words", "form"),
    "tag": ("tag", "tags", "ner", "ner_tag", "ner_tags", "label", "ne-coarse-lit"),
    "start": ("start",),
    "end": ("end",),
    "misc": ("misc",),
}  # fmt: skip
_HEADER = ("document", "token", "tag", "start", "end")
_WEBANNO = "#FORMAT=WebAnno TSV"

_Line = tuple[int, list[str]]
"""The number of a line, the last one of a row, and its cells."""


class _Row(NamedTuple):
    line: int
    token: str
    tag: str
    start: str
    end: str
    glued: bool


@dataclass(slots=True)
class _Group:
    """The rows of a document, its fields (its id too), and the first thing that is wrong with it."""

    line: int
    fields: dict[str, str]
    rows: list[_Row] = field(default_factory=list)
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Table:
    """A file as it is read: the number of each column that is known, and of all columns."""

    path: str
    columns: dict[str, int]
    width: int

    def cell(self, cells: Sequence[str], key: str) -> str:
        """The cell of a column, "" where there is none."""
        column = self.columns.get(key, len(cells))
        return cells[column] if column < len(cells) else ""

    def comment(self, cells: Sequence[str]) -> Comment | None:
        """What a row says if it is not a token."""
        if not cells or not cells[0].startswith(("#", "-DOCSTART-")):
            return None
        line = _delimiter(self.path).join(cells).rstrip(_delimiter(self.path))
        return comment_of(line, token=is_tag(self.cell(cells, "tag")), inside=len(cells) == self.width)

    def row(self, line: int, cells: Sequence[str]) -> _Row:
        """The row of a token. Raises DataError where cells are missing, or too many."""
        where = f"{self.path}:{line}"
        if len(cells) <= self.columns["tag"] or any(map(str.strip, cells[self.width :])):
            raise DataError(
                f"{where}: the row has {counted(len(cells), 'cell')}, the header {self.width}; correct the row, and"
                " quote cells that hold a separator"
            )
        token = self.cell(cells, "token")
        if "\n" in token:
            raise DataError(f"{where}: the token {reprlib.repr(token)} holds a line end; close its double quote")
        start, end = self.cell(cells, "start"), self.cell(cells, "end")
        glued = is_glued([self.cell(cells, "misc")])
        return _Row(line, stripped(token), self.cell(cells, "tag") or OUTSIDE, start, end, glued)


class TokenCsv(AnnotationFormat):
    suffixes = (".csv", ".tsv")
    converts_offsets = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each run of rows with the same document; its offsets are in code points."""
        for group in _groups(path, options, dropped):
            source = f"{path}:{group.line}"
            try:
                if group.problem:
                    raise DataError(group.problem)
                text, ranges = _text(path, group.rows, options)
                places = [f"{path}:{row.line}" for row in group.rows]
                entities = entities_of(ranges, [row.tag for row in group.rows], places)
            except DataError as error:
                yield FailedDocument(str(error), source)
                continue
            record: dict[str, Any] = {options.text_field: text} | group.fields
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


def _groups(path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[_Group]:
    lines = iter(_lines(path))
    table = _table(path, lines, options, dropped)
    group: _Group | None = None
    name, marked, said = "", dict[str, str](), dict[str, str]()
    for line, cells in lines:
        comment, blank = table.comment(cells), not any(map(str.strip, cells))
        before, name = name, name if comment or blank else table.cell(cells, "document") or name
        over = comment.ends if comment else name != before or (blank and "document" not in table.columns)
        if group and over:
            yield group
            group = None
        if comment:
            marked = {"document": comment.document or ""} if comment.begins else marked
            said |= comment.fields | ({options.id_field: comment.id} if comment.id else {})
            if comment.text or not comment.known:
                dropped("comments", f"{path}:{line}")
        elif not blank:
            if group is None:
                fields = {**marked, **said, options.id_field: name or said.get(options.id_field, "")}
                group, said = _Group(line, {key: value for key, value in fields.items() if value}), {}
            _add(group, table, line, cells, dropped)
    if group:
        yield group


def _add(group: _Group, table: _Table, line: int, cells: Sequence[str], dropped: Dropped) -> None:
    """Adds a row to a group, or what is wrong with it; a token of white space is left out."""
    try:
        row = table.row(line, cells)
    except DataError as error:
        group.problem = group.problem or str(error)
        return
    if row.token:
        group.rows.append(row)
    else:
        dropped("tokens of white space alone", f"{table.path}:{line}")


def _lines(path: str) -> list[_Line]:
    """The rows of a file, with quotes read as they are meant. Raises DataError."""
    text = decoded(content(path), path).removeprefix("\ufeff")
    if text.startswith(_WEBANNO):
        raise DataError(f"{path}: is WebAnno TSV, not a table of tokens with a header; export it as CoNLL 2002")
    plain = _parsed(text, path, quoting=csv.QUOTE_NONE)
    if '"' not in text:
        return plain
    try:
        quoted = _parsed(text, path, quoting=csv.QUOTE_MINIMAL)
    except DataError:
        if _is_rectangular(plain):
            return plain
        raise
    sound = _is_rectangular(quoted) and not any("\n" in cell for _, cells in quoted for cell in cells)
    return quoted if sound or not _is_rectangular(plain) else plain


def _parsed(text: str, path: str, *, quoting: Literal[0, 3]) -> list[_Line]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(path), strict=True, quoting=quoting)
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        raise DataError(f"{path}:{reader.line_num}: not CSV ({error}); correct the line") from error


def _is_rectangular(lines: Sequence[_Line]) -> bool:
    """Whether all rows, but for comments and empty ones, have as many cells as the first; empty ones may follow."""
    rows = [cells for _, cells in lines if any(cells) and not cells[0].startswith("#")]
    width = len(rows[0]) if rows else 0
    return all(len(cells) >= width and not any(cells[width:]) for cells in rows)


def _delimiter(path: str) -> str:
    return "\t" if kind(path) == ".tsv" else ","


def _table(path: str, lines: Iterator[_Line], options: AnnotationOptions, dropped: Dropped) -> _Table:
    """The table whose header is the first line that is not a comment. Raises DataError where it has none."""
    wanted = dict(_NAMES)
    for key, asked in (("token", options.token_column), ("tag", options.tag_column)):
        wanted |= {key: (asked,)} if asked else {}
    for line, cells in lines:
        names = [name.strip() for name in cells]
        if any(names) and not (names[0].startswith("#") and _column(names, wanted["token"]) is None):
            return _Table(path, _columns(f"{path}:{line}", names, wanted, dropped), len(names))
    raise DataError(f"{path}: has no header; begin it with a line that names the columns, as {','.join(_HEADER[:3])}")


def _columns(where: str, names: Sequence[str], wanted: Mapping[str, Sequence[str]], dropped: Dropped) -> dict[str, int]:
    """The number of each column that is there."""
    numbers = {key: number for key, known in wanted.items() if (number := _column(names, known)) is not None}
    for key in ("token", "tag"):
        if key not in numbers:
            given = ", ".join(map(repr, names))
            what = f"no column of {key}s, the columns are {given}; choose one with --{key}-column"
            if len(names) > 1 and is_tag(names[-1]):
                what = f"{given} is a token with a tag, not a header; add a header, or read the file with --from conll"
            raise DataError(f"{where}: {what}")
    for at, name in enumerate(names):
        if at not in numbers.values():
            dropped(f"columns {name!r}", where)
    return numbers


def _column(names: Sequence[str], wanted: Sequence[str]) -> int | None:
    """The number of the first column with one of these names."""
    return next((at for at, name in enumerate(names) if name in wanted or name.lower() in wanted), None)


def _text(path: str, rows: Sequence[_Row], options: AnnotationOptions) -> tuple[str, list[Range]]:
    if not all(row.start and row.end for row in rows):
        tokens = [row.token for row in rows]
        return spaced(tokens, [r.glued for r in rows]) if any(r.glued for r in rows) else detokenize(tokens)
    text = ""
    length = 0
    ranges = []
    for row in rows:
        width = FORMAT.offsets(row.token, options).of(len(row.token))
        if not (row.start.isdecimal() and row.end.isdecimal() and length <= int(row.start) == int(row.end) - width):
            where = f"{path}:{row.line}"
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
