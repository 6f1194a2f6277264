"""A llama.cpp context as numpy sees it: batches of tokens in, rows of logits out.

Sequence 0 holds the shared prefix; sequences 1 to `slots` are the slots. Knows nothing of requests.

**Same bits in any batch.** Given a range of `rows`, a token's logits depend on the tokens before it alone, not on the
batch it is decoded in. That takes three things (ggml-cpu/ops.cpp, llama-kv-cache.cpp, measured in docs/LOG.md):
flash attention, which skips the cells of other sequences; as many tokens and outputs in each step as the kernels of
one kind take (fewer are padded); and cells that lie in the order of their sequence's positions. llama.cpp puts tokens
into the first free cells, so a freed cell would be taken by a later token of a sequence that lies behind it. Hence
nothing is freed at once: what a slot forgets goes to sequence 0, and when there is enough of it, what is still needed
is moved to the front in order, and all cells behind it are free.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from genner_cli.engine import llama
from genner_cli.engine.adapter import changes_output
from genner_cli.engine.head import OutputHead, Row
from genner_cli.engine.model import Model, check_context, llama_errors
from genner_cli.errors import ModelError
from genner_cli.generation import EngineOptions, Rows, smaller_context

PREFIX = 0
UNUSED_CELLS = 256
"""Forgotten tokens that may stay in the KV cache before the others are moved together."""
_NONE, _ALL, _FEW, _PADDING = range(4)


def on_gpu(options: EngineOptions) -> bool:
    """Whether any layer is computed on a GPU."""
    return options.gpu_layers != 0 and bool(llama.llama_supports_gpu_offload())


def _output_head(model: Model, options: EngineOptions) -> OutputHead | None:
    """The shortcut to a few logits, where it gives what llama.cpp would."""
    adapted = model.adapter_header is not None and changes_output(model.adapter_header)
    if adapted or on_gpu(options) or not OutputHead.known(model.header):
        return None
    return OutputHead(model.path, model.header)


class _Run(NamedTuple):
    """Tokens of one sequence in the batch, up to the position `end`."""

    sequence: int
    end: int


class Context:
    """A context and its batch buffers. `close` frees it."""

    def __init__(
        self, model: Model, options: EngineOptions, threads: int, rows: Rows | None = None, *, states: bool = False
    ) -> None:
        """`rows`: the sizes of steps among which llama.cpp gives the same bits; None where there are none.
        `states`: `decode` gives the states after the last layer in place of logits.

        Raises ModelError where llama.cpp cannot make a context of this size.
        """
        check_context(model.path, model.header, options.context)
        self._ordered = rows is not None
        self._allowed = rows or Rows(1, options.batch_tokens, 1)
        most = min(options.batch_tokens, options.context)  # llama.cpp aborts on a batch larger than its context
        self.capacity = min(most, self._allowed.most)
        size = self._allowed.padded(self.capacity)
        self._cells = options.context + size - self.capacity + self._allowed.padded(1) - 1
        params = llama.llama_context_default_params()
        params.n_ctx = self._cells
        params.n_batch = params.n_ubatch = size
        params.n_seq_max = options.slots + 1
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.no_perf = True
        flash = self._ordered or (on_gpu(options) if options.flash_attention is None else options.flash_attention)
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._head = None if states else _output_head(model, options)
        if states:
            params.embeddings, params.pooling_type = True, llama.LLAMA_POOLING_TYPE_NONE
        if self._head:
            params.cb_eval = self._head.last_norm
        with llama_errors() as errors:
            self._handle = llama.llama_init_from_model(model.handle, params)
            if not self._handle:
                raise ModelError(
                    f"{model.path}: llama.cpp makes no context of {options.context} tokens"
                    f" ({'; '.join(errors) or 'no reason given'}); {smaller_context(options.context)}"
                )
        model.apply_adapter(self._handle)
        self._memory = llama.llama_get_memory(self._handle)
        self.width = llama.llama_model_n_embd_out(model.handle) if states else model.size
        self._get_rows = llama.llama_get_embeddings if states else llama.llama_get_logits
        self._ends = {PREFIX: 0}
        self._used_cells = 0
        self._allocate(params.n_batch)

    def _allocate(self, size: int) -> None:
        self._batch = llama.llama_batch_init(size, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (size,))
        self._token_address = ctypes.cast(self._batch.token, ctypes.c_void_p)
        self._positions = np.ctypeslib.as_array(self._batch.pos, (size,))
        self._outputs = np.ctypeslib.as_array(self._batch.logits, (size,))
        np.ctypeslib.as_array(self._batch.n_seq_id, (size,))[:] = 1
        self._sequences = np.zeros(size, np.int32)
        self._allocated = ctypes.cast(self._batch.seq_id, ctypes.c_void_p)
        self._addresses = self._sequences.ctypes.data + self._sequences.itemsize * np.arange(size, dtype=np.uintp)
        self._batch.seq_id = ctypes.cast(self._addresses.ctypes.data, type(self._batch.seq_id))
        self._kinds: list[int] = []
        self._runs: list[_Run] = []
        self.filled = 0

    def add(self, tokens: Sequence[int], position: int, sequence: int, outputs: int, *, few: bool = False) -> None:
        """Puts a sequence's next tokens, the first at this position, into the batch; the last `outputs` get logits.

        `few`: the rows of these outputs need not be arrays of all logits.
        """
        start, end = self.filled, self.filled + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = np.arange(position, position + len(tokens))
        self._kinds += [_NONE] * (len(tokens) - outputs) + [_FEW if few else _ALL] * outputs
        self._sequences[start:end] = sequence
        self._runs.append(_Run(sequence, position + len(tokens)))
        self.filled = end

    def decode(self) -> Sequence[Row] | None:
        """Runs the batch and empties it; None where the KV cache has no room left (llama_decode).

        Gives a row of logits, or a state, for each output asked for, in order, valid until the next call. Raises
        ModelError where llama.cpp fails.
        """
        real, runs = self.filled, self._runs.copy()
        kinds = self._padded()
        self._batch.n_tokens, self.filled, self._runs, self._kinds = self.filled, 0, [], []
        if self._ordered and not self._find_cells(self._batch.n_tokens):
            return None
        if self._head:
            self._head.keep(states=_FEW in kinds, stop=_ALL not in kinds)
        status = llama.llama_decode(self._handle, self._batch)
        if status == 1:
            return None
        if status:
            raise ModelError(
                f"llama.cpp failed to decode a batch (status {status}); try a smaller --batch-tokens or --context"
            )
        self._ends.update(runs)
        if self._batch.n_tokens > real:
            self._remove(runs[-1].sequence, runs[-1].end)
        return self._rows(kinds)

    def decode_embeddings(self, rows: NDArray[np.float32], position: int, sequence: int) -> None:
        """Decodes embeddings (tokens, width) as a sequence's next tokens, without logits, as a step of their own:
        a batch of llama.cpp holds tokens or embeddings. The batch must be empty."""
        self.add([0] * len(rows), position, sequence, outputs=0)
        values = np.zeros((self._allowed.padded(len(rows)), rows.shape[1]), np.float32)
        values[: len(rows)] = rows
        self._batch.token = None
        self._batch.embd = values.ctypes.data_as(type(self._batch.embd))
        try:
            self.decode()
        finally:
            self._batch.token = ctypes.cast(self._token_address, type(self._batch.token))
            self._batch.embd = None

    def _rows(self, kinds: Sequence[int]) -> list[Row]:
        """`kinds`: of all outputs that llama.cpp computed."""
        states = self._head.rows() if self._head and _FEW in kinds else None
        logits = self._logits(len(kinds)) if _ALL in kinds or (_FEW in kinds and not states) else []
        return [
            states[row] if states and kind == _FEW else logits[row]
            for row, kind in enumerate(kinds)
            if kind != _PADDING
        ]

    def _logits(self, count: int) -> Sequence[Row]:
        pointer = ctypes.cast(self._get_rows(self._handle), ctypes.POINTER(ctypes.c_float))
        return list(np.ctypeslib.as_array(pointer, (count, self.width)))

    def _padded(self) -> list[int]:
        """Fills the batch up to the least number of tokens and outputs, with what is forgotten afterwards. Gives the
        kinds of all outputs."""
        real, last = self.filled, self._runs[-1]
        missing = self._allowed.padded(real) - real
        if missing:
            self.add([0] * missing, last.end, last.sequence, outputs=0)
        kinds = self._kinds
        count = len(kinds) - kinds.count(_NONE)
        for _ in range(self._allowed.padded(count) - count if count else 0):
            kinds[kinds.index(_NONE)] = _PADDING
        self._outputs[: len(kinds)] = [kind != _NONE for kind in kinds]
        return [kind for kind in kinds if kind != _NONE]

    def synchronize(self) -> None:
        """Waits until the last batch is done (llama_synchronize): without logits to read, a GPU works on."""
        llama.llama_synchronize(self._handle)

    def share_prefix(self, sequence: int) -> None:
        """Lets a sequence continue from the prefix, without a copy (llama_memory_seq_cp)."""
        self._ends[sequence] = self._ends[PREFIX]
        llama.llama_memory_seq_cp(self._memory, PREFIX, sequence, 0, self._ends[PREFIX])

    def forget(self, sequence: int, start: int = 0) -> None:
        """Removes a sequence's tokens from this position on; the prefix may be forgotten when no slot shares it."""
        if sequence == PREFIX:
            llama.llama_memory_clear(self._memory, False)
            self._ends, self._used_cells = {PREFIX: 0}, 0
        elif sequence in self._ends:
            self._remove(sequence, start)
            if start:
                self._ends[sequence] = start
            else:
                del self._ends[sequence]

    def _remove(self, sequence: int, start: int) -> None:
        """llama_memory_seq_rm; where cells have to lie in order, they are not free yet (`_move_together`)."""
        if self._ordered:
            llama.llama_memory_seq_cp(self._memory, sequence, PREFIX, max(start, self._ends[PREFIX]), -1)
        if not llama.llama_memory_seq_rm(self._memory, sequence, start, -1):
            raise ModelError(f"llama.cpp cannot remove the end of a sequence of this model, from token {start} on")

    def _find_cells(self, count: int) -> bool:
        """Whether `count` tokens fit behind all others, which are moved together if that is due."""
        prefix = self._ends[PREFIX]
        needed = prefix + sum(end - prefix for end in self._ends.values()) + count
        if needed > self._cells:
            return False
        if self._used_cells + count > min(self._cells, needed + UNUSED_CELLS):
            self._move_together()
        self._used_cells += count
        return True

    def _move_together(self) -> None:
        """Frees what was forgotten: the other cells are copied out, and back in behind the prefix."""
        prefix = self._ends[PREFIX]
        own = {sequence: end - prefix for sequence, end in self._ends.items() if end > prefix}
        states = {}
        for sequence in own:
            llama.llama_memory_seq_rm(self._memory, sequence, 0, prefix)
            states[sequence] = self._state(sequence)
            llama.llama_memory_seq_rm(self._memory, sequence, -1, -1)
        llama.llama_memory_seq_rm(self._memory, PREFIX, prefix, -1)
        for sequence, state in states.items():
            if not llama.llama_state_seq_set_data(self._handle, state, len(state), sequence):
                raise ModelError("llama.cpp cannot move cells of the KV cache; try a larger --context")
            llama.llama_memory_seq_cp(self._memory, PREFIX, sequence, 0, prefix)
        self._used_cells = prefix + sum(own.values())

    def _state(self, sequence: int) -> Any:
        """Keys and values of a sequence's tokens (llama_state_seq_get_data)."""
        size = llama.llama_state_seq_get_size(self._handle, sequence)
        state = (ctypes.c_uint8 * size)()
        llama.llama_state_seq_get_data(self._handle, state, size, sequence)
        return state

    def close(self) -> None:
        """Frees the context, once."""
        if self._handle:
            self._batch.seq_id = ctypes.cast(self._allocated, type(self._batch.seq_id))
            llama.llama_batch_free(self._batch)
            llama.llama_free(self._handle)
            self._handle = None
