"""genner's own format: JSON Lines, one object per line with `text` and `entities` (see `files.gold`).

Reading gives one record for each line that is not white space, in constant memory; any line may be wrong.
"""

from __future__ import annotations

import codecs
import json
import reprlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import IO, Any

import orjson

from genner_cli.files import Block
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import HALF_CHARACTER, Record, has_half_character, too_long
from genner_cli.files.streams import (
    MAX_DOCUMENT_BYTES,
    UNREADABLE,
    is_json,
    is_passing,
    length_of,
    lfs_pointer,
    lines_of,
    not_utf8,
    opened,
    read_error,
    reason,
    refuse_cut,
    rest_of_line,
    several_lines,
    shown_name,
    with_nulls,
)
from genner_cli.files.writing import Writer, json_line, record_of
from genner_cli.types import Document, Extraction, FailedDocument


class JsonLines(AnnotationFormat):
    suffixes = (".jsonl", ".ndjson")
    is_input = in_blocks = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each line, without the completions that `genner extract` may have kept."""
        options = replace(options, without=(*options.without, "completion"))
        for record, _ in self.read_block(Block(path), options, dropped, limit=MAX_DOCUMENT_BYTES):
            yield record

    def read_block(
        self, block: Block, options: AnnotationOptions, dropped: Dropped, *, limit: int
    ) -> Iterator[tuple[Record, int]]:
        """The last line may end behind the block. A file that breaks off gives what was read before and one
        `FailedDocument`, a list over several lines one for its first; a block of one raises a ReadError where the file
        is not there any more."""
        name, at = shown_name(block.path), _Place(block.lines, block.start)
        first, begun = block.start == 0, False
        try:
            with opened(block.path) as (raw, stream):
                length_before = length_of(raw)
                for line, length in at.lines(raw, stream, block, limit):
                    source = f"{name}:{at.number}"
                    if line is None:
                        yield too_long(source, f"the line has {length:,} bytes", limit), at.position
                    elif begun and not is_json(line):
                        return  # the rest of what the first line begins
                    elif line.strip():
                        other_file = (several_lines(line) or lfs_pointer(line)) if first else None
                        begun, first = bool(other_file), False
                        record = _record(line, source, options, dropped, other_file)
                        del line  # which is as long as the text
                        yield record, at.position
                if block.end is None:
                    refuse_cut(raw, length_before)
                elif at.position < block.end:
                    raise EOFError(f"it ends before byte {block.end:,}, which it had when its blocks were shared out")
        except UNREADABLE as error:
            if is_passing(error) or (block.end is not None and isinstance(error, OSError)):
                raise read_error(f"{name}: {at}", error) from error
            message = f"{name}: {at} ({reason(error)}); what follows was not read, make or download the file again"
            yield FailedDocument(message, f"{name}:{at.number + 1}"), at.position

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """One line for each document."""
        text_field, id_field = options.text_field, options.id_field
        with Writer(path, suffixes=("",)) as writer:
            for document in documents:
                offsets = self.offsets(document.text, options)
                record = record_of(Extraction(document, document.entities), text_field=text_field, id_field=id_field)
                for written, entity in zip(record["entities"], document.entities, strict=True):
                    written |= {"start": offsets.of(entity.start), "end": offsets.of(entity.end)}
                    written |= {} if entity.score is None else {"score": entity.score}  # not rounded
                writer.write(json_line(record))


@dataclass(slots=True)
class _Place:
    """How far a file was read: the number of the last line, and the place behind it in the file as it lies there."""

    number: int
    position: int

    def __str__(self) -> str:
        if not self.number:
            return "cannot be read"
        return f"broken after line {self.number:,}, at byte {self.position:,} of the file"

    def lines(self, raw: IO[bytes], stream: IO[bytes], block: Block, limit: int) -> Iterator[tuple[bytes | None, int]]:
        """The lines that begin in a block, as `lines_of` gives them, without holding one."""
        tell = raw.tell if stream is not raw and raw.seekable() else None  # of a compressed file
        if block.start:
            stream.seek(block.start - 1)
            skipped = rest_of_line(stream)  # of the line that begins before the block
            self.number, self.position = self.number + (skipped > 1), self.position + skipped - 1

        def advance(line: tuple[bytes | None, int]) -> tuple[bytes | None, int]:
            self.number += 1
            self.position = tell() if tell else self.position + line[1]
            return (line[0].removeprefix(codecs.BOM_UTF8), line[1]) if line[0] else line  # of joined files, on any line

        inside = takewhile(lambda _: block.end is None or self.position < block.end, lines_of(stream, limit))
        return map(advance, inside)


def _record(
    line: bytes, source: str, options: AnnotationOptions, dropped: Dropped, other_file: str | None = None
) -> Record:
    """The record of a line; `other_file`: what is wrong with a first line that does not begin JSON Lines."""
    value, problem = _parsed(line, source, dropped)
    problem = other_file or problem
    fields = value if isinstance(value, dict) else {}
    writable = {name: field for name, field in fields.items() if _is_writable(name, field)}
    if len(writable) < len(fields) and not problem:
        deep = next(name for name in fields if name not in writable)
        problem = f"field {reprlib.repr(deep)} is nested too deep to be carried through; make it flatter"
    document = options.document(writable, source)
    return FailedDocument(f"{source}: {problem}", source, document.id, document.fields) if problem else document


def _parsed(line: bytes, source: str, dropped: Dropped) -> tuple[Any, str | None]:
    """The value of a line, or what can be read of it, and what is wrong. NaN and Infinity become null."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        if lenient := with_nulls(line):
            value, names = lenient
            for name in names:
                dropped(name, source, of_record=True)
        else:
            value = _salvaged(line)
            plain = not line.lstrip().startswith(b"{")
            remedy = "write one JSON object per line, or plain text into a .txt file" if plain else "correct the line"
            problem = f"not JSON, {error.msg} at column {error.colno}; {remedy}"
            return value, _encoding_problem(line, value) or problem
    if isinstance(value, dict):
        return value, None
    remedy = "run: jq -c '.[]' IN > OUT.jsonl" if isinstance(value, list) else "write one per line"
    return value, f"{reprlib.repr(value)} is not an object; {remedy}"


def _salvaged(line: bytes) -> dict[str, Any]:
    """What Python's lenient parser makes of a line that is not quite JSON or not quite UTF-8."""
    try:
        value = json.loads(line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _is_writable(name: str, field: Any) -> bool:
    try:
        orjson.dumps({name: field})
    except orjson.JSONEncodeError:
        return False
    return True


def _encoding_problem(line: bytes, record: dict[str, Any]) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return not_utf8(error)
    halves = (name for name, value in record.items() if has_half_character({name: value}))
    return next((f"field {reprlib.repr(name)} {HALF_CHARACTER}" for name in halves), None)


FORMAT = JsonLines()
