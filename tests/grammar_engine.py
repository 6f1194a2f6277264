"""llama.cpp's own grammar engine for the tests, over a vocabulary of single bytes and no weights."""

from __future__ import annotations

import ctypes
import tempfile
from functools import cache
from pathlib import Path
from types import TracebackType

from gguf import GGUFWriter, TokenType

from genner_cli.engine import llama as llama_cpp

END = 256
"""The end-of-generation token; byte b is token b."""


def _byte_tokens() -> list[str]:
    """The 256 bytes as GPT-2's byte-level tokenizers write them."""
    shown = {*range(33, 127), *range(161, 173), *range(174, 256)}
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte if byte in shown else 256 + hidden.index(byte)) for byte in range(256)]


def _write_vocabulary(path: Path) -> None:
    writer = GGUFWriter(path, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([*_byte_tokens(), "<end>", "th"])
    writer.add_token_types([TokenType.NORMAL] * 256 + [TokenType.CONTROL, TokenType.NORMAL])
    writer.add_token_merges(["t h"])  # llama.cpp refuses a vocabulary without any
    writer.add_eos_token_id(END)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


@cache
def _vocabulary() -> tuple[object, object]:
    """The model, which has to stay alive, and its vocabulary."""
    llama_cpp.llama_backend_init()
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "bytes.gguf"
        _write_vocabulary(path)
        model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    assert model, "llama.cpp cannot load the byte vocabulary"
    return model, llama_cpp.llama_model_get_vocab(model)


class Acceptor:
    """A grammar at work: asks llama.cpp about one token, hands it over only if it is allowed.

    llama.cpp throws at a token that its grammar has not allowed, and takes the process with it.
    """

    def __init__(self, grammar: str) -> None:
        self._sampler = llama_cpp.llama_sampler_init_grammar(_vocabulary()[1], grammar.encode(), b"root")
        assert self._sampler, f"llama.cpp cannot read this grammar:\n{grammar}"
        self._candidate = (llama_cpp.llama_token_data * 1)()

    def __enter__(self) -> Acceptor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        llama_cpp.llama_sampler_free(self._sampler)

    def allows(self, token: int) -> bool:
        """Whether the grammar lets this token come next."""
        self._candidate[0].id, self._candidate[0].logit, self._candidate[0].p = token, 1.0, 0.0
        candidates = llama_cpp.llama_token_data_array(self._candidate, 1, -1, False)
        llama_cpp.llama_sampler_apply(self._sampler, ctypes.byref(candidates))
        return bool(self._candidate[0].logit > float("-inf"))

    def read(self, data: bytes) -> int:
        """Reads byte by byte; returns how many of them the grammar allowed."""
        for number, byte in enumerate(data):
            if not self.allows(byte):
                return number
            llama_cpp.llama_sampler_accept(self._sampler, byte)
        return len(data)


def refused_at(grammar: str, completion: str) -> int | None:
    """The byte at which the grammar refuses a completion (its length: the end); None if it accepts all."""
    data = completion.encode()
    with Acceptor(grammar) as acceptor:
        read = acceptor.read(data)
        return None if read == len(data) and acceptor.allows(END) else read
