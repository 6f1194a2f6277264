"""What is synthesized, as one value, and the files of its stages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.hashing import fingerprint, hash_file, hash_files
from genner_cli.files.reading import expand, read_documents
from genner_cli.files.whole import write_whole
from genner_cli.files.writing import json_line
from genner_cli.prompting import VERSION_KEY
from genner_cli.running.backend import Backend
from genner_cli.running.examples import examples_of
from genner_cli.running.judges import voters
from genner_cli.running.judging import Voter
from genner_cli.running.spec import RunSpec
from genner_cli.running.supervised import SupervisedBackend
from genner_cli.running.writers import Author, author
from genner_cli.types import Document, Label

UNCERTAIN = 0.2
"""The share of annotations that is checked (the paper's cap)."""
STAGES = "stages"
"""The folder of the files of stages."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What is made, and by whom. `examples`: labelled documents that are shown to the author; `elsewhere`: texts with
    which no sentence may share eight words; `corrected`: the share of annotations that the voters check. `annotation`:
    an extraction without input and output, run by `backend`."""

    labels: tuple[Label, ...]
    author: Author
    annotation: RunSpec
    backend: Backend
    about: str = ""
    count: int = 1500
    folder: Path = Path()
    plan: Path = Path("plan.yaml")
    voters: tuple[Voter, ...] = ()
    examples: tuple[Document, ...] = ()
    elsewhere: tuple[str, ...] = ()
    corrected: float = UNCERTAIN
    seed: int = 0
    temperature: float = 1.0
    sources: dict[str, Any] = field(default_factory=dict)

    def stage(self, name: str) -> Path:
        """The file of a stage."""
        return self.folder / STAGES / name


def prepared(spec: RunSpec, annotator: str | None, examples: str | None, not_in: Sequence[str]) -> Synthesis:
    """By the models and files of a command, with `spec.model` for whatever no other model is named for.

    An annotator that genner trained is shown no examples. Raises UsageError, ModelError.
    """
    file = hub.resolve(annotator or spec.model, download=spec.download)
    trained = VERSION_KEY in read_header(file).metadata
    shown = None if trained else examples
    annotation = replace(spec, model=str(file), examples=shown, no_chat_template=spec.no_chat_template and not trained)
    elsewhere, hashes = _texts_of(not_in)
    return Synthesis(
        labels=spec.labels or (),
        author=author(spec.model, spec),
        annotation=annotation,
        backend=SupervisedBackend(),
        voters=tuple(voters([spec.model], spec)),
        examples=examples_of(replace(spec, examples=examples)) if examples else (),
        elsewhere=elsewhere,
        sources={
            "annotator": {"file": str(file), "content": fingerprint([file])},
            "examples": hash_files(map(Path, expand([examples]))) if examples else None,
            "not-in": hashes,
        },
    )


def _texts_of(patterns: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """The texts of files that must not be trained on, and hashes of the files. Raises UsageError."""
    paths = expand(patterns) if patterns else []
    if STDIO in paths:
        raise UsageError(
            "--not-in: standard input can be read once alone, and a resumed run reads it again; name a file"
        )
    texts = []
    for each in read_documents(paths):
        if not isinstance(each, Document):
            raise UsageError(f"--not-in: {each.message}")
        texts.append(each.text)
    return tuple(texts), {path: hash_file(Path(path)) for path in paths}


def write_records(path: Path, records: Iterable[dict[str, Any]]) -> None:
    """Writes the file of a stage, whole or not at all."""
    write_whole(path, b"".join(map(json_line, records)))


def records_of(path: Path) -> list[Document]:
    """The records of a stage, with all of their fields."""

    def sound() -> Iterator[Document]:
        for each in read_documents([str(path)], dropped=()):
            if not isinstance(each, Document):
                raise UsageError(f"{each.message}; the file was changed, start over with --restart")
            yield each

    return list(sound())
