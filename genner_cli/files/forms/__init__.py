"""The forms of labelled data, one file each, all with the same two functions.

    read(path, options, lost)              its records, as `reading.read_documents` gives them: what is labelled stands
                                           in the field "entities", not yet checked, offsets in the unit of that side
    write(documents, path, options, lost)  a file, whole or not there

`lost(kind, example)` is told whatever one side says and the other cannot. SUFFIXES are those by which a form is known,
UNIT is what its offsets count where `options` does not say.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from genner_cli.data.offsets import Unit
from genner_cli.errors import UsageError
from genner_cli.files import COMPRESSIONS, STDIO, kind
from genner_cli.files.forms import (
    alpaca,
    brat,
    conll,
    docbin,
    doccano,
    jsonl,
    label_studio,
    parquet,
    prodigy,
    token_csv,
)
from genner_cli.files.forms.options import FormOptions, Lost
from genner_cli.files.reading import Record
from genner_cli.types import Document


class Form(Protocol):
    """What the module of a form has."""

    SUFFIXES: tuple[str, ...]
    UNIT: Unit

    def read(self, path: str, options: FormOptions, lost: Lost) -> Iterator[Record]: ...

    def write(self, documents: Iterable[Document], path: str, options: FormOptions, lost: Lost) -> None: ...


FORMS: Mapping[str, Form] = {
    "jsonl": jsonl,
    "conll": conll,
    "brat": brat,
    "docbin": docbin,
    "label-studio": label_studio,
    "doccano": doccano,
    "prodigy": prodigy,
    "alpaca": alpaca,
    "parquet": parquet,
    "csv": token_csv,
}


def form_of(path: str, *, option: str) -> str:
    """The name of the form that the path's suffix tells; a folder, or a name without a suffix, is brat.

    Raises `UsageError` where it tells none; `option` is what to name the form by then.
    """
    suffix = kind(path)
    for name, form in FORMS.items():
        if suffix in form.SUFFIXES:
            return name
    if path != STDIO and (os.path.isdir(path) or not suffix):
        return "brat"
    known = ", ".join(suffix for form in FORMS.values() for suffix in form.SUFFIXES)
    raise UsageError(
        f"{path}: its name does not tell the form; name it by {option} (one of {', '.join(FORMS)}), or let the name"
        f" end in one of {known}, perhaps followed by {' or '.join(COMPRESSIONS)}"
    )
