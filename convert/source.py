"""The folder that is to be exported -> what it is, and what its export is checked with.

An adapter or a whole model as `genner train` leaves it, or a base model, on whose GGUF adapters can be applied. Knows
nothing of GGUF. Reading a folder loads no torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from convert.base import base_folder, base_path
from convert.transformers_folder import read_model_metadata, read_object
from genner_cli.errors import ModelError, ModelNotFound, UsageError
from genner_cli.files.gold import GoldData, read_gold
from genner_cli.files.reading import expand
from genner_cli.plurals import counted
from genner_cli.prompting import GENERAL_PROMPT, Instructions
from genner_cli.provenance import MODEL_METADATA_FILE
from genner_cli.training.gold import CHECKPOINT, VERIFY, label_set
from genner_cli.types import Document

ADAPTER_CONFIG = "adapter_config.json"
UNTRAINED = Instructions(GENERAL_PROMPT, "xml", 1, (), (), 2000)
"""What a base model is tried with; its GGUF says nothing of it."""
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Source:
    """`base`: the reference of the model that it was trained on, None for a base model; `documents` to check with."""

    folder: Path
    base: str | None
    instructions: Instructions
    documents: tuple[Document, ...]

    @property
    def is_adapter(self) -> bool:
        """Whether it is only what changes a base model."""
        return (self.folder / ADAPTER_CONFIG).exists()

    @property
    def is_virtual(self) -> bool:
        """Whether it is virtual tokens, which change no weight."""
        return self.is_adapter and read_object(self.folder / ADAPTER_CONFIG).get("peft_type") == "PROMPT_TUNING"


def read_source(folder: Path, *, verify: Path | None = None, check: bool = True) -> Source:
    """`verify`: labelled documents, None for those that training left; with `check` False none are read.

    Raises ModelError for a folder that is not whole, UsageError where there is nothing good to check with.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; give one that `genner train` has written")
    if not (folder / MODEL_METADATA_FILE).exists():
        return _base_model(folder, verify if check else None)
    words = read_model_metadata(folder)
    instructions = Instructions.from_metadata(words)
    if instructions is None:
        raise ModelError(f"{folder / MODEL_METADATA_FILE} does not say how the model was trained; train it with genner")
    documents = _documents(folder, verify, instructions) if check else ()
    return Source(folder, words.get("genner.base.reference"), instructions, documents)


def read_adapter_source(folder: Path, base: str | None, *, download: bool = False) -> Source:
    """As `read_source`, of an adapter, without documents. Raises UsageError for another folder, and ModelError where
    its base, or this other one, is not there."""
    source = read_source(folder, check=False)
    if not source.is_adapter:
        raise UsageError(f"{folder} is not an adapter; give a folder that `genner train` has written")
    base_of(source, base, download=download)
    return source


def base_of(source: Source, base: str | None, *, download: bool = False) -> str:
    """The reference of an adapter's base, or the other one that is given. Raises UsageError where there is none, and
    ModelError where it names no model."""
    reference = base or source.base
    if not reference:
        raise UsageError(f"{source.folder} does not name the base model that it was trained on; name it with --base")
    base_path(reference, download=download)
    return reference


def _base_model(folder: Path, verify: Path | None) -> Source:
    if (folder / CHECKPOINT).exists():
        raise ModelError(
            f"{folder} has no {MODEL_METADATA_FILE}: its training is not done; finish it with genner train --resume"
        )
    if not (folder / "config.json").exists():
        raise ModelNotFound(
            f"{folder} has no {MODEL_METADATA_FILE} and no config.json; give a folder that `genner train` has written"
        )
    documents = _good(verify, read_gold(expand([str(verify)]))) if verify else ()
    labels = label_set(documents)
    instructions = replace(UNTRAINED, labels=labels, default_labels=tuple(label.name for label in labels))
    return Source(folder, None, instructions, documents)


def _documents(folder: Path, verify: Path | None, instructions: Instructions) -> tuple[Document, ...]:
    path = verify or folder / VERIFY
    if verify is None and not path.exists():
        raise UsageError(f"{folder} has no {VERIFY}; name labelled documents with --verify, or give --no-verify")
    names = [label.name for label in instructions.labels]
    return _good(path, read_gold(expand([str(path)]), labels=names, nested=instructions.depth > 1))


def _good(path: Path, data: GoldData) -> tuple[Document, ...]:
    """The documents of data without a problem."""
    if data.problems:
        problems, it = counted(len(data.problems), "problem"), "it" if len(data.problems) == 1 else "them"
        error = UsageError(f"{path}: {problems}, and {counted(len(data.documents), 'valid document')}; correct {it}")
        for problem in data.problems[:_SHOWN]:
            error.add_note(problem.message)
        raise error
    if not data.documents:
        raise UsageError(f"{path} holds no document; name others with --verify")
    return data.documents


@contextmanager
def opened(
    source: Source, merged: Path, *, base: str | None = None, download: bool = False
) -> Iterator[tuple[Path, Path | None]]:
    """The folder of the whole model, and that of the base under an adapter, which is merged into `merged`
    if it changes weights.

    `base`: another reference of the base. Raises ModelError where it cannot be found or is not the adapter's.
    """
    if not source.is_adapter:
        yield source.folder, None
        return
    from convert.merge_lora import merge_lora  # not before: it loads torch

    with base_folder(base_of(source, base, download=download), download=download) as folder:
        yield folder if source.is_virtual else merge_lora(folder, source.folder, merged), folder
