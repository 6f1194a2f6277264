"""A folder of one probe: what it asks, and the result of each stage that is done, whole or not there."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from genner_cli.data.statistics import is_nested
from genner_cli.errors import UsageError
from genner_cli.files import STDIO
from genner_cli.files.gold import read_gold_files
from genner_cli.files.hashing import hash_files
from genner_cli.files.reading import expand
from genner_cli.files.whole import make_folder
from genner_cli.files.writing import Writer, encode_value
from genner_cli.running.spec import RunSpec
from genner_cli.training.options import TrainOptions
from genner_cli.types import Document

CONFIGURATION = "probe.json"
Value = dict[str, Any]


def files_hash(*patterns: str) -> str:
    """What the files hold, as the probe remembers it. Raises UsageError for standard input."""
    if STDIO in patterns:
        raise UsageError("a probe must know its files again to resume; name files, not '-'")
    return hash_files(map(Path, expand(patterns)))


def read_both(
    train: str, valid: str, options: TrainOptions, spec: RunSpec
) -> tuple[tuple[Document, ...], tuple[Document, ...]]:
    """The documents to learn from and those to measure on."""
    train_documents, valid_documents = (
        read_gold_files([path], text_field=spec.text_field, id_field=spec.id_field, names=spec.tree.names())
        for path in (train, valid)
    )
    if options.depth == 1 and (is_nested(train_documents) or is_nested(valid_documents)):
        raise UsageError("the data have entities inside entities; give --nested")
    return train_documents, valid_documents


class ProbeFolder:
    """`path` holds `probe.json`, which says what is asked, and a JSON file for each stage."""

    def __init__(self, path: Path, configuration: Mapping[str, Any]) -> None:
        """Raises UsageError where the folder holds another probe, or something else."""
        self.path = path
        asked = json.loads(encode_value(dict(configuration)))
        known = path / CONFIGURATION
        if known.exists():
            _refuse_other(path, _read(known), asked)
            return
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            raise UsageError(f"{path} exists already and holds no probe; name a new folder after -o")
        make_folder(path)
        self._write(known, asked)

    def stage(self, name: str, make: Callable[[], Value]) -> Value:
        """The value of a stage: what stands in its file, else what `make` gives, which is written."""
        path = self.path / f"{name}.json"
        if not path.exists():
            value = make()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._write(path, value)
        return _read(path)

    def _write(self, path: Path, value: Value) -> None:
        with Writer(str(path), suffixes=(".json",)) as writer:
            writer.write(encode_value(value))


def _read(path: Path) -> Value:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{path}: is broken ({error}); remove it, and it is made again") from error


def _refuse_other(path: Path, before: Value, asked: Value) -> None:
    names = [name for name in {**before, **asked} if before.get(name) != asked.get(name)]
    if names:
        raise UsageError(
            f"{path} holds another probe: {'; '.join(_change(name, before, asked) for name in names)};"
            " give the same, or name a new folder after -o"
        )


def _change(name: str, before: Value, asked: Value) -> str:
    """How one entry differs; of a mapping, only what differs in it."""
    old, new = before.get(name), asked.get(name)
    if isinstance(old, dict) and isinstance(new, dict):
        keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
        old, new = ({key: side.get(key) for key in keys} for side in (old, new))
    return f"{name} was {old!r} and is {new!r}"
