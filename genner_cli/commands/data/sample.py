"""`genner data sample`: of extracted documents those to annotate next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from genner_cli.commands.data.convert import AnnotationFormatName
from genner_cli.commands.options import IdField, Seed, TextField
from genner_cli.commands.terminal import printable, say, status_line, warn
from genner_cli.data.sampling import SampleOrder
from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.annotations import AnnotationOptions, format_of

Inputs = Annotated[list[str], typer.Argument(metavar="PRED", help="JSONL that `genner extract` wrote; globs too.")]
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
    from genner_cli.files.predictions import sampled
    from genner_cli.files.reading import expand

    paths = expand(files)
    name = to or format_of(output, option="--to")
    _check(paths, output)
    sampler, dropped = Sampler(count, by, seed), Dropped()
    with status_line("reading") as progress:
        documents = sampled(paths, sampler, text_field, id_field, progress)
    for document in documents if name not in WITH_SOURCES else ():
        dropped.drop_sources(document)
    ANNOTATION_FORMATS[name].write(documents, output, AnnotationOptions(text_field, id_field), dropped)
    warn(*dropped.lines(), *sampler.warnings())
    say(*map(printable, sampler.lines(documents)))


def _check(paths: Sequence[str], output: str) -> None:
    if STDIO in paths:
        raise UsageError("-: standard input can be read only once; save the records to a file, and name that")
    if output != STDIO and Path(output).resolve() in [Path(path).resolve() for path in paths]:
        raise UsageError(f"{output}: is an input file, and output would overwrite it; name another file after -o")
