"""`genner redact`: records with entities in, texts without them out."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import IdField, JsonLinesOutput, Restart, TextField
from genner_cli.commands.terminal import document_progress, fail_if_any, say, warn
from genner_cli.plurals import counted

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE", help="JSONL that `genner extract` wrote, or labelled data; globs; - is stdin."),
]
Operators = Annotated[
    list[str] | None,
    typer.Option(
        "--operator", metavar="[LABEL=]OPERATOR",
        help="What entities become, all or those of a label: label, mask, drop, pseudonym or keep; may be repeated.",
        show_default="label",
    ),
]  # fmt: skip
Repeat = Annotated[
    bool, typer.Option("--repeat", help="Also replace further mentions of the names found in a document.")
]
KeyPath = Annotated[
    str | None,
    typer.Option(
        "--key-file", metavar="FILE", help="Secret and names of pseudonyms; made if it is not there.",
        show_default="none",
    ),
]  # fmt: skip
KeepFields = Annotated[
    list[str] | None,
    typer.Option(
        "--keep-field", metavar="NAME", help="Field to copy as it is, * for all; may be repeated.",
        show_default="only the id",
    ),
]  # fmt: skip


def redact(
    inputs: Inputs,
    output: JsonLinesOutput = "-",
    operator: Operators = None,
    repeat: Repeat = False,
    key_file: KeyPath = None,
    keep_field: KeepFields = None,
    text_field: TextField = "text",
    id_field: IdField = "id",
    restart: Restart = False,
) -> None:
    """Replace entities in their texts: by labels, masks, pseudonyms, or nothing.

    Operators: `label` writes [PER], `mask` a * for each character, `drop` nothing, `pseudonym` [PER-...], the same for
    a name in all documents; `keep` leaves a label's entities. `genner restore` puts pseudonyms back.

    The text outside the entities is not changed. Entities that the model did not find stay in the text: see
    docs/redaction.md. An interrupted run with `-o FILE` resumes when the same command is run again.

    Examples:

    - `genner redact entities.jsonl --repeat -o redacted.jsonl`
    - `genner redact entities.jsonl --operator PER=pseudonym --operator mask --key-file names.key -o redacted.jsonl`
    - `genner redact entities.jsonl --operator keep --operator PER=drop --keep-field date -o redacted.jsonl`
    """
    from genner_cli.running.redacting import opened
    from genner_cli.running.rewriting import Files, rewrite

    files = Files(inputs=tuple(inputs), output=output, text_field=text_field, id_field=id_field, restart=restart)
    with opened(operator or (), repeat, key_file, keep_field or ()) as redacting:
        done = rewrite(files, redacting, document_progress)
    more = f"; {counted(redacting.repeats, 'further mention')}" if repeat else ""
    say(done.summary() + more)
    warn(*redacting.warnings(done))
    fail_if_any(done)
