"""What is to be exported -> what that is, and which files are to be made; or why it cannot be exported.

Loads no torch, which takes seconds, so that a mistake is reported at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

from convert.quantize import file_type, read_imatrix, refuse_type_of_base
from convert.source import Source, base_of, read_source
from convert.transformers_folder import read_model_metadata
from genner_cli.engine.gguf_header import FILE_TYPES
from genner_cli.errors import UsageError
from genner_cli.generation import EngineOptions

Number = Literal["f32", "f16", "bf16"]
ADAPTER = "adapter"
"""The subject of findings on an adapter that is exported by itself."""


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What to make of a trained model.

    `types`: quantization types; `base`: reference of the base model, None for the one that the adapter names;
    `dtype`: number type of the unquantized GGUF, None for the model's own; `verify`: labelled documents to check with,
    None for those that training left; `check`: whether to check at all; `adapter_only`: a GGUF of the adapter itself.
    """

    types: tuple[str, ...] = ("Q4_K_M",)
    base: str | None = None
    download: bool = False
    dtype: Number | None = None
    verify: Path | None = None
    check: bool = True
    imatrix: Path | None = None
    adapter_only: bool = False
    engine: EngineOptions = field(default_factory=EngineOptions)


class Request(NamedTuple):
    """What is exported, and the file of each type."""

    source: Source
    names: dict[str, Path]


def read_request(folder: Path, out: Path, options: ExportOptions) -> Request:
    """Raises UsageError and ModelError for what cannot be exported: folder, base, documents, type, matrix or name."""
    names = final_names(out, options)
    source = read_source(folder, verify=options.verify, check=options.check)
    if not source.is_adapter and (options.adapter_only or options.base):
        raise UsageError(f"{folder} is a whole model, not an adapter; drop --adapter-only and --base")
    if source.is_virtual and not options.adapter_only:
        raise UsageError(f"{folder} holds virtual tokens, which change no weight of the base; give --adapter-only")
    metadata = read_model_metadata(folder)
    for type in names:
        refuse_type_of_base(type, metadata)
    if source.is_adapter:
        base_of(source, options.base, download=options.download)
    if options.imatrix:
        read_imatrix(options.imatrix)
    return Request(source, names)


def final_names(out: Path, options: ExportOptions) -> dict[str, Path]:
    """The file of each type: `out` itself for one, `model.Q8_0.gguf` and so on for several.

    Raises UsageError for a type that llama.cpp does not have, and for a name that does not end in .gguf.
    """
    if out.suffix != ".gguf":
        raise UsageError(f"{out}: a GGUF's name ends in .gguf; name it {out.name}.gguf")
    if options.adapter_only:
        return {ADAPTER: out}
    types = list(dict.fromkeys(FILE_TYPES[file_type(type)] for type in options.types))
    if len(types) == 1:
        return {types[0]: out}
    return {type: out.with_name(f"{out.stem}.{type}.gguf") for type in types}
