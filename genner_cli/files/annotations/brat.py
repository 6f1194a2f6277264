"""brat: a folder of texts (NAME.txt), each with its standoff annotations beside it (NAME.ann).

    T1<tab>PER 0 3<tab>Ann
    T2<tab>PER 8 12;13 18<tab>John Smith        a mention over a line end comes in pieces

Of the annotations only the text-bound ones are read. A mention in pieces is read where only white space stands between
them. Offsets count code points, unless all mentions of a file show that they count \\r\\n as one, or a byte order mark
before the text. Of BioNLP's shared tasks NAME.a1 and NAME.a2 are read. (brat.nlplab.org/standoff.html)
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.errors import DataError, UsageError
from genner_cli.files import STDIO
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place, shown
from genner_cli.files.records import Record
from genner_cli.files.streams import content, decoded, id_of
from genner_cli.files.whole import rename_durably
from genner_cli.files.writing import PARTIAL
from genner_cli.types import Document, Entity, FailedDocument, Range

_TEXT_BOUND = re.compile(
    r"(?P<id>T[^\t]*)\t(?P<label>\S+) (?P<pieces>\d+ \d+(;\d+ \d+)*)(\t(?P<mention>.*)|\s*)", re.DOTALL
)
_KINDS = {"E": "events", "R": "relations", "A": "attributes", "M": "attributes", "N": "normalizations", "#": "notes"}
_NAME = re.compile(r"[\w-][\w. -]*")
_BOM = "\ufeff"


@dataclass(frozen=True, slots=True)
class _Bound:
    """A text-bound annotation: its label, the offsets of its pieces as given, and its mention if it has one."""

    where: str
    label: str
    pieces: tuple[tuple[int, int], ...]
    mention: str | None

    def placed(self, offsets: Offsets, skipped: int) -> list[Range]:
        """The pieces in code points; offsets count `skipped` units before the text. Raises DataError."""
        return [Range(offsets.place(start - skipped), offsets.place(end - skipped)) for start, end in self.pieces]

    def fits(self, text: str, offsets: Offsets, skipped: int) -> bool:
        """Whether the mention stands there."""
        try:
            there = " ".join(text[start:end] for start, end in self.placed(offsets, skipped))
        except DataError:
            return False
        return bool(there) and (self.mention is None or self.mention.split() == there.split())


class Brat(AnnotationFormat):
    suffixes = (".ann",)
    is_input = True
    converts_offsets = True
    in_folders = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """The documents of a folder and those below it, by name; or the one of a .ann or .txt file. A document's id is
        that of its file, without the suffix."""
        if path == STDIO:
            raise UsageError("-: brat is a folder of files; name one for the input")
        if not os.path.isdir(path):
            yield _record(Path(path).with_suffix(".txt"), os.path.splitext(id_of(path))[0], options, dropped)
            return
        files = sorted(Path(path).rglob("*.txt"))
        if not files:
            yield FailedDocument(f"{path}: holds no .txt file; name a folder of .txt and .ann files", path)
        for file in files:
            yield _record(file, file.relative_to(path).with_suffix("").as_posix(), options, dropped)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """A new folder; files are named by the ids, those that cannot be are numbered.

        Raises UsageError where something of that name exists.
        """
        if path == STDIO:
            raise UsageError("-: brat is a folder of files; name one for the output")
        target = Path(path)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise UsageError(f"{path}: already exists; name a new folder for the .txt and .ann files")
        partial = target.with_name(target.name + PARTIAL)
        if partial.exists():
            raise UsageError(f"{partial}: is left over from an earlier run; remove it")
        used: set[str] = set()
        try:
            partial.mkdir()
            for number, document in enumerate(documents, 1):
                name = _name(document, number, used, dropped)
                mark = (
                    _BOM if document.text.startswith(_BOM) else ""
                )  # without which the text's own would be taken for one
                (partial / f"{name}.txt").write_bytes((mark + document.text).encode())
                (partial / f"{name}.ann").write_bytes("".join(_lines(document, options, dropped)).encode())
            rename_durably(partial, target)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _record(file: Path, name: str, options: AnnotationOptions, dropped: Dropped) -> Record:
    annotations = [file.with_suffix(suffix) for suffix in (".ann", ".a1", ".a2")]
    there = [path for path in annotations if path.exists()]
    try:
        text = decoded(content(str(file)), str(file))
        if not there:
            dropped("annotations of a .txt file without an .ann file", str(annotations[0]))
        bounds = [bound for path in there for bound in _bounds(path, dropped)]
        entities = list(_entities(text, bounds, options, dropped))
    except DataError as error:
        return FailedDocument(str(error), str(file), name)
    record = {options.id_field: name, options.text_field: text.removeprefix(_BOM), "entities": entities}
    return options.document(record, str(there[0] if there else annotations[0]))


def _bounds(file: Path, dropped: Dropped) -> Iterator[_Bound]:
    text = decoded(content(str(file)), str(file)).removeprefix(_BOM)
    for number, line in enumerate(text.split("\n"), 1):
        where = f"{file}:{number}"
        if not line.startswith("T"):
            if line.strip():
                dropped(_KINDS.get(line[0], "equivalences and other annotations"), where)
            continue
        match = _TEXT_BOUND.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise DataError(f"{where}: {line!r} is not a text-bound annotation; write 'T1<tab>LABEL 0 3<tab>mention'")
        pieces = (piece.split() for piece in match["pieces"].split(";"))
        yield _Bound(where, match["label"], tuple((int(start), int(end)) for start, end in pieces), match["mention"])


def _entities(
    text: str, bounds: Sequence[_Bound], options: AnnotationOptions, dropped: Dropped
) -> Iterator[dict[str, Any]]:
    """The entities, with offsets in code points of the text without its byte order mark."""
    units = (options.offsets,) if options.offsets else (Unit.CODEPOINT, Unit.CODEPOINT_CRLF)
    unit, skipped = _counting(text, bounds, units) or (units[0], 0)
    text = text.removeprefix(_BOM)
    offsets = Offsets(text, unit)
    for bound in bounds:
        pieces = bound.placed(offsets, skipped)
        if not bound.fits(text, offsets, skipped):
            there = " ".join(text[start:end] for start, end in pieces)
            other = _counting(text, bounds, tuple(Unit))
            remedy = f"read the file with --offsets {other[0]}" if other else "correct the offsets, or see --offsets"
            raise DataError(f"{bound.where}: the text has {there!r} there, not {bound.mention!r}; {remedy}")
        if any(text[one.end : other.start].strip() for one, other in pairwise(pieces)):
            dropped("discontinuous entities", f"{bound.where}: {bound.mention!r}")
        else:
            yield {"start": pieces[0].start, "end": pieces[-1].end, "label": bound.label}


def _counting(text: str, bounds: Sequence[_Bound], units: Sequence[Unit]) -> tuple[Unit, int] | None:
    """The first unit in which all mentions stand at their offsets, and the units of a byte order mark that these count;
    None where there is none."""
    marks = (0, 1) if text.startswith(_BOM) else (0,)
    text = text.removeprefix(_BOM)
    for unit, mark in product(units, marks):
        skipped = Offsets(_BOM, unit).of(1) * mark
        offsets = Offsets(text, unit)
        if all(bound.fits(text, offsets, skipped) for bound in bounds):
            return unit, skipped
    return None


def _name(document: Document, number: int, used: set[str], dropped: Dropped) -> str:
    name = document.id or ""
    if not _NAME.fullmatch(name) or len(name.encode()) > 200 or name.casefold() in used:
        name = f"document-{number:06}"
        dropped("ids that cannot name a file", place(document))
    used.add(name.casefold())
    return name


def _lines(document: Document, options: AnnotationOptions, dropped: Dropped) -> Iterator[str]:
    dropped.drop_fields(document, {options.id_field})
    dropped.drop_scores(document)
    offsets = FORMAT.offsets(document.text, options)
    for number, entity in enumerate(document.entities, 1):
        label = "_".join(entity.label.split())
        if label != entity.label:
            dropped("labels with spaces, which became _", shown(document, entity))
        pieces = list(_pieces(entity))
        places = ";".join(f"{offsets.of(start)} {offsets.of(end)}" for start, end in pieces)
        mention = " ".join(document.text[start:end] for start, end in pieces)
        yield f"T{number}\t{label} {places}\t{mention}\n"


def _pieces(entity: Entity) -> Iterator[Range]:
    """The parts of a mention between line ends, as brat keeps them."""
    for match in re.finditer(r"[^\r\n]+", entity.text):
        yield Range(entity.start + match.start(), entity.start + match.end())


FORMAT = Brat()
