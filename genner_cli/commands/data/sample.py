"""`genner data sample`: of extracted documents those to annotate next."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.data.convert import AnnotationFormatName
from genner_cli.commands.options import IdField, TextField
from genner_cli.commands.terminal import printable, status_line, talk_on_stderr
from genner_cli.data.sampling import SampleOrder
from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.annotations import AnnotationOptions, format_of
from genner_cli.plurals import counted
from genner_cli.types import Document

if TYPE_CHECKING:
    from genner_cli.data.sampling import Sampler
    from genner_cli.files.annotations import Dropped

Inputs = Annotated[list[str], typer.Argument(metavar="PRED...", help="JSONL that `genner extract` wrote; globs too.")]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="File, or new folder for brat; - is JSONL on stdout.")
]
Count = Annotated[int, typer.Option("--count", "-n", min=1, help="Documents to choose.")]
By = Annotated[
    SampleOrder, typer.Option(help="score = those with the lowest score first; random = any, as for a test set.")
]
To = Annotated[
    AnnotationFormatName | None, typer.Option("--to", help="Annotation format to write.", show_default="by -o's suffix")
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same sample.")]


def sample(
    files: Inputs,
    output: Output,
    count: Count = 100,
    by: By = SampleOrder.SCORE,
    to: To = None,
    seed: Seed = 0,
    text_field: TextField = "text",
    id_field: IdField = "id",
) -> None:
    """Choose the documents to annotate next: the least certain ones, from all labels alike.

    Each label in turn gives the document with its lowest score until there are enough, so that rare labels are there
    too; no text comes twice. Documents without a score follow by chance where there are too few. What the model found
    is written too, as predictions where the format has them, to be corrected. Files are read twice.

    Examples:

    - `genner data sample out.jsonl -n 200 --to label-studio -o tasks.json`
    - `genner data sample out.jsonl -n 500 --by random -o test-set.jsonl`
    """
    from genner_cli.data.sampling import Sampler
    from genner_cli.files.annotations import ANNOTATION_FORMATS, WITH_SOURCES, Dropped
    from genner_cli.files.reading import expand

    paths = expand(files)
    name = to or format_of(output, option="--to")
    _check(paths, output)
    talk_on_stderr()
    sampler, dropped = Sampler(count, by, seed), Dropped()
    documents = _documents(paths, sampler, text_field, id_field)
    for document in documents if name not in WITH_SOURCES else ():
        dropped.drop_sources(document)
    ANNOTATION_FORMATS[name].write(documents, output, AnnotationOptions(text_field, id_field), dropped)
    sys.stderr.writelines(f"{line}\n" for line in _report(sampler, documents, dropped))


def _check(paths: Sequence[str], output: str) -> None:
    if STDIO in paths:
        raise UsageError("-: standard input can be read only once; save the records to a file, and name that")
    if output != STDIO and Path(output).resolve() in [Path(path).resolve() for path in paths]:
        raise UsageError(f"{output}: is an input file, and output would overwrite it; name another file after -o")


def _documents(paths: Sequence[str], sampler: Sampler, text_field: str, id_field: str) -> list[Document]:
    """The documents of the sample, with the model's entities. Raises UsageError where no entity has a score."""
    from genner_cli.files.predictions import read_predictions

    with status_line("reading") as say:
        for extraction in read_predictions(paths, text_field=text_field, id_field=id_field):
            sampler.note(extraction)
            say(counted(sampler.documents, "document"))
        if sampler.order is SampleOrder.SCORE and sampler.unscored and not sampler.scored:
            raise UsageError(f"{paths[0]}: no entity has a score; give the output of genner extract, or --by random")
        wanted = {place.number: at for at, place in enumerate(sampler.chosen())}
        say(f"reading again for {counted(len(wanted), 'document')}")
        found: Iterator[tuple[int, Document]] = (
            (wanted[number], replace(extraction.document, entities=extraction.entities))
            for number, extraction in enumerate(read_predictions(paths, text_field=text_field, id_field=id_field))
            if number in wanted and isinstance(extraction.document, Document)
        )
        return [document for _, document in sorted(found, key=lambda pair: pair[0])]


def _report(sampler: Sampler, documents: Sequence[Document], dropped: Dropped) -> Iterator[str]:
    """What was chosen, and what was left out."""
    labels = sorted({entity.label for document in documents for entity in document.entities})
    yield from (f"genner: {line}" for line in dropped.lines())
    if sampler.failed:
        yield f"genner: {counted(sampler.failed, 'document')} with an error left out; see genner extract --retry-errors"
    if sampler.unscored and sampler.order is SampleOrder.SCORE:
        yield f"genner: {counted(sampler.unscored, 'document')} with entities that all lack a score, chosen by chance"
    yield f"{len(documents):,} of {counted(sampler.documents, 'document')}"
    for label in labels:
        holding = sum(any(entity.label == label for entity in document.entities) for document in documents)
        yield f"{printable(label)}: {counted(holding, 'document')}"
