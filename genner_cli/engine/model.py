"""One GGUF loaded by llama.cpp: its metadata, its vocabulary, text to ids.

Takes a path, gives a `Model`. Must give the same ids as `training.tokens` (invariant 3).
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine import llama, virtual_tokens
from genner_cli.engine.adapter import metadata_of, refuse_as_model, refuse_misfit, refuse_other_base
from genner_cli.engine.gguf_header import Header, read_header
from genner_cli.errors import ModelError
from genner_cli.locking import Vocabulary
from genner_cli.tokenizing import Segmenter
from genner_cli.types import Piece

_NEVER_WRITTEN = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN | llama.LLAMA_TOKEN_ATTR_UNUSED
_SPECIAL = {
    "bos_token": llama.llama_vocab_bos,
    "eos_token": llama.llama_vocab_eos,
    "sep_token": llama.llama_vocab_sep,
    "pad_token": llama.llama_vocab_pad,
}
_LOG_LEVEL_ERROR = 4
_SHARE = 0.8
"""Of the free memory that a suggested context may take: buffers and other programs need some as well."""
_ROUND = 1024
_log: list[str] = []


@llama.llama_log_callback  # type: ignore[untyped-decorator]
def _keep_errors(level: int, text: bytes, _: ctypes.c_void_p) -> None:
    if level == _LOG_LEVEL_ERROR:
        _log.append(text.decode(errors="replace").strip())


@contextmanager
def llama_errors() -> Iterator[list[str]]:
    """Keeps llama.cpp off stderr and collects its error lines of this block (llama_log_set)."""
    llama.llama_log_set(_keep_errors, ctypes.c_void_p())
    _log.clear()
    yield _log


class _Adapter(NamedTuple):
    """What an adapter GGUF adds to a model: what it says of itself, virtual tokens, or the header of a LoRA adapter."""

    metadata: Mapping[str, Any] = MappingProxyType({})
    tokens: NDArray[np.float32] = np.empty((0, 0), np.float32)
    lora: Header | None = None


class Model:
    """A loaded model. `close` frees it; also a context manager."""

    def __init__(
        self,
        path: Path,
        *,
        gpu_layers: int = -1,
        adapter: Path | None = None,
        tokens: int | None = None,
        made_of: Path | None = None,
    ) -> None:
        """Loads a GGUF, and an adapter GGUF on it; `gpu_layers` -1 puts all layers on a GPU if there is one.

        `tokens`: how many of the adapter's virtual tokens to use, None for all; with 0 the model is its base.
        `made_of`: the GGUF that this one is in another type of weights, if the adapter was trained on that. Raises
        ModelError where a file is missing, broken, or larger than the memory there is, and for an adapter that does
        not fit the model.
        """
        header = read_header(path)
        refuse_as_model(path, header)
        self.path = path
        self.header = header
        own = _read_adapter(adapter, made_of or path, header, tokens) if adapter else _Adapter()
        self._adapter_metadata = own.metadata
        self.virtual_tokens = own.tokens
        """(tokens, width): embeddings that stand at the end of every shared prefix."""
        self.adapter_header = own.lora
        """Of a LoRA adapter, which changes what weights compute."""
        self.file_bytes = header.file_bytes + (own.lora.file_bytes if own.lora else 0)
        check_memory(path, self.file_bytes, "the model's weights")
        self._load(gpu_layers, adapter if own.lora else None)
        self._vocab = llama.llama_model_get_vocab(self.handle)
        self.size = llama.llama_vocab_n_tokens(self._vocab)
        self.trained_context: int = llama.llama_model_n_ctx_train(self.handle)
        # Of a sequence's state nothing can be taken back: it is removed whole or not (llama_memory_recurrent::seq_rm).
        self.recurrent = bool(llama.llama_model_is_recurrent(self.handle) or llama.llama_model_is_hybrid(self.handle))

    def _load(self, gpu_layers: int, lora: Path | None) -> None:
        """Lets llama.cpp load the file and a LoRA adapter. Raises ModelError where it cannot."""
        with llama_errors() as errors:
            llama.llama_backend_init()
            params = loading_parameters()
            params.n_gpu_layers = gpu_layers
            params.kv_overrides = _no_first_blank()
            self.handle = llama.llama_model_load_from_file(str(self.path).encode(), params)
            if not self.handle:
                raise _cannot_load(self.path, self.header, errors)
            self._adapter = llama.llama_adapter_lora_init(self.handle, str(lora).encode()) if lora else None
            if lora and not self._adapter:
                self.close()
                raise ModelError(f"{lora}: llama.cpp cannot load it ({'; '.join(errors) or 'no reason given'})")

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model and its adapter; contexts on it must be freed before."""
        if self.handle:
            llama.llama_model_free(self.handle)
            self.handle = None

    def apply_adapter(self, context: Any) -> None:
        """Lets a context of this model compute with the adapter, if there is one (llama_set_adapters_lora)."""
        if self._adapter:
            adapters, scales = (ctypes.c_void_p * 1)(self._adapter), (ctypes.c_float * 1)(1.0)
            llama.llama_set_adapters_lora(context, adapters, 1, scales)

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The `genner.*` pairs of the adapter, or of the GGUF where that has none, and the chat template."""
        pairs = metadata_of(self.header.metadata, self._adapter_metadata)
        wanted = [key for key in pairs if key.startswith("genner.") or key == "tokenizer.chat_template"]
        return {key: str(pairs[key]) for key in wanted}

    @cached_property
    def special_tokens(self) -> dict[str, str]:
        """Texts of the special tokens that a chat template may write, by transformers' names."""
        ids = {name: look_up(self._vocab) for name, look_up in _SPECIAL.items()}
        return {name: self.piece(id).decode(errors="replace") for name, id in ids.items() if id >= 0}

    @cached_property
    def begins(self) -> str:
        """The text of `begin_ids`."""
        return "".join(self.piece(id).decode(errors="replace") for id in self.begin_ids)

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token; control, unknown and unused ones may never be written.

        User-defined tokens of blanks only are text like others (third-party GGUFs of Gemma have such line feeds).
        """
        pieces: list[bytes | None] = []
        added = {}
        ends = set(self.end_ids)
        for id in range(self.size):
            kind = llama.llama_vocab_get_attr(self._vocab, id)
            piece = None if kind & _NEVER_WRITTEN or id in ends else self.piece(id)
            if piece and kind & llama.LLAMA_TOKEN_ATTR_USER_DEFINED and not piece.isspace():
                added[piece] = id
                piece = None
            pieces.append(piece or None)
        return Vocabulary(pieces, added)

    @cached_property
    def _segmenter(self) -> Segmenter:
        """Text to ids; llama_tokenize reads these texts as one token wherever they stand."""
        kinds = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        ids = [id for id in range(self.size) if llama.llama_vocab_get_attr(self._vocab, id) & kinds]
        texts = {id: self.piece(id).decode(errors="ignore") for id in ids if self.vocabulary.pieces[id] is None}
        added = {text: id for id, text in texts.items() if text}
        return Segmenter(self.vocabulary, added, self._encode)

    def piece(self, id: int) -> bytes:
        """The bytes of a token, special ones included (llama_token_to_piece)."""
        size = 64
        while True:
            buffer = ctypes.create_string_buffer(size)
            written = llama.llama_token_to_piece(self._vocab, id, buffer, size, 0, True)
            if written >= 0:
                return buffer.raw[:written]
            size = -written

    def ends(self, id: int) -> bool:
        """Whether a token ends a completion (llama_vocab_is_eog)."""
        return bool(llama.llama_vocab_is_eog(self._vocab, id))

    @cached_property
    def end_ids(self) -> list[int]:
        """All tokens that end a completion."""
        return [id for id in range(self.size) if self.ends(id)]

    @cached_property
    def begin_ids(self) -> list[int]:
        """What the model expects before every prompt: BOS, if it was trained so."""
        return [llama.llama_vocab_bos(self._vocab)] if llama.llama_vocab_get_add_bos(self._vocab) else []

    def plain(self, text: str) -> list[int]:
        """Ids of text read as plain characters: never a control or user-defined token.

        Raises DataError where the vocabulary cannot write the text.
        """
        return self._segmenter.plain(text)

    def pieces(self, text: str) -> list[bytes]:
        """The bytes of the canonical tokens of a plain text."""
        return [piece for id in self.plain(text) if (piece := self.vocabulary.pieces[id]) is not None]

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a prompt, each piece on its own, without BOS."""
        return self._segmenter.prompt(pieces)

    def prefix_ids(self, prefix: Sequence[Piece]) -> list[int]:
        """Ids of what stands before every text, with BOS."""
        return self.begin_ids + self.prompt(prefix)

    def prefix_length(self, prefix: Sequence[Piece]) -> int:
        """Positions that what stands before every text takes, with virtual tokens."""
        return len(self.prefix_ids(prefix)) + len(self.virtual_tokens)

    def _encode(self, text: str) -> list[int]:
        data = text.encode()
        buffer = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self._vocab, data, len(data), buffer, len(buffer), False, False)
        return list(buffer[:count])


def _cannot_load(path: Path, header: Header, errors: Sequence[str]) -> ModelError:
    architecture = header.metadata.get("general.architecture")
    if any("unknown model architecture" in error for error in errors):
        return ModelError(
            f"{path}: the llama.cpp in {llama.PACKAGE} {version(llama.PACKAGE)} does not know its architecture"
            f" {architecture!r}, which may be newer; update with pip install --upgrade llama-cpp-python, or use a model"
            " of another architecture"
        )
    return ModelError(f"{path}: llama.cpp cannot load it ({'; '.join(errors) or 'no reason given'})")


def _read_adapter(path: Path, base: Path, of_base: Header, tokens: int | None) -> _Adapter:
    """`base`: the model that it must have been trained on; `tokens`: how many virtual tokens are asked for.

    Raises ModelError where it does not fit, and where tokens are asked for that it does not have.
    """
    header = read_header(path)
    if virtual_tokens.are_in(header):
        refuse_other_base(path, header, base, of_base)
        virtual_tokens.refuse_width(path, header, of_base)
        metadata = {} if tokens == 0 else header.metadata
        return _Adapter(metadata, virtual_tokens.read_virtual_tokens(path, header, tokens))
    refuse_misfit(path, header, base, of_base)
    if tokens is not None:
        raise ModelError(f"{path}: holds no virtual tokens, of which {tokens} are asked for; drop :{tokens}")
    return _Adapter(header.metadata, lora=header)


def loading_parameters(defaults: Callable[[], Any] = llama.llama_model_default_params) -> Any:
    """llama.cpp's defaults, but without its AMX buffers: products with them crash on some machines
    (ggml_backend_amx_mul_mat, ggml-org/llama.cpp issue 20824)."""
    params = defaults()
    params.use_extra_bufts = not _has_amx()
    return params


def _no_first_blank() -> Any:
    """Metadata to override: no blank is put before a text, so that tokens spell what they were made of."""
    overrides = (llama.llama_model_kv_override * 2)()  # the second one, without a key, ends the list
    overrides[0].key = b"tokenizer.ggml.add_space_prefix"
    overrides[0].tag = llama.LLAMA_KV_OVERRIDE_TYPE_BOOL  # the value is false already
    return overrides


def _has_amx() -> bool:
    try:
        return " amx_tile" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False


def check_memory(path: Path, needed: int, what: str) -> None:
    """Raises ModelError if fewer bytes are free than needed."""
    free = free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"{path}: {what} take {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free;"
            " use a smaller quantization, or a smaller model"
        )


def check_context(path: Path, header: Header, context: int) -> None:
    """Raises ModelError if fewer bytes are free than the KV cache needs, with a context that would fit."""
    needed, free = header.kv_cache_bytes(context), free_memory()
    if free is None or needed <= free:
        return
    fitting = int(context * free * _SHARE / needed) // _ROUND * _ROUND
    remedy = f"use --context {fitting}, or a smaller one" if fitting else "use a smaller --context, or a smaller model"
    raise ModelError(
        f"{path}: {context} tokens of --context take {needed / 2**30:,.1f} GiB and {free / 2**30:,.1f} GiB are free;"
        f" {remedy}"
    )


def free_memory() -> int | None:
    """Bytes that new allocations may take; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return None
