"""The annotation formats: each module of this package is one, and its `FORMAT` is all that genner knows of it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from genner_cli.data.offsets import Offsets, Unit
from genner_cli.data.tags import Scheme
from genner_cli.errors import DataError, UsageError
from genner_cli.files import COMPRESSIONS, STDIO, Block, kind
from genner_cli.files.records import Record, document_of, too_long
from genner_cli.registry import Registry
from genner_cli.types import Document, Entity, FailedDocument, Label

NATIVE = "jsonl"
"""genner's own format, which carries everything."""
WITH_SOURCES = (NATIVE, "parquet")
"""Those that carry what found an entity (`Entity.source`)."""
_EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class AnnotationOptions:
    """Each format uses those that concern it.

    `without`: fields of records to leave out. `offsets`: the unit of the offsets, None for the format's own. `scheme`,
    `token_column`, `tag_column`: for tags; columns by number or name. `whole`: CoNLL's documents, rather than its
    sentences, are documents. `keep_text`: CoNLL files get comment lines with ids and texts. `predictions`: Label Studio
    gets predictions (None: where there are scores). `format` and `labels`: of alpaca (None: detected when reading;
    bracketed, and all labels in the data, when writing).
    """

    text_field: str = "text"
    id_field: str = "id"
    without: Collection[str] = ()
    offsets: Unit | None = None
    scheme: Scheme = Scheme.IOB2
    token_column: str | None = None
    tag_column: str | None = None
    whole: bool = False
    keep_text: bool = False
    predictions: bool | None = None
    format: str | None = None
    labels: tuple[Label, ...] | None = None

    def document(self, record: Mapping[str, Any], source: str) -> Record:
        """The document of a record with these field names; `source` is its place in messages."""
        return document_of(record, source, text_field=self.text_field, id_field=self.id_field, dropped=self.without)


class Dropped:
    """Counts what one side says and the other cannot, by kind. `strict`: the first is a DataError."""

    def __init__(self, *, strict: bool = False) -> None:
        self._strict = strict
        self.counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)
        self._of_records: set[str] = set()

    def __call__(self, what: str, example: str, *, of_record: bool = False) -> None:
        """`what` is the kind, in the plural; `example` says where, and which. `of_record`: whether it concerns a record
        without its entities too."""
        if self._strict:
            raise DataError(f"{example}: {what} cannot be carried over; run without --strict to drop them")
        self.counts[what] += 1
        self._of_records |= {what} if of_record else set()
        if len(self._examples[what]) < _EXAMPLES:
            self._examples[what].append(example)

    def lines(self, *, entities: bool = True) -> Iterator[str]:
        """One line for each kind, with its first examples. `entities`: also for kinds that concern entities alone."""
        for what, count in self.counts.most_common():
            if entities or what in self._of_records:
                more = ", ..." if count > _EXAMPLES else ""
                yield f"not carried over: {what}: {count:,} ({', '.join(self._examples[what])}{more})"

    def drop_fields(self, document: Document, carried: Collection[str]) -> None:
        """Counts all fields of the document that are not among the carried ones."""
        for name in document.fields:
            if name not in carried:
                self(f"fields {name!r}", place(document))

    def drop_scores(self, document: Document) -> None:
        """Counts the scores of the document's entities."""
        for entity in document.entities:
            if entity.score is not None:
                self("scores", shown(document, entity))

    def drop_sources(self, document: Document) -> None:
        """Counts the entities that say what found them."""
        for entity in document.entities:
            if entity.source is not None:
                self("sources of entities", shown(document, entity))


def place(document: Document) -> str:
    """Where a document stands, for messages."""
    return document.source or document.id or "document"


def shown(document: Document, entity: Entity) -> str:
    """An entity and where it stands, for messages."""
    return f"{place(document)}: {entity.text[:40]!r} ({entity.label}) at {entity.start}:{entity.end}"


class AnnotationFormat(ABC):
    """How labelled data are kept in files."""

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Those by which the format is known."""
    unit: ClassVar[Unit] = Unit.CODEPOINT
    """What offsets count where the options do not say."""
    converts_offsets: ClassVar[bool] = False
    """Whether `records` gives offsets in code points whatever the unit."""
    is_input: ClassVar[bool] = False
    """Whether `extract`, `train` and the others read its files by their suffix."""
    in_blocks: ClassVar[bool] = False
    """Whether its files, uncompressed, can be cut at line ends: then `read_block` reads a part of one."""
    in_folders: ClassVar[bool] = False
    """Whether a document is several files of a folder: it has no stream, and cannot be read at an address."""

    def offsets(self, text: str, options: AnnotationOptions) -> Offsets:
        """Those of a text, in the unit of the options."""
        return Offsets(text, options.offsets or self.unit)

    @abstractmethod
    def records(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """The records, as `AnnotationOptions.document` gives them: what is labelled stands in the field "entities", not
        yet checked. A DataError ends them."""

    @abstractmethod
    def write(self, documents: Iterable[Document], path: str, options: AnnotationOptions, dropped: Dropped) -> None:
        """Writes a file (or folder), whole or not at all. Raises UsageError for what cannot be written."""

    def read(self, path: str, options: AnnotationOptions, dropped: Dropped) -> Iterator[Record]:
        """The records; a DataError is the last one."""
        try:
            yield from self.records(path, options, dropped)
        except DataError as error:
            yield FailedDocument(str(error), path)

    def read_block(
        self, block: Block, options: AnnotationOptions, dropped: Dropped, *, limit: int
    ) -> Iterator[tuple[Record, int]]:
        """Each record of a block, and the place in the file up to which it was read by then (0: not known).

        `limit`: bytes of the longest line or text. Raises ReadError where a disk or a server fails.
        """
        for record in self.read(block.path, options, dropped):
            length = len(record.text.encode()) if isinstance(record, Document) else 0
            if length > limit:
                yield too_long(record.source, f"the text has {length:,} bytes", limit, record.id), 0
            else:
                yield record, 0


ANNOTATION_FORMATS: Registry[AnnotationFormat] = Registry(__name__, __path__)


def format_of(path: str, *, option: str) -> str:
    """The name of the format that the path's suffix tells; a folder, or a name without a suffix, is one in folders, and
    - is JSON Lines.

    Raises `UsageError` where it shows none; `option` is the one that names the format instead.
    """
    suffix = ".jsonl" if path == STDIO else kind(path)
    for name in _in_order(suffix):
        if suffix in ANNOTATION_FORMATS[name].suffixes:
            return name
    if os.path.isdir(path) or not suffix:
        return next(name for name, format in ANNOTATION_FORMATS.items() if format.in_folders)
    known = ", ".join(suffix for format in ANNOTATION_FORMATS.values() for suffix in format.suffixes)
    raise UsageError(
        f"{path}: its name does not show the format; give it with {option} (one of {', '.join(ANNOTATION_FORMATS)}), or"
        f" let the name end in one of {known}, perhaps followed by {' or '.join(COMPRESSIONS)}"
    )


def input_format(path: str) -> AnnotationFormat | None:
    """The format in which the files that `extract` reads are kept, by suffix; standard input and .json are JSON
    Lines."""
    suffix = kind(path)
    if path == STDIO or suffix == ".json":
        return ANNOTATION_FORMATS[NATIVE]
    formats = (ANNOTATION_FORMATS[name] for name in _in_order(suffix))
    return next((format for format in formats if format.is_input and suffix in format.suffixes), None)


def input_suffixes() -> list[str]:
    """All those by which `input_format` knows a file."""
    formats = (ANNOTATION_FORMATS[name] for name in _in_order(""))
    return [suffix for format in formats if format.is_input for suffix in format.suffixes]


def _in_order(suffix: str) -> list[str]:
    """The names, first those of formats that are likely to have this suffix, so that others need not be imported."""
    return sorted(ANNOTATION_FORMATS, key=lambda name: name not in (NATIVE, suffix.removeprefix(".")))
