"""What genner is measured against, given the same requests: a loop over llama-cpp-python, and `llama-server`.

A peer takes the token ids of prompts, one GBNF, and the most tokens that each completion may have. It chooses
greedily and gives the texts in the order of the prompts. The model is loaded when a peer is made, so a run
can be timed without that; `warm` puts what the prompts share, and nothing else, into the peer's cache.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from functools import partial
from http.client import HTTPConnection, HTTPException
from itertools import takewhile
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple, Self
from unittest import mock

import llama_cpp

from genner_cli.engine.model import loading_parameters

HOST = "127.0.0.1"
START_SECONDS = 600.0
STOP_SECONDS = 10.0
LOG_TAIL = 4000


class Written(NamedTuple):
    """A completion and the number of its tokens; the ids of those that were decoded, where that is known."""

    text: str
    tokens: int
    ids: tuple[int, ...] = ()


class Peer(ABC):
    """Another way to run the same requests. `close` frees it; also a context manager."""

    @abstractmethod
    def complete(self, prompts: list[list[int]], grammar: str, limits: list[int]) -> list[Written]:
        """The completions, in the order of the prompts; `limits` says how many tokens each may have."""

    @abstractmethod
    def warm(self, prompts: list[list[int]]) -> None:
        """Leaves the tokens that all prompts begin with, at least one, in the cache, and nothing else."""

    def processor_seconds(self) -> float:
        """Time that processors have spent on it so far."""
        return time.process_time()

    @abstractmethod
    def close(self) -> None:
        """Frees the model."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Loop(Peer):
    """`llama_cpp.Llama.create_completion`, one prompt after the other: what a user writes today."""

    def __init__(self, model: Path, *, threads: int, flash_attention: bool, context: int) -> None:
        """`context`: the most tokens of a prompt and its completion together."""
        of_loop = partial(loading_parameters, llama_cpp.llama_cpp.llama_model_default_params)
        with mock.patch.object(llama_cpp.llama_cpp, "llama_model_default_params", of_loop):
            self._llama = llama_cpp.Llama(
                str(model),
                n_ctx=context,
                n_threads=threads,
                n_threads_batch=threads,
                flash_attn=flash_attention,
                verbose=False,
            )

    def complete(
        self, prompts: list[list[int]], grammar: str, limits: list[int], never: Sequence[int] = ()
    ) -> list[Written]:
        """`never`: tokens not to choose; llama.cpp's grammar takes control tokens by the text of their names."""
        bias: Any = dict.fromkeys(never, float("-inf")) or None
        compiled = llama_cpp.LlamaGrammar.from_string(grammar, verbose=False)
        written = []
        for prompt, limit in zip(prompts, limits, strict=True):
            answer = self._llama.create_completion(
                prompt, max_tokens=limit, temperature=0.0, grammar=compiled, logit_bias=bias
            )
            ids = self._llama.eval_tokens  # of the prompt, too
            text, tokens = answer["choices"][0]["text"], answer["usage"]["completion_tokens"]
            written.append(Written(text, tokens, tuple(ids)[len(prompt) :]))
        return written

    def warm(self, prompts: list[list[int]]) -> None:
        self._llama.reset()
        self._llama.eval(_shared(prompts))

    def close(self) -> None:
        self._llama.close()


class Server(Peer):
    """`llama-server` with as many client threads as slots, so that each slot always has a request."""

    def __init__(
        self, binary: Path, model: Path, *, slots: int, threads: int, flash_attention: bool, context: int
    ) -> None:
        """Starts the server and waits until it answers. `context` is that of one slot.

        Raises RuntimeError with the end of the server's log if it does not come up.
        """
        self._slots = slots
        self._port = _free_port()
        self._log = tempfile.NamedTemporaryFile(prefix="llama-server-", suffix=".log")  # noqa: SIM115
        command = [str(binary), *self._arguments(model, threads, flash_attention, context)]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        try:
            self._wait()
        except BaseException:
            self.close()
            raise

    def _arguments(self, model: Path, threads: int, flash_attention: bool, context: int) -> list[str]:
        """Without --kv-unified, slots share --ctx-size equally. The cache in RAM, which copies whole slots, is off."""
        repack = "--repack" if loading_parameters().use_extra_bufts else "--no-repack"
        options = {
            "--model": model,
            "--host": HOST,
            "--port": self._port,
            "--parallel": self._slots,
            "--ctx-size": self._slots * context,
            "--threads": threads,
            "--threads-batch": threads,
            "--flash-attn": "on" if flash_attention else "off",
            "--cache-ram": 0,
        }
        pairs = (str(part) for pair in options.items() for part in pair)
        return [*pairs, repack, "--no-kv-unified", "--cont-batching", "--no-ui"]

    def complete(self, prompts: list[list[int]], grammar: str, limits: list[int]) -> list[Written]:
        bodies = [
            {"prompt": prompt, "n_predict": limit, "grammar": grammar}
            for prompt, limit in zip(prompts, limits, strict=True)
        ]
        return self._post(bodies)

    def warm(self, prompts: list[list[int]]) -> None:
        shared = _shared(prompts)
        self._post([{"prompt": shared, "n_predict": 0, "id_slot": slot} for slot in range(self._slots)])

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime, proc(5)

    def _post(self, bodies: list[dict[str, Any]]) -> list[Written]:
        """Sends the requests over as many connections as there are slots, and gives the texts in their order."""
        free: SimpleQueue[HTTPConnection] = SimpleQueue()

        def post(body: dict[str, Any]) -> Written:
            connection = free.get()
            try:
                return self._completion(connection, body)
            finally:
                free.put(connection)

        with ExitStack() as opened, ThreadPoolExecutor(self._slots) as pool:
            for _ in range(self._slots):
                free.put(opened.enter_context(closing(HTTPConnection(HOST, self._port))))
            return list(pool.map(post, bodies))

    def _completion(self, connection: HTTPConnection, body: dict[str, Any]) -> Written:
        request = json.dumps({**body, "temperature": 0, "cache_prompt": True})
        try:
            connection.request("POST", "/completion", request, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        except (OSError, HTTPException) as error:
            raise RuntimeError(f"llama-server does not answer ({error!r})\n{self._log_tail()}") from error
        if response.status != 200:
            raise RuntimeError(f"llama-server: {answer.decode(errors='replace')}\n{self._log_tail()}")
        found = json.loads(answer)
        return Written(str(found["content"]), int(found["tokens_predicted"]))

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not self._healthy():
            if self._process.poll() is not None:
                raise RuntimeError(f"llama-server ended with status {self._process.returncode}\n{self._log_tail()}")
            if time.monotonic() > deadline:
                raise RuntimeError(f"llama-server is not ready after {START_SECONDS:.0f} seconds\n{self._log_tail()}")
            time.sleep(0.1)

    def _healthy(self) -> bool:
        connection = HTTPConnection(HOST, self._port)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()

    def _log_tail(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")[-LOG_TAIL:]

    def close(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _shared(prompts: list[list[int]]) -> list[int]:
    """The tokens that all prompts begin with."""
    columns = takewhile(lambda column: len(set(column)) == 1, zip(*prompts, strict=False))
    return [column[0] for column in columns]
