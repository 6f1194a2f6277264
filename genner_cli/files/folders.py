"""A folder -> the files in it that can be read as documents. Knows nothing of what they hold."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable

from genner_cli.errors import UsageError
from genner_cli.files import INSIDE, RECORDS, STDIO, kind
from genner_cli.files.documents import TEXT_MAKERS
from genner_cli.plurals import counted

_ANNOTATED = ".ann"
_LEDGER = ".run.json"
"""What is added to an output's name for what a run says of itself (`resuming`)."""
_KINDS_SHOWN = 5
_log = logging.getLogger("genner")


def files_in(folder: str, *, is_known: Callable[[str], bool], output: str | None = None) -> list[str]:
    """The paths of all files of known kinds in a folder and the folders in it, sorted, with `INSIDE` after the folder.

    Left out: hidden files and folders, links to folders, a text that has brat annotations beside it (which give the
    text), and other kinds, of which the log has a line. Where documents are read to be written to an `output`, this and
    the outputs of other runs are left out too, the latter with a line each. Raises UsageError where nothing is left, or
    a folder cannot be read.
    """
    paths = {path: os.path.realpath(os.path.join(folder, path)) for path in sorted(_walk(folder))}
    own = None if output in (None, STDIO) else os.path.realpath(output or "")
    made = {real.removesuffix(_LEDGER) for real in paths.values() if real.endswith(_LEDGER)} | ({own} if own else set())
    records = {f"{each}{RECORDS}" for each in made}
    found, others = [], Counter[str]()
    for path, real in paths.items():
        if real.endswith(_LEDGER):
            continue
        if output is not None and (real in made or real in records):
            if real in made and real != own:
                _log.warning("%s: left out, since a run of genner wrote it; name it to read it", f"{folder}/{path}")
        elif is_known(path):
            found.append(path)
        elif not any(real.startswith(f"{each}.") for each in made):
            others[kind(path) or "no suffix"] += 1
    texts = {path.removesuffix(_ANNOTATED) + ".txt" for path in found if path.endswith(_ANNOTATED)}
    left_out = ", ".join(f"{suffix}: {count:,}" for suffix, count in others.most_common(_KINDS_SHOWN))
    tools = sorted({TEXT_MAKERS[suffix] for suffix in others if suffix in TEXT_MAKERS})
    remedy = "; make texts with " + " or ".join(tools) if tools else ""
    if not found:
        what = f"{folder}: has no file of a known kind ({left_out or ('only outputs' if made else 'it is empty')})"
        raise UsageError(f"{what}{remedy or '; name another folder'}")
    if left_out:
        _log.warning("%s: left out %s of other kinds (%s)%s", folder, counted(others.total(), "file"), left_out, remedy)
    return [f"{folder.rstrip(os.sep)}{INSIDE}{path}" for path in found if path not in texts]


def _walk(folder: str) -> list[str]:
    """The paths of all files, from the folder."""

    def refuse(error: OSError) -> None:
        raise UsageError(f"{error.filename}: {error.strerror}; give yourself permission, or name other files")

    found = []
    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [os.path.relpath(os.path.join(place, name), folder) for name in files if not name.startswith(".")]
    return found
