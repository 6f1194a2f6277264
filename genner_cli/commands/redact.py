"""`genner redact`: records with entities in, texts without them out."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Annotated

import typer

from genner_cli.commands.options import IdField, Restart, TextField
from genner_cli.commands.terminal import document_progress, printable, talk_on_stderr
from genner_cli.errors import UsageError
from genner_cli.plurals import counted
from genner_cli.redaction import Operator

if TYPE_CHECKING:
    from genner_cli.files.pseudonyms import KeyFile
    from genner_cli.running.redacting import Redacting
    from genner_cli.running.rewriting import Done

Inputs = Annotated[
    list[str],
    typer.Argument(metavar="FILE...", help="JSONL that `genner extract` wrote, or labelled data; globs; - is stdin."),
]
Output = Annotated[
    str, typer.Option("--output", "-o", metavar="FILE", help="Output .jsonl (also .gz, .zst); - is stdout.")
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
    output: Output = "-",
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
    from genner_cli.running.rewriting import Files, rewrite

    files = Files(inputs=tuple(inputs), output=output, text_field=text_field, id_field=id_field, restart=restart)
    talk_on_stderr()
    with ExitStack() as stack:
        redacting = _redacting(operator or (), repeat, key_file, keep_field or (), stack)
        done = rewrite(files, redacting, document_progress)
    sys.stderr.writelines(f"{line}\n" for line in _report(done, redacting))
    fail_if_any(done)


def _redacting(
    given: Iterable[str], repeat: bool, key_path: str | None, keep_fields: Sequence[str], stack: ExitStack
) -> Redacting:
    from genner_cli.redaction import Pseudonyms, Redactor, operators_of
    from genner_cli.running.redacting import Redacting

    operators, other = operators_of(given)
    wanted = Operator.PSEUDONYM in (other, *operators.values())
    if wanted != (key_path is not None):
        raise UsageError(
            "--operator pseudonym needs --key-file FILE, a new or an earlier one"
            if wanted
            else "--key-file is for pseudonyms; add --operator pseudonym"
        )
    key_file = stack.enter_context(_key_file(key_path)) if key_path is not None else None
    pseudonyms = Pseudonyms(key_file.key) if key_file else None
    return Redacting(Redactor(operators, other, repeat, pseudonyms), key_file, keep_fields)


def _key_file(path: str) -> KeyFile:
    from genner_cli.files.pseudonyms import KeyFile

    key_file = KeyFile(path, create=True)
    if key_file.created:
        sys.stderr.write(f"genner: {path}: a new key; whoever has it can put the names back: keep it apart, and safe\n")
    return key_file


def _report(done: Done, redacting: Redacting) -> Iterable[str]:
    yield done.summary() + (f"; {counted(redacting.repeats, 'further mention')}" if redacting.redactor.repeat else "")
    if done.complete:
        return
    if redacting.left_out:
        names = ", ".join(f"{printable(name)} ({count:,})" for name, count in redacting.left_out.most_common())
        yield f"genner: fields left out, which may name people too: {names}; --keep-field keeps one"
    if done.documents == done.ledger.documents:
        for label in sorted(redacting.redactor.operators.keys() - redacting.labels.keys()):
            yield f"genner: {printable(label)}: no entity has this label; check its name in --operator"


def fail_if_any(done: Done) -> None:
    """Reports the failed documents on stderr, and exits with 1 if there are any."""
    sys.stderr.writelines(f"genner: {printable(message)}\n" for message in done.messages)
    if done.ledger.failed:
        sys.stderr.write(f"genner: {counted(done.ledger.failed, 'record')} with an error and without a text\n")
        raise typer.Exit(1)
