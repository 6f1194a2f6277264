"""A llama.cpp context as numpy sees it: batches of tokens in, rows of logits out.

Sequence 0 holds the shared prefix; sequences 1 to `slots` are the slots. Knows nothing of requests.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import llama_cpp as llama
import numpy as np

from genner_cli.engine.adapter import changes_output
from genner_cli.engine.head import OutputHead, Row
from genner_cli.engine.model import Model, check_context, llama_errors
from genner_cli.errors import ModelError
from genner_cli.generation import EngineOptions, smaller_context

PREFIX = 0


def _on_gpu(options: EngineOptions) -> bool:
    return options.gpu_layers != 0 and bool(llama.llama_supports_gpu_offload())


def _output_head(model: Model, options: EngineOptions) -> OutputHead | None:
    """The shortcut to a few logits, where it gives what llama.cpp would."""
    adapted = model.adapter_header is not None and changes_output(model.adapter_header)
    if adapted or _on_gpu(options) or not OutputHead.known(model.header):
        return None
    return OutputHead(model.path, model.header)


class Context:
    """A context and its batch buffers. `close` frees it."""

    def __init__(self, model: Model, options: EngineOptions, threads: int) -> None:
        """Raises ModelError where llama.cpp cannot make a context of this size."""
        check_context(model.path, model.header, options.context)
        params = llama.llama_context_default_params()
        params.n_ctx = options.context
        params.n_batch = params.n_ubatch = options.batch_tokens
        params.n_seq_max = options.slots + 1
        params.n_threads = params.n_threads_batch = threads
        params.kv_unified = True
        params.no_perf = True
        flash = _on_gpu(options) if options.flash_attention is None else options.flash_attention
        params.flash_attn_type = llama.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else llama.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self._head = _output_head(model, options)
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
        self._vocabulary_size = model.size
        self.capacity = min(options.batch_tokens, options.context)  # llama.cpp aborts on a batch beyond its context
        self._allocate(self.capacity)

    def _allocate(self, size: int) -> None:
        self._batch = llama.llama_batch_init(size, 0, 1)
        self._tokens = np.ctypeslib.as_array(self._batch.token, (size,))
        self._positions = np.ctypeslib.as_array(self._batch.pos, (size,))
        self._outputs = np.ctypeslib.as_array(self._batch.logits, (size,))
        np.ctypeslib.as_array(self._batch.n_seq_id, (size,))[:] = 1
        self._sequences = [np.ctypeslib.as_array(self._batch.seq_id[at], (1,)) for at in range(size)]
        self.filled = 0

    def add(self, tokens: Sequence[int], position: int, sequence: int, outputs: int) -> None:
        """Puts a sequence's next tokens, the first at this position, into the batch; the last `outputs` get logits."""
        start, end = self.filled, self.filled + len(tokens)
        self._tokens[start:end] = tokens
        self._positions[start:end] = np.arange(position, position + len(tokens))
        self._outputs[start : end - outputs] = 0
        self._outputs[end - outputs : end] = 1
        for at in range(start, end):
            self._sequences[at][0] = sequence
        self.filled = end

    def decode(self, few: bool = False) -> Sequence[Row] | None:
        """Runs the batch and empties it; None where the KV cache has no room left (llama_decode).

        Gives a row of logits for each output asked for, in order, valid until the next call; `few`: they need not be
        arrays of all logits. Raises ModelError where llama.cpp fails.
        """
        self._batch.n_tokens, self.filled = self.filled, 0
        if self._head:
            self._head.stopping = few
        status = llama.llama_decode(self._handle, self._batch)
        if status == 1:
            return None
        if status:
            raise ModelError(
                f"llama.cpp failed to decode a batch (status {status}); try a smaller --batch-tokens or --context"
            )
        count = int(np.count_nonzero(self._outputs[: self._batch.n_tokens]))
        if not count:
            return []
        if self._head and few:
            return self._head.rows()
        pointer = ctypes.cast(llama.llama_get_logits(self._handle), ctypes.POINTER(ctypes.c_float))
        return list(np.ctypeslib.as_array(pointer, (count, self._vocabulary_size)))

    def synchronize(self) -> None:
        """Waits until the last batch is done (llama_synchronize): without logits to read, a GPU works on."""
        llama.llama_synchronize(self._handle)

    def share_prefix(self, sequence: int) -> None:
        """Lets a sequence go on from the prefix, without a copy (llama_memory_seq_cp)."""
        llama.llama_memory_seq_cp(self._memory, PREFIX, sequence, -1, -1)

    def forget(self, sequence: int, start: int = 0) -> None:
        """Removes a sequence's tokens from this position on (llama_memory_seq_rm)."""
        llama.llama_memory_seq_rm(self._memory, sequence, start, -1)

    def close(self) -> None:
        """Frees the context, once."""
        if self._handle:
            llama.llama_batch_free(self._batch)
            llama.llama_free(self._handle)
            self._handle = None
