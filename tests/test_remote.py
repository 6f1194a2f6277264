"""Input and output at an address: memory:// in this process. `test_remote_s3.py` has the same with a server."""

from __future__ import annotations

import ast
import gzip
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import orjson
import pytest
import zstandard
from asking import news
from conftest import Run
from resuming import assert_same, records, write_documents
from test_resuming import Disk, Killed, documents, expected, work

from genner_cli.errors import GennerError, ReadError, UsageError
from genner_cli.files import Block, remote, total_bytes
from genner_cli.files.annotations import AnnotationOptions
from genner_cli.files.annotations.parquet import FORMAT as PARQUET
from genner_cli.files.blocks import surveyed
from genner_cli.files.output_target import OutputTarget, records_of
from genner_cli.files.reading import expand, read_documents
from genner_cli.types import Document

Genner = Callable[..., Run]
ROOT = Path(__file__).parents[1]
LINES = b"".join(orjson.dumps({"id": n, "text": f"Zo\xeb {n} ran."}) + b"\n" for n in range(500))


@pytest.fixture(autouse=True)
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A file system that is empty, and a current folder of its own for what belongs to an output."""
    monkeypatch.chdir(tmp_path)
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    yield system
    system.store.clear()


def read(*patterns: str) -> list[Any]:
    return list(read_documents(expand(patterns, addresses=True)))


def test_texts_of_one_name_are_told_apart_by_their_addresses(memory: Any) -> None:
    for folder in ("a", "b"):
        memory.pipe(f"/{folder}/d.txt", folder.encode())
    paths = expand(["memory://*/d.txt"], addresses=True)
    assert [(each.id, each.text) for each in read_documents(paths)] == [
        ("memory:///a/d.txt", "a"),
        ("memory:///b/d.txt", "b"),
    ]
    assert total_bytes(paths) == 2


@pytest.mark.parametrize(
    ("name", "packed"),
    [("a.jsonl", bytes), ("a.jsonl.gz", gzip.compress), ("a.jsonl.zst", zstandard.ZstdCompressor().compress)],
)
def test_lines_are_read_at_an_address_as_on_the_disk(
    memory: Any, tmp_path: Path, name: str, packed: Callable[[bytes], bytes]
) -> None:
    memory.pipe(f"/in/{name}", packed(LINES))
    (tmp_path / name).write_bytes(packed(LINES))
    found, local = read(f"memory://in/{name}"), read(str(tmp_path / name))
    assert len(found) == 500
    assert [document.text for document in found] == [document.text for document in local]
    assert found[3].source == f"memory://in/{name}:4".replace("memory://", "memory:///")
    consumed: list[int] = []
    paths = expand([f"memory://in/{name}"], addresses=True)
    list(read_documents(paths, progress=consumed.append))
    assert sum(consumed) == total_bytes(paths) == len(packed(LINES))


def test_globs_name_files_in_sorted_order_each_once(memory: Any) -> None:
    for name in ("b.jsonl", "a.jsonl", "deep/c.jsonl", "d.txt", "e[1].txt"):
        memory.pipe(f"/in/{name}", b'{"text": "x"}\n')
    assert expand(["memory://in/*.jsonl", "memory://in/a.jsonl"], addresses=True) == [
        "memory:///in/a.jsonl",
        "memory:///in/b.jsonl",
    ]
    assert len(expand(["memory://in/**/*.jsonl"], addresses=True)) == 3
    assert expand(["memory://in/e[1].txt"], addresses=True) == ["memory:///in/e[1].txt"]
    (document,) = read("memory://in/d.txt")
    assert document.id == "d.txt"


def test_parquet_and_conll_are_read_there(memory: Any, tmp_path: Path) -> None:
    PARQUET.write([Document("Ann ran", fields={"id": n}) for n in range(3)], "a.parquet", AnnotationOptions(), print)
    memory.put_file(str(tmp_path / "a.parquet"), "/a.parquet")
    memory.pipe("/b.conll.gz", gzip.compress(b"Ann\tB-PER\nran\tO\n\n"))
    assert [document.id for document in read("memory://a.parquet")] == ["0", "1", "2"]
    assert [document.text for document in read("memory://b.conll.gz")] == ["Ann ran"]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("memory://none.jsonl", "no such file"),
        ("memory://*.jsonl", "no such file"),
        ("memory://in", "no such file"),
        ("memory://in/a.pdf", "unknown kind"),
        ("memory://in/a.ann", "disk"),
        ("http://127.0.0.1:1/a.jsonl", "memory://, s3://"),
        ("simplecache::memory://in/a.jsonl", "memory://, s3://"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(memory: Any, pattern: str, message: str) -> None:
    for name in ("a.pdf", "a.ann", "a.jsonl"):
        memory.pipe(f"/in/{name}", b"x")
    with pytest.raises(UsageError, match="^" + pattern.replace("*", r"\*").split("in/")[0]) as raised:
        expand([pattern], addresses=True)
    assert message in str(raised.value)


def test_only_commands_that_stream_read_addresses(memory: Any, genner: Genner) -> None:
    memory.pipe("/a.jsonl", b'{"text": "x"}\n')
    with pytest.raises(UsageError, match="genner extract and genner plan"):
        expand(["memory://a.jsonl"])
    run = genner("data", "stats", "memory://a.jsonl")
    assert run.status == 2
    run = genner("extract", "memory://a.jsonl", "--stats", "memory://stats.json")
    assert "output of genner extract" in run.stderr


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(UsageError, match=r"pip install 'genner\[remote\]'"):
        expand(["memory://a.jsonl"], addresses=True)
    with pytest.raises(UsageError, match=r"pip install 'genner\[s3\]'"):
        OutputTarget("s3://bucket/out.jsonl")


def test_a_scheme_in_capitals_is_the_same_scheme(memory: Any) -> None:
    memory.pipe("/a.jsonl", LINES)
    assert read("MEMORY://a.jsonl") == read("memory://a.jsonl")
    with pytest.raises(UsageError, match=r"GS://bucket/a\.jsonl: .*memory://, s3://"):
        expand(["GS://bucket/a.jsonl"], addresses=True)


def test_an_input_is_not_overwritten_however_its_address_is_written(memory: Any, genner: Genner) -> None:
    memory.pipe("/a.jsonl", LINES)
    for one, other in (("memory:///a.jsonl", "memory://a.jsonl"), ("memory://a.jsonl", "MEMORY:///a.jsonl")):
        run = genner("extract", one, "-o", other)
        assert (run.status, "input file" in run.stderr) == (2, True)
    assert memory.cat("/a.jsonl") == LINES


def test_a_connection_that_breaks_ends_the_run_behind_what_was_read_before(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a file system raises: not all of it is an OSError."""
    memory.pipe("/a.jsonl", LINES * 100)
    size = remote._BLOCK

    class Broken:
        def __init__(self, file: Any) -> None:
            self._file, self.left = file, 1

        def read(self, count: int) -> bytes:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("the server hung up")
            return bytes(self._file.read(min(count, size)))

        def seek(self, *place: int) -> int:
            return int(self._file.seek(*place))

        def close(self) -> None:
            self._file.close()

    open_there = type(memory).open
    monkeypatch.setattr(type(memory), "open", lambda *args, **more: Broken(open_there(*args, **more)))
    found: list[Any] = []
    with pytest.raises(GennerError, match=r"a\.jsonl: .*RuntimeError: the server hung up"):
        found.extend(read_documents(expand(["memory://a.jsonl"], addresses=True)))
    assert len(found) > 1000
    with pytest.raises(ReadError, match=r"a\.jsonl: .*\(RuntimeError: the server hung up\)"):
        list(surveyed([Block("memory://a.jsonl")]))


OUTPUTS = [f"memory://out/a{suffix}" for suffix in (".jsonl", ".jsonl.gz", ".parquet", ".csv")]


def lines(address: str) -> list[bytes]:
    with OutputTarget(address).lines(address) as found:
        return list(found)


@pytest.mark.parametrize("address", OUTPUTS)
def test_an_output_is_put_there_whole_grows_and_is_retried(memory: Any, tmp_path: Path, address: str) -> None:
    output: Any = address
    work(output, documents(6, unread=(2, 5)))
    assert lines(address) == expected(documents(6, unread=(2, 5)))
    base = os.path.basename(remote.local_name(address))
    assert base.startswith(address.rsplit("/", 1)[1] + "@")
    assert {path.name for path in tmp_path.iterdir()} == {f"{base}.run.json", f"{base}.run.index"}
    work(output, documents(8, unread=(5,)), retry=True)
    assert lines(address) == expected(documents(8, unread=(5,)))
    assert len(list(tmp_path.iterdir())) == 2
    memory.pipe(records_of(address).removeprefix("memory://"), b"PAR1")
    with pytest.raises(UsageError, match="--restart"):
        work(output, documents(9, unread=(5,)))


@pytest.mark.parametrize("address", OUTPUTS)
def test_a_run_to_an_address_that_is_killed_at_any_step_ends_whole(
    memory: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    values = documents(5, unread=(3,))
    output: Any = address
    put = type(memory).put_file
    for step in range(1, 200):
        folder = tmp_path / str(step)
        folder.mkdir()
        monkeypatch.chdir(folder)
        memory.store.clear()
        with pytest.MonkeyPatch.context() as patch:
            disk = Disk(patch, step)
            patch.setattr(type(memory), "put_file", disk._step(put))
            try:
                work(output, values)
            except (Killed, GennerError):
                there = memory.exists(records_of(address))  # put after the table
                assert not there or lines(address) == expected(values), "whole or not there"
        if disk.left > 0:
            assert step > 10
            return
        work(output, values)
        assert lines(address) == expected(values)
        assert len(list(folder.glob("*.run.*"))) >= 2
        assert not list(folder.glob("*.partial")) + list(folder.glob("*.packed"))
    raise AssertionError("it does not end")


def test_what_belongs_to_two_addresses_has_two_names() -> None:
    one, other = remote.local_name("s3://a/out.jsonl"), remote.local_name("s3://b/out.jsonl")
    assert one != other
    assert Path(one).parent == Path.cwd()


def test_an_input_is_not_overwritten(memory: Any) -> None:
    memory.pipe("/a.jsonl", b'{"text": "x"}\n')
    paths = expand(["memory:///a.jsonl"], addresses=True)
    from genner_cli.files.resuming import ResumableOutput

    with pytest.raises(UsageError, match="input file"):
        ResumableOutput("memory:///a.jsonl", inputs=paths)


def test_the_command_reads_and_writes_there_what_it_does_on_the_disk(
    memory: Any, genner: Genner, tmp_path: Path
) -> None:
    values = [{"id": n, "text": text} for n, text in enumerate(news()[:5])]
    docs = write_documents(tmp_path / "in.jsonl", values)
    memory.pipe("/in/a.jsonl.gz", gzip.compress(docs.read_bytes()))
    assert genner("extract", docs, "-o", tmp_path / "out.jsonl").status == 0
    command = ("extract", "memory://in/*.gz", "-o", "memory://out.jsonl.zst")
    assert genner(*command).status == 0
    found = [orjson.loads(line) for line in lines("memory://out.jsonl.zst")]
    assert_same(found, records(tmp_path / "out.jsonl"))
    assert "complete" in genner(*command).stderr
    assert genner("plan", "memory://in/*.gz", "--seconds", 1).status == 0


def test_fsspec_has_one_home() -> None:
    homes = []
    for path in (ROOT / "genner_cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            homes += [path.name for name in names if name.split(".")[0] in ("fsspec", "s3fs")]
    assert homes == ["remote.py"]
