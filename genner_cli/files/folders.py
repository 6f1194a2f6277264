"""A folder -> the files in it that can be read as documents. Knows nothing of what they hold."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable

from genner_cli.errors import UsageError
from genner_cli.files import INSIDE, STDIO, kind
from genner_cli.files.documents import TEXT_MAKERS
from genner_cli.plurals import counted

_ANNOTATED = ".ann"
_KINDS_SHOWN = 5
_log = logging.getLogger("genner")


def files_in(folder: str, *, is_known: Callable[[str], bool], output: str = STDIO) -> list[str]:
    """The paths of all files of known kinds in a folder and the folders in it, sorted, with `INSIDE` after the folder.

    Left out: hidden files and folders, links to folders, the output and files that begin with its name and a dot, a
    text that has brat annotations beside it (which give the text), and other kinds, of which the log has a line.
    Raises UsageError where nothing is left, or a folder cannot be read.
    """
    found, others = [], Counter[str]()
    for path in sorted(_walk(folder)):
        if _belongs_to(output, os.path.join(folder, path)):
            continue
        if is_known(path):
            found.append(path)
        else:
            others[kind(path) or "no suffix"] += 1
    texts = {path.removesuffix(_ANNOTATED) + ".txt" for path in found if path.endswith(_ANNOTATED)}
    left_out = ", ".join(f"{suffix}: {count:,}" for suffix, count in others.most_common(_KINDS_SHOWN))
    tools = sorted({TEXT_MAKERS[suffix] for suffix in others if suffix in TEXT_MAKERS})
    remedy = "; make texts with " + " or ".join(tools) if tools else ""
    if not found:
        what = f"{folder}: has no file of a known kind ({left_out or 'it is empty'})"
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


def _belongs_to(output: str, path: str) -> bool:
    if output == STDIO:
        return False
    base, real = os.path.realpath(output), os.path.realpath(path)
    return real == base or real.startswith(f"{base}.")
