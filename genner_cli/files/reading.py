"""Paths -> documents, one at a time, in constant memory.

Takes the annotation formats that are input (JSON Lines, Parquet, CoNLL, brat ...) and files of documents without
labels (text, tables, HTML, TEI, e-mail), also as gzip or zstd, and standard input. Gives one record for each line that
is not white space, for each text file, row or sentence: a `Document`, or a `FailedDocument` that says where, what and
what to do. Knows nothing of chunks or models.
"""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence

from genner_cli.errors import UsageError
from genner_cli.files import (
    COMPRESSIONS,
    OUTPUT_FIELDS,
    STDIO,
    WHOLE_PATH,
    Block,
    kind,
    remote,
    size,
    total_bytes,
    unmarked,
)
from genner_cli.files.annotations import (
    ANNOTATION_FORMATS,
    NATIVE,
    AnnotationOptions,
    Dropped,
    input_format,
    input_suffixes,
)
from genner_cli.files.documents import DOCUMENT_FORMATS, TEXT_MAKERS, WholeFile, document_format
from genner_cli.files.folders import files_in
from genner_cli.files.records import Record, document_of, has_half_character, text_parts
from genner_cli.files.streams import MAX_DOCUMENT_BYTES, id_of

__all__ = ["MAX_DOCUMENT_BYTES", "Record", "document_of", "expand", "read_documents", "total_bytes"]

_log = logging.getLogger("genner")


def expand(patterns: Sequence[str], *, addresses: bool = False, output: str | None = None) -> list[str]:
    """The files that paths, globs (`**` too) and folders name, each once; a glob's in sorted order; "-" is stdin.

    Of a folder, all files of known kinds in it and in its folders, in sorted order; where they are read to be written
    to an `output`, without outputs (`folders.files_in`). Where documents of several files would have the same id, the
    whole paths are the ids. `addresses`: whether files may also be elsewhere (`remote`). Raises `UsageError` for what
    names nothing, a file that may not be read, or a suffix that is not that of an input, alone or followed by one of
    `COMPRESSIONS`.
    """
    paths: dict[str, str] = {}
    for pattern in patterns:
        if remote.is_address(pattern) and not addresses:
            raise UsageError(f"{pattern}: only genner extract and genner plan read addresses; copy it, name the copy")
        for path in _matches(pattern, output):
            same = path == STDIO or remote.is_address(path)
            paths.setdefault(path if same else os.path.realpath(path), path)
    if not paths:
        raise UsageError("no input: name at least one file, or '-' for standard input")
    return _distinct(list(paths.values()))


def _distinct(paths: list[str]) -> list[str]:
    """The same files, marked where names do not tell them apart: the ids are then the whole paths of all files that are
    documents, since that of a single one could be the path of another in its folder."""
    ids = [id_of(path) for path in paths if _is_document(path)]
    if len(set(ids)) == len(ids):
        return paths
    return [_with_whole_path(path) if _is_document(path) else path for path in paths]


def _is_document(path: str) -> bool:
    """Whether the documents of a file have their ids of its path."""
    format = input_format(path)
    return format.in_folders if format else isinstance(document_format(path), WholeFile)


def _with_whole_path(path: str) -> str:
    folder, separator, name = unmarked(path).rpartition(os.sep)
    return f"{folder}{WHOLE_PATH}{name}" if separator else path


def _matches(pattern: str, output: str | None) -> list[str]:
    if pattern == STDIO:
        return [pattern]
    if remote.is_address(pattern):
        return _at_address(pattern)
    if os.path.isdir(pattern):
        paths = files_in(pattern, is_known=_is_known, output=output)
    else:
        paths = [pattern] if os.path.exists(pattern) else sorted(glob.glob(pattern, recursive=True))
        paths = [path for path in paths if not os.path.isdir(path)]
    if not paths:
        what = "matches no file" if glob.has_magic(pattern) else "no such file"
        raise UsageError(f"{pattern}: {what}; check the path (it is read from {os.getcwd()})")
    for path in paths:
        _check_kind(path)
        if not os.access(path, os.R_OK):
            raise UsageError(f"{path}: may not be read; give yourself permission (chmod u+r)")
    return paths


def _at_address(pattern: str) -> list[str]:
    addresses = remote.matching(pattern)
    if not addresses:
        raise UsageError(f"{pattern}: there is no such file; check the address, or name its files by a glob")
    for address in addresses:
        _check_kind(address)
        if (format := input_format(address)) and format.in_folders:
            raise UsageError(f"{address}: a document of this kind is several files, read on disk only; copy all")
    return addresses


def _check_kind(path: str) -> None:
    if not _is_known(path):
        documents = [suffix for format in DOCUMENT_FORMATS.values() for suffix in format.suffixes]
        known = ", ".join([*input_suffixes(), *documents])
        what = f"{path}: unknown kind of file; known are {known}, each also with {' or '.join(COMPRESSIONS)}"
        if tool := TEXT_MAKERS.get(kind(path)):
            raise UsageError(f"{what}; make a text of it ({tool}), and name that")
        raise UsageError(f"{what}; rename it, convert it (genner data convert), or pipe JSON Lines into '-'")


def _is_known(path: str) -> bool:
    return bool(input_format(path) or document_format(path))


def read_documents(
    paths: Sequence[str | Block],
    *,
    text_field: str = "text",
    id_field: str = "id",
    dropped: Collection[str] = OUTPUT_FIELDS,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
    progress: Callable[[int], None] = lambda n: None,
) -> Iterator[Record]:
    """One record for each line that is not white space, in order; the paths are from `expand`, or blocks of them.

    `Document.id` is the id field as text. Its value itself stays in `fields`, so that output has it as it
    was; so do all other fields but the text and the `dropped` ones, which belong to output (integers beyond
    64 bits become floats, as orjson reads them). `text_field`: see `document_of`. A text, page or message is one
    document; its id is its file name, its path inside a folder that was named, or its whole path (`expand`).
    A UTF-8 byte order mark is left out. An .ann file gives the text beside it.

    `max_document_bytes` limits a line as it stands in the file (decompressed), or a text file. A file that
    breaks off gives what was read before and one `FailedDocument`; the next file follows. So does a file that is not
    there any more, but for one that is read in blocks, which is a ReadError.
    `progress` gets the bytes just consumed of the files as they lie on disk; they add up to `total_bytes`.

    Raises `UsageError` at the call for field names that cannot be, `ReadError` where a disk or server fails in the
    middle: what follows may be read another time. Bad data is given, not raised.
    """
    for option, name in (("--text-field", text_field), ("--id-field", id_field)):
        if name in OUTPUT_FIELDS:
            raise UsageError(f"{option} {name}: output records use this name; rename the field in the input")
        if has_half_character(name):
            raise UsageError(f"{option} {name!r}: is not text (UTF-8); name a field as the input does")
    if not all(part.strip() for part in text_parts(text_field)):
        raise UsageError(f"--text-field {text_field!r} has an empty name; write the names with a comma between them")
    if text_field == id_field:
        raise UsageError(f"--text-field and --id-field are both {text_field!r}; name two fields")
    options = AnnotationOptions(text_field=text_field, id_field=id_field, without=dropped)
    return _read_all(paths, options, max_document_bytes, progress)


def _read_all(
    paths: Sequence[str | Block], options: AnnotationOptions, limit: int, progress: Callable[[int], None]
) -> Iterator[Record]:
    for path in paths:
        block = path if isinstance(path, Block) else Block(path)
        done = block.start
        for record, position in _read_block(block, options, limit):
            position = position if block.end is None else min(position, block.end)
            progress(position - done)
            done = position
            yield record
        progress(max(0, (block.end or size(block.path) or done) - done))


def _read_block(block: Block, options: AnnotationOptions, limit: int) -> Iterator[tuple[Record, int]]:
    """Each record with the place in the file up to which it had been read by then. What a format has but cannot give is
    warned of, of entities only where they are read."""
    if documents := None if input_format(block.path) else document_format(block.path):
        yield from documents.read(block.path, options, limit)
        return
    dropped = Dropped()
    yield from (input_format(block.path) or ANNOTATION_FORMATS[NATIVE]).read_block(block, options, dropped, limit=limit)
    for line in dropped.lines(entities="entities" not in options.without):
        _log.warning("%s: %s", block.path, line)
