"""The output matrix, row by row: logits of a few tokens without those of all others.

Under a lock that leaves few tokens legal, most of what llama.cpp computes last, the product of the output matrix
with each hidden state, is never looked at (a quarter of the time of a 0.5B model). So the computation is stopped
after the last norm (`ggml_backend_sched_eval_callback` returns false), and the logits of the legal tokens alone are
computed here, from the same quantized weights. On a CPU only, and only for architectures known to do nothing
after that product.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine import llama
from genner_cli.engine.gguf_header import TENSOR_TYPES, Header, TensorInfo

PLAIN = frozenset({"llama", "qwen2", "qwen3", "phi3", "smollm3"})
"""Architectures whose logits are the output matrix times the last norm, and a bias if there is one."""
ALTERED = ("final_logit_softcapping", "logit_scale")
LAST_NORM = b"result_norm"
MOSTLY = 64
"""Legal tokens at one position; more are rare."""

_name = llama.function("ggml_get_name", ctypes.c_char_p, ctypes.c_void_p)
_bytes = llama.function("ggml_nbytes", ctypes.c_size_t, ctypes.c_void_p)
_get = llama.function(
    "ggml_backend_tensor_get", None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t
)


class _Traits(ctypes.Structure):
    """ggml_type_traits (ggml.h). `name` is an address: with another layout it may point anywhere."""

    _fields_ = (
        ("name", ctypes.c_void_p),
        ("block", ctypes.c_int64),
        ("interleave", ctypes.c_int64),
        ("bytes", ctypes.c_size_t),
        ("quantized", ctypes.c_bool),
        ("to_float", ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)),
    )


_traits = llama.function("ggml_get_type_traits", ctypes.POINTER(_Traits), ctypes.c_int)
_type_name = llama.function("ggml_type_name", ctypes.c_void_p, ctypes.c_int)
_block_size = llama.function("ggml_blck_size", ctypes.c_int64, ctypes.c_int)
_type_size = llama.function("ggml_type_size", ctypes.c_size_t, ctypes.c_int)
_is_quantized = llama.function("ggml_is_quantized", ctypes.c_bool, ctypes.c_int)


@cache
def _traits_hold() -> bool:
    """Whether this llama.cpp's ggml_type_traits is laid out as `_Traits` is, by what ggml's functions read from it."""
    for kind in TENSOR_TYPES:
        traits = _traits(kind).contents
        found = traits.name, traits.block, traits.bytes, traits.quantized
        if found != (_type_name(kind), _block_size(kind), _type_size(kind), _is_quantized(kind)):
            logging.getLogger("genner").warning(
                "this llama.cpp lays out ggml_type_traits in another way: all logits are computed, which is slower;"
                f" pip install --force-reinstall {llama.PACKAGE}"
            )
            return False
    return True


class Row(Protocol):
    """The logits of one position, by token ids: an array of all, or a hidden state from which they are computed."""

    def __getitem__(self, ids: list[int], /) -> NDArray[np.float32]: ...


class OutputHead:
    """The output matrix of a GGUF file, read where it lies.

    `last_norm` is to be the context's `cb_eval`: what the last norm gives is kept for `rows`, and the decode ends
    there, as `keep` says.
    """

    def __init__(self, model: Path, header: Header) -> None:
        matrix, bias = _matrix(header), header.tensors.get("output.bias")
        self.width, size = matrix.shape
        traits = _traits(matrix.kind).contents
        self._to_float = traits.to_float
        self._row_bytes = self.width // traits.block * traits.bytes
        self._weights = np.memmap(model, np.uint8, "r", matrix.offset, (size * self._row_bytes,))
        self._bias = np.memmap(model, np.float32, "r", bias.offset, (size,)) if bias else None
        self._source = self._weights.ctypes.data
        self._make_room(MOSTLY)
        self._states = np.empty((0, self.width), np.float32)
        self._keeping = self._stopping = False
        self._node = self._norm_node = 0
        self.last_norm = llama.ggml_backend_sched_eval_callback(self._on_node)

    @staticmethod
    def known(header: Header) -> bool:
        """Whether this model's logits are known to be this product, of a matrix that ggml can read by rows."""
        architecture = header.metadata.get("general.architecture")
        altered = any(f"{architecture}.{key}" in header.metadata for key in ALTERED)
        if architecture not in PLAIN or altered or not _traits_hold():
            return False
        return bool(_traits(_matrix(header).kind).contents.to_float)

    def keep(self, *, states: bool, stop: bool) -> None:
        """Whether the next decode keeps the last hidden states, and whether it ends with them."""
        if not self._states.size:
            self._norm_node = 0  # it was not found there: all names are looked at
        self._keeping, self._stopping = states or stop, stop
        self._node = 0
        self._states = self._states[:0]

    def _on_node(self, tensor: int, ask: bool, _: object) -> bool:
        """Asked: whether this node's data are wanted. Then, with the data there: whether to continue.

        A graph has up to a thousand nodes, so names are looked at from the place on where the norm was before.
        """
        if ask:
            self._node += 1
            if self._node < self._norm_node or not self._keeping or _name(tensor) != LAST_NORM:
                return False
            self._norm_node = self._node
            return True
        self._states = np.empty((_bytes(tensor) // (4 * self.width), self.width), np.float32)
        _get(tensor, self._states.ctypes.data, 0, self._states.nbytes)
        return not self._stopping

    def _make_room(self, ids: int) -> None:
        """For the weights of this many tokens, which are dequantized anew for each row of logits."""
        self._dequantized = np.empty((ids, self.width), np.float32)
        self._target = self._dequantized.ctypes.data

    def rows(self) -> list[Row]:
        """One for each output of the last batch."""
        return [_HiddenState(self, state) for state in self._states]

    def logits(self, state: NDArray[np.float32], ids: list[int]) -> NDArray[np.float32]:
        """state: (width,). Gives (len(ids),)."""
        if len(ids) > len(self._dequantized):
            self._make_room(2 * len(ids))
        target = self._target
        for id in ids:
            self._to_float(self._source + id * self._row_bytes, target, self.width)
            target += 4 * self.width
        found = self._dequantized[: len(ids)] @ state
        return found if self._bias is None else found + self._bias[ids]


class _HiddenState:
    __slots__ = ("_head", "_state")

    def __init__(self, head: OutputHead, state: NDArray[np.float32]) -> None:
        self._head = head
        self._state = state

    def __getitem__(self, ids: list[int], /) -> NDArray[np.float32]:
        return self._head.logits(self._state, ids)


def _matrix(header: Header) -> TensorInfo:
    """The output matrix; the embeddings where both are one."""
    return header.tensors.get("output.weight") or header.tensors["token_embd.weight"]
