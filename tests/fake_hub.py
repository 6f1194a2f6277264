"""A Hub on this machine: as much of its API as fetching models needs, and its ways to fail.

LFS files are redirected to a second address, as the Hub redirects to its content network.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_good"


@dataclass
class Repository:
    """`access`: open, gated (files need a token) or private (all needs one). `revisions`: names of the commit."""

    files: dict[str, bytes]
    commit: str = "d" * 40
    revisions: tuple[str, ...] = ("main",)
    access: str = "open"

    def siblings(self) -> list[dict[str, Any]]:
        """The files as the API lists them."""
        return [
            {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
            | ({"lfs": {"size": len(data), "sha256": sha256(data), "pointerSize": 130}} if in_lfs(name) else {})
            for name, data in self.files.items()
        ]


@dataclass
class FakeHub:
    """What is on it, how it fails, and what it was asked for."""

    repositories: dict[str, Repository] = field(default_factory=dict)
    address: str = ""
    content_address: str = ""
    damaged: set[str] = field(default_factory=set)
    break_after: list[int] = field(default_factory=list)
    ignores_ranges: bool = False
    status: int | None = None
    asked: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    seen_tokens: dict[str, set[str]] = field(default_factory=dict)


def in_lfs(name: str) -> bool:
    return name.endswith((".safetensors", ".gguf", ".bin"))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def git_hash(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, hub: FakeHub, place: str, *args: Any) -> None:
        self.hub, self.place = hub, place
        super().__init__(*args)

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.asked.append(path)
        self.hub.seen_tokens.setdefault(self.place, set()).add(self.headers.get("Authorization", ""))
        if self.hub.status:
            return self._answer(self.hub.status, b"{}")
        if match := re.fullmatch(r"/content/(\w+)", path):
            return self._send(match[1])
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            return self._list(match[1], match[2] or "main")
        if match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            return self._resolve(match[1], match[3])
        return self._answer(404, b"{}")

    def _allowed(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    def _list(self, name: str, revision: str) -> None:
        found = self.hub.repositories.get(name)
        if found is None or (found.access == "private" and not self._allowed()):
            return self._answer(401, b'{"error": "Invalid username or password."}')
        if revision not in (*found.revisions, found.commit):
            return self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        value = {"id": name, "sha": found.commit, "siblings": found.siblings()}
        return self._answer(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, file: str) -> None:
        found = self.hub.repositories[name]
        if found.access != "open" and not self._allowed():
            return self._answer(403, b"{}", {"X-Error-Code": "GatedRepo"})
        if in_lfs(file):
            place = f"{self.hub.content_address}/content/{sha256(found.files[file])}"
            return self._answer(302, b"", {"Location": place})
        return self._send(git_hash(found.files[file]))

    def _send(self, hash: str) -> None:
        names = {hash_of(data): (name, data) for r in self.hub.repositories.values() for name, data in r.files.items()
                 for hash_of in (sha256, git_hash)}  # fmt: skip
        name, data = names[hash]
        if name in self.hub.damaged:
            data = bytes([data[0] ^ 1]) + data[1:]
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.hub.ranges.append(f"{name} {match[1] if match else ''}".strip())
        start = int(match[1]) if match and not self.hub.ignores_ranges else 0
        most = self.hub.break_after.pop(0) if self.hub.break_after else None
        self._answer(206 if start else 200, data[start:], most=most)

    def _answer(
        self, status: int, data: bytes, headers: dict[str, str] | None = None, *, most: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[:most])

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Runs one with nothing on it."""
    hub = FakeHub()
    with _served(hub, "hub") as hub.address, _served(hub, "content") as hub.content_address:
        yield hub


@contextmanager
def _served(hub: FakeHub, place: str) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, hub, place)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
