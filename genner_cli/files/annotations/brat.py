"""brat: a folder of texts (NAME.txt), each with its standoff annotations beside it (NAME.ann).

    T1<tab>PER 0 3<tab>Ann
    T2<tab>PER 8 12;13 18<tab>John Smith        a mention over a line end comes in pieces

Of the annotations only the text-bound ones are read; offsets count code points. A mention in pieces is read where only
white space stands between them. (brat.nlplab.org/standoff.html)
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from genner_cli.data.offsets import Offsets
from genner_cli.errors import DataError, UsageError
from genner_cli.files import STDIO
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped, place, shown
from genner_cli.files.records import Record
from genner_cli.files.streams import content, decoded
from genner_cli.files.whole import rename_durably
from genner_cli.files.writing import PARTIAL
from genner_cli.types import Document, Entity, FailedDocument, Range

_TEXT_BOUND = re.compile(r"(?P<id>T[^\t]*)\t(?P<label>\S+) (?P<pieces>\d+ \d+(;\d+ \d+)*)\t(?P<mention>.*)", re.DOTALL)
_KINDS = {"E": "events", "R": "relations", "A": "attributes", "M": "attributes", "N": "normalizations", "#": "notes"}
_NAME = re.compile(r"[\w-][\w. -]*")


class Brat(AnnotationFormat):
    suffixes = (".ann",)
    is_input = True
    converts_offsets = True
    in_folders = True

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """The documents of a folder and those below it, by name; or the one of a .ann or .txt file. A document's id is
        its path in the folder, without the suffix."""
        if path == STDIO:
            raise UsageError("-: brat is a folder of files; name one for the input")
        if not os.path.isdir(path):
            yield _record(Path(path).with_suffix(".txt"), Path(path).stem, options, dropped)
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
                (partial / f"{name}.txt").write_bytes(document.text.encode())
                (partial / f"{name}.ann").write_bytes("".join(_lines(document, options, dropped)).encode())
            rename_durably(partial, target)
        except OSError as error:
            raise UsageError(f"{path}: cannot be written ({error.strerror}); name another folder") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _record(file: Path, name: str, options: AnnotationOptions, dropped: Dropped) -> Record:
    annotations = file.with_suffix(".ann")
    try:
        text = decoded(content(str(file)), str(file))
        entities = list(_entities(annotations, text, FORMAT.offsets(text, options), dropped))
    except DataError as error:
        return FailedDocument(str(error), str(file), name)
    record = {options.id_field: name, options.text_field: text, "entities": entities}
    source = str(annotations)
    return options.document(record, source)


def _entities(file: Path, text: str, offsets: Offsets, dropped: Dropped) -> Iterator[dict[str, Any]]:
    if not file.exists():
        dropped("annotations of a .txt file without an .ann file", str(file))
        return
    for number, line in enumerate(decoded(content(str(file)), str(file)).split("\n"), 1):
        where = f"{file}:{number}"
        if not line.startswith("T"):
            if line.strip():
                dropped(_KINDS.get(line[0], "equivalences and other annotations"), where)
            continue
        match = _TEXT_BOUND.fullmatch(line.removesuffix("\r"))
        if match is None:
            raise DataError(f"{where}: {line!r} is not a text-bound annotation; write 'T1<tab>LABEL 0 3<tab>mention'")
        pieces = [Range(*map(offsets.place, map(int, piece.split()))) for piece in match["pieces"].split(";")]
        whole = Range(pieces[0].start, pieces[-1].end)
        if any(text[one.end : other.start].strip() for one, other in pairwise(pieces)):
            dropped("discontinuous entities", f"{where}: {match['mention']!r}")
            continue
        _check(match["mention"], " ".join(text[start:end] for start, end in pieces), where)
        yield {"start": whole.start, "end": whole.end, "label": match["label"]}


def _check(mention: str, there: str, where: str) -> None:
    if mention.split() != there.split():
        raise DataError(
            f"{where}: the text has {there!r} there, not {mention!r}; correct the offsets, or see --offsets"
        )


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
