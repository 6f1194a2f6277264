"""One GGUF loaded by llama.cpp: its metadata, its vocabulary, text to ids.

Takes a path, gives a `Model`. Must give the same ids as `training.tokens` (invariant 3).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import llama_cpp as llama

from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.locking import Vocabulary, plain_ids
from genner_cli.types import Piece

_NEVER_WRITTEN = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN | llama.LLAMA_TOKEN_ATTR_UNUSED
_LOG_LEVEL_ERROR = 4
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


class Model:
    """A loaded model. `close` frees it; also a context manager."""

    def __init__(self, path: Path, *, gpu_layers: int = -1) -> None:
        """Loads a GGUF; `gpu_layers` -1 puts all layers on a GPU if there is one.

        Raises ModelError where the file is missing, broken, or larger than the memory there is.
        """
        header = read_header(path)
        self.path = path
        self.header = header
        check_memory(path, header.file_bytes, "the model's weights")
        with llama_errors() as errors:
            llama.llama_backend_init()
            params = loading_parameters()
            params.n_gpu_layers = gpu_layers
            self.handle = llama.llama_model_load_from_file(str(path).encode(), params)
            if not self.handle:
                raise ModelError(f"{path}: llama.cpp cannot load it ({'; '.join(errors) or 'no reason given'})")
        self._vocab = llama.llama_model_get_vocab(self.handle)
        self.size = llama.llama_vocab_n_tokens(self._vocab)
        self.trained_context = llama.llama_model_n_ctx_train(self.handle)
        self._plain = lru_cache(maxsize=64)(self._plain_ids)  # prompt, lock and draft ask for the same text

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Frees the model; contexts on it must be freed before."""
        if self.handle:
            llama.llama_model_free(self.handle)
            self.handle = None

    @cached_property
    def metadata(self) -> dict[str, str]:
        """The GGUF's `genner.*` pairs and its chat template (llama_model_meta_val_str)."""
        wanted = [key for key in self.header.metadata if key.startswith("genner.") or key == "tokenizer.chat_template"]
        return {key: str(self.header.metadata[key]) for key in wanted}

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The bytes of every token; control, unknown and unused ones may never be written."""
        pieces: list[bytes | None] = []
        added = {}
        for id in range(self.size):
            kind = llama.llama_vocab_get_attr(self._vocab, id)
            piece = None if kind & _NEVER_WRITTEN or self.ends(id) else self.piece(id)
            if piece and kind & llama.LLAMA_TOKEN_ATTR_USER_DEFINED:
                added[piece] = id
                piece = None
            pieces.append(piece or None)
        return Vocabulary(pieces, added)

    @cached_property
    def _added_texts(self) -> list[str]:
        """Texts that llama_tokenize reads as one added token wherever they stand."""
        added = llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_USER_DEFINED | llama.LLAMA_TOKEN_ATTR_UNKNOWN
        kinds = ((id, llama.llama_vocab_get_attr(self._vocab, id)) for id in range(self.size))
        texts = (self.piece(id).decode(errors="ignore") for id, kind in kinds if kind & added)
        return [text for text in texts if text]

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
        """Ids of text read as plain characters: never a control or user-defined token."""
        return list(self._plain(text))

    def _plain_ids(self, text: str) -> tuple[int, ...]:
        try:
            return tuple(
                plain_ids(text, self._added_texts, lambda part: self._encode(part, False), self.vocabulary.id_of)
            )
        except KeyError as error:
            raise ModelError(f"{self.path}: the vocabulary has no token for byte {error}; use another model") from error

    def pieces(self, text: str) -> list[bytes]:
        """The bytes of the canonical tokens of a plain text."""
        return [piece for id in self.plain(text) if (piece := self.vocabulary.pieces[id]) is not None]

    def prompt(self, pieces: Sequence[Piece]) -> list[int]:
        """Ids of a prompt, each piece on its own, without BOS."""
        return [
            id
            for piece in pieces
            for id in (self._encode(piece.text, True) if piece.literal else self.plain(piece.text))
        ]

    def _encode(self, text: str, special: bool) -> list[int]:
        data = text.encode()
        buffer = (llama.llama_token * (len(data) + 8))()
        count = llama.llama_tokenize(self._vocab, data, len(data), buffer, len(buffer), False, special)
        return list(buffer[:count])


def loading_parameters(defaults: Callable[[], Any] = llama.llama_model_default_params) -> Any:
    """llama.cpp's defaults, but without its AMX buffers: products with them crash on some machines
    (ggml_backend_amx_mul_mat, ggml-org/llama.cpp issue 20824)."""
    params = defaults()
    params.use_extra_bufts = not _has_amx()
    return params


def _has_amx() -> bool:
    try:
        return " amx_tile" in Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False


def check_memory(path: Path, needed: int, what: str) -> None:
    """Raises ModelError if fewer bytes are free than needed."""
    free = _free_memory()
    if free is not None and needed > free:
        raise ModelError(
            f"{path}: {what} take {needed / 2**30:.1f} GiB and {free / 2**30:.1f} GiB are free;"
            " use a smaller quantization, a smaller --context, or a smaller model"
        )


def _free_memory() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return None
