"""`genner restore`: pseudonyms back to names."""

from __future__ import annotations

from typing import Annotated

import typer

from genner_cli.commands.options import IdField, JsonLinesOutput, Restart, TextField
from genner_cli.commands.terminal import document_progress, fail_if_any, say

Inputs = Annotated[
    list[str], typer.Argument(metavar="FILE", help="JSONL that `genner redact` wrote; globs; - is stdin.")
]
KeyPath = Annotated[str, typer.Option("--key-file", metavar="FILE", help="Key file that the texts were redacted with.")]


def restore(
    inputs: Inputs,
    key_file: KeyPath,
    output: JsonLinesOutput = "-",
    text_field: TextField = "text",
    id_field: IdField = "id",
    restart: Restart = False,
) -> None:
    """Put the names back that `genner redact` has replaced by pseudonyms.

    Each name is spelled as it was where it stood. What was replaced by labels, masks or nothing stays so.

    Example: `genner restore redacted.jsonl --key-file names.key -o restored.jsonl`
    """
    from genner_cli.files.pseudonyms import KeyFile
    from genner_cli.running.redacting import Restoring
    from genner_cli.running.rewriting import Files, rewrite

    files = Files(inputs=tuple(inputs), output=output, text_field=text_field, id_field=id_field, restart=restart)
    with KeyFile(key_file, create=False) as names:
        done = rewrite(files, Restoring(names), document_progress)
    say(done.summary())
    fail_if_any(done)
