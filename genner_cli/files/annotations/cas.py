"""UIMA CAS as XMI or JSON, which INCEpTION exports (.xmi, .zip; JSON with --from cas). Needs the extra `cas`.

A file is one document, as `.xmi` or `.json`; a `.zip` holds any number of them, and the `TypeSystem.xml` of its `.xmi`
files, which may also stand beside an `.xmi` file. Entities are DKPro's NamedEntity with its `value`, and spans of
INCEpTION's own layers (`webanno.custom.*`) with their only text feature. cassis turns UIMA's offsets, which count
UTF-16 code units, into code points. (inception-project.github.io, "UIMA CAS XMI" and "UIMA CAS JSON")
"""

from __future__ import annotations

import io
import os
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from genner_cli.errors import DataError, UsageError
from genner_cli.files import STDIO, kind
from genner_cli.files.annotations import AnnotationFormat, AnnotationOptions, Dropped
from genner_cli.files.records import Record
from genner_cli.files.streams import content
from genner_cli.files.writing import Writer
from genner_cli.types import Document

_ENTITY = "de.tudarmstadt.ukp.dkpro.core.api.ner.type.NamedEntity"
_TOKEN = "de.tudarmstadt.ukp.dkpro.core.api.segmentation.type.Token"
_METADATA = "de.tudarmstadt.ukp.dkpro.core.api.metadata.type.DocumentMetaData"
_CUSTOM, _DOCUMENT = "webanno.custom.", "uima.tcas.DocumentAnnotation"
_TYPES = "TypeSystem.xml"
_VIEW = "_InitialView"
_UNSAFE = re.compile(r"[^\w.-]+")
_MOST_BYTES = 2**30
"""Of what a .zip holds."""


class Cas(AnnotationFormat):
    suffixes = (".xmi", ".zip")

    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """One record for each document. Its id is that of its metadata, else the name of its file."""
        cassis = _cassis()
        for source, name, data, types in _members(path):
            with _readable(source):
                cas = _loaded(cassis, name, data, types, source, dropped)
                text = cas.sofa_string
                found: dict[str, Any] = {"entities": list(_entities(cas, source, dropped))}
                if tokens := _tokens(cas):
                    found["tokens"] = tokens
            if not isinstance(text, str):
                raise DataError(f"{source}: has no text in its view {_VIEW}; export the document with its text")
            id = _id(cas) or PurePosixPath(name).name.partition(".")[0]
            yield options.document({options.id_field: id, options.text_field: text, **found}, source)

    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """A `.zip` holds a file for each document, named by its id; any other file holds one."""
        cassis = _cassis()
        types = _dkpro_types(cassis)
        if kind(path) == ".zip":
            with Writer(path, suffixes=("",)) as writer:
                writer.write(_archive(cassis, types, documents, options, dropped))
            return
        found = list(islice(documents, 2))
        if len(found) != 1:
            raise UsageError(f"{path}: holds one document, not {'more' if found else 'none'}; name a .zip file")
        with Writer(path, suffixes=("",)) as writer:
            writer.write(_data(_cas(cassis, types, found[0], options, dropped), kind(path), path))


def _cassis() -> Any:
    try:
        import cassis
    except ImportError as error:
        raise UsageError("UIMA CAS files need dkpro-cassis; install it with: pip install 'genner[cas]'") from error
    return cassis


def _dkpro_types(cassis: Any) -> Any:
    """The types that INCEpTION has built in, as far as cassis has them, and those of a document's name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # cassis opens its file in a way that Python gives up
        types = cassis.load_dkpro_core_typesystem()
    metadata = types.create_type(_METADATA, supertypeName=_DOCUMENT)
    for name in ("documentTitle", "documentId", "documentUri", "collectionId", "documentBaseUri"):
        types.create_feature(metadata, name, "uima.cas.String")
    types.create_feature(metadata, "isLastSegment", "uima.cas.Boolean")
    return types


@contextmanager
def _readable(source: str) -> Iterator[None]:
    try:
        yield
    except DataError:
        raise
    except Exception as error:  # cassis, lxml and zipfile raise many kinds for other bytes
        raise DataError(
            f"{source}: cannot be read as a UIMA CAS ({error}); export it as UIMA CAS XMI or UIMA CAS JSON"
        ) from error


def _members(path: str) -> Iterator[tuple[str, str, bytes, bytes | None]]:
    """Of each document its place for messages, its file name, its content, and that of its type system."""
    data = content(path)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        beside = os.path.join(os.path.dirname(path), _TYPES)
        known = path != STDIO and os.path.exists(beside)
        yield path, os.path.basename(path), data, content(beside) if known else None
        return
    with _readable(path), zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(each.file_size for each in archive.infolist()) > _MOST_BYTES:
            raise DataError(f"{path}: holds more than {_MOST_BYTES:,} bytes; unpack it, and convert its files")
        names = [each for each in archive.namelist() if each.endswith((".xmi", ".json"))]
        if not names:
            raise DataError(f"{path}: holds no .xmi and no .json file; export it as UIMA CAS XMI or UIMA CAS JSON")
        of_folder = {os.path.dirname(each): each for each in archive.namelist() if os.path.basename(each) == _TYPES}
        for name in names:
            types = of_folder.get(os.path.dirname(name), of_folder.get(""))
            yield f"{path}:{name}", name, archive.read(name), archive.read(types) if types else None


@lru_cache(maxsize=1)
def _types_of(data: bytes | None) -> Any:
    """The types that a TypeSystem.xml describes, None: those built in. Documents of an archive share them, and to read
    them takes ten times as long as to read a document."""
    cassis = _cassis()
    return cassis.load_typesystem(io.BytesIO(data)) if data else _dkpro_types(cassis)


def _loaded(cassis: Any, name: str, data: bytes, types: bytes | None, source: str, dropped: Dropped) -> Any:
    if data.lstrip()[:1] == b"{":
        return cassis.load_cas_from_json(io.BytesIO(data))
    known = _types_of(types)
    with warnings.catch_warnings(record=True) as unknown:
        warnings.simplefilter("always")
        cas = cassis.load_cas_from_xmi(io.BytesIO(data), typesystem=known, lenient=True)
    for each in unknown:
        dropped(f"annotations whose type no {_TYPES} describes", f"{source}: {each.message}")
    return cas


def _entities(cas: Any, source: str, dropped: Dropped) -> Iterator[dict[str, Any]]:
    """Spans with a label; all else that stands in the text is counted."""
    for view in cas.views:
        if view.sofa.sofaID != _VIEW:
            dropped("further views", f"{source}: {view.sofa.sofaID}")
    for each in cas.select_all_annotations():
        name = each.type.name
        if name in (_TOKEN, _DOCUMENT, _METADATA):
            continue
        if name != _ENTITY and not name.startswith(_CUSTOM):
            dropped(f"annotations of the type {name.rpartition('.')[2]}", f"{source} at {each.begin}:{each.end}")
            continue
        features = _features(each)
        if identifier := features.pop("identifier", None):
            dropped("knowledge base ids", f"{source} at {each.begin}:{each.end}: {identifier}")
        label = features.pop("value", None) or (features.popitem()[1] if len(features) == 1 else None)
        for feature in features:
            dropped(f"features {feature!r}", f"{source} at {each.begin}:{each.end}")
        if label is None:
            dropped("spans without a label", f"{source} at {each.begin}:{each.end}", of_record=True)
        else:
            yield {"start": each.begin, "end": each.end, "label": label}


def _features(each: Any) -> dict[str, str]:
    """The texts that a span has beside its place."""
    names = (feature.name for feature in each.type.all_features if feature.name not in ("sofa", "begin", "end"))
    return {name: value for name in names if isinstance(value := getattr(each, name, None), str)}


def _tokens(cas: Any) -> list[list[int]]:
    if not cas.typesystem.contains_type(_TOKEN):
        return []
    return sorted([each.begin, each.end] for each in cas.select(_TOKEN))


def _id(cas: Any) -> str | None:
    found = cas.select(_METADATA) if cas.typesystem.contains_type(_METADATA) else ()
    return next((name for each in found for name in (each.documentId, each.documentTitle) if name), None)


def _cas(cassis: Any, types: Any, document: Document, options: AnnotationOptions, dropped: Dropped) -> Any:
    cas = cassis.Cas(typesystem=types)
    cas.sofa_string, cas.sofa_mime = document.text, "text/plain"
    metadata = types.get_type(_METADATA)
    cas.add(metadata(begin=0, end=len(document.text), documentId=document.id, documentTitle=document.id))
    token, entity = types.get_type(_TOKEN), types.get_type(_ENTITY)
    for start, end in document.fields.get("tokens") or ():
        cas.add(token(begin=start, end=end))
    for each in document.entities:
        cas.add(entity(begin=each.start, end=each.end, value=each.label))
    dropped.drop_fields(document, {options.id_field, "tokens"})
    dropped.drop_scores(document)
    dropped.drop_sources(document)
    return cas


def _data(cas: Any, suffix: str, path: str) -> bytes:
    try:
        return str(cas.to_json() if suffix == ".json" else cas.to_xmi()).encode()
    except ValueError as error:  # characters that XML cannot carry
        raise UsageError(f"{path}: XML cannot carry the text ({error}); write a .json file") from error


def _archive(
    cassis: Any, types: Any, documents: Iterable[Document], options: AnnotationOptions, dropped: Dropped
) -> bytes:
    buffer, names = io.BytesIO(), dict[str, int]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(_TYPES), types.to_xml())
        for number, document in enumerate(documents, 1):
            name = _name(document, number, names)
            data = _data(_cas(cassis, types, document, options, dropped), ".xmi", name)
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _name(document: Document, number: int, names: dict[str, int]) -> str:
    """A file name that no other document has, whatever a disk makes of capitals."""
    stem = _UNSAFE.sub("_", document.id or "").strip("._") or f"document-{number}"
    count = names[stem.casefold()] = names.get(stem.casefold(), 0) + 1
    return f"{stem}.xmi" if count == 1 else f"{stem}~{count}.xmi"


FORMAT = Cas()
