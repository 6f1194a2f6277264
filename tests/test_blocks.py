"""genner_cli.files.blocks: input files cut into parts that are read one by one."""

from __future__ import annotations

import gzip
import os
import re
from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples, hostile_text

from genner_cli.errors import UsageError
from genner_cli.files import Block
from genner_cli.files.blocks import Shard, cut, input_of, is_as_surveyed, suitable_length, surveyed
from genner_cli.files.reading import Record, read_documents
from genner_cli.types import Document, FailedDocument

LIMIT = 300
"""Bytes of the longest line that is read: some are longer."""

BAD = [b"{torn", b"[]", b'{"text": 5}', b'{"text": "\xff"}', b"\xe2\x82", b"\0", b"\r", b"", b" \t", b"x" * 400]
good = st.builds(lambda text, n: orjson.dumps({"id": n, "text": text}), hostile_text(), st.integers(0, 9))
line = st.one_of(good, st.sampled_from(BAD), st.integers(1, 40).map(lambda n: b'{"text": "%s"}' % (b"long " * n * 9)))
end = st.sampled_from([b"\n", b"\n", b"\r\n"])
content = st.builds(
    lambda mark, lines, last: mark + b"".join(chain.from_iterable(lines)) + last,
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(line, end), max_size=12),
    st.one_of(st.just(b""), line),
)


def read(paths: Sequence[str | Block]) -> list[Record]:
    return list(read_documents(paths, max_document_bytes=LIMIT))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blocks") / "docs.jsonl"


@examples(150)
@given(content, st.data())
def test_blocks_between_any_cuts_give_the_documents_of_the_whole_in_order(
    path: Path, content: bytes, data: st.DataObject
) -> None:
    path.write_bytes(content)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
    borders = [0, *cuts, len(content)]
    blocks = [Block(str(path), a, b) for a, b in pairwise(borders) if a < b]
    found = [read([block]) for block in surveyed(blocks)]
    assert list(chain.from_iterable(found)) == read([str(path)])


@examples(30)
@given(st.lists(content, min_size=1, max_size=3), st.integers(1, 200))
def test_blocks_of_any_length_give_the_documents_of_all_files(path: Path, content: list[bytes], length: int) -> None:
    paths = written(path.parent, content)
    assert read(surveyed(cut(paths, length))) == read(paths)


@examples(60)
@given(st.lists(content, min_size=1, max_size=3), st.integers(1, 9))
def test_shards_give_the_documents_of_all_files(path: Path, content: list[bytes], count: int) -> None:
    paths = written(path.parent, content)
    shards = [Shard(number, count).blocks(paths) for number in range(1, count + 1)]
    assert list(chain.from_iterable(map(read, shards))) == read(paths)


@examples(40)
@given(st.lists(content, min_size=1, max_size=3), st.integers(1, 200))
def test_the_bytes_read_of_all_blocks_add_up_to_those_of_the_files(
    path: Path, content: list[bytes], length: int
) -> None:
    paths = written(path.parent, content)
    counted: list[int] = []
    for block in surveyed(cut(paths, length)):
        list(read_documents([block], max_document_bytes=LIMIT, progress=counted.append))
    assert sum(counted) == sum(map(len, content))
    assert min(counted, default=0) >= 0


def written(folder: Path, content: Sequence[bytes]) -> list[str]:
    paths = [folder / f"{number}.jsonl" for number in range(len(content))]
    for path, data in zip(paths, content, strict=True):
        path.write_bytes(data)
    return [str(path) for path in paths]


def test_a_bad_line_is_told_by_its_number_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"text": "One"}\n' * 5 + b"{torn\n" + b'{"text": "One"}\n')
    found = [read([block]) for block in surveyed(cut([str(path)], 30))]
    (failed,) = (record for record in chain.from_iterable(found) if isinstance(record, FailedDocument))
    assert failed.source == f"{path}:6"
    assert failed.message.startswith(f"{path}:6: not JSON")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl.zst", "a.txt", "a.conll"])
def test_what_cannot_be_cut_is_one_block_and_belongs_to_one_shard(tmp_path: Path, name: str) -> None:
    lines = b"".join(b'{"text": "Ann %d"}\n' % n for n in range(50))
    packed = {"gz": gzip.compress, "zst": zstandard.compress}.get(name.rpartition(".")[2], lambda data: data)(lines)
    paths = [str(tmp_path / "0.jsonl"), str(tmp_path / name), str(tmp_path / "2.jsonl")]
    for path, data in zip(paths, (lines, packed, lines), strict=True):
        Path(path).write_bytes(data)
    assert [block for block in cut(paths, 100) if block.path == paths[1]] == [Block(paths[1])]
    for count in (1, 2, 3, 7):
        shards = [Shard(number, count).blocks(paths) for number in range(1, count + 1)]
        assert sum(block.path == paths[1] for blocks in shards for block in blocks) == 1
        assert list(chain.from_iterable(read(blocks) for blocks in shards)) == read(paths)


def test_an_empty_file_and_one_that_is_gone_are_told_once(tmp_path: Path) -> None:
    paths = written(tmp_path, [b"", b"", b""])
    os.unlink(paths[1])
    told = [record.message for record in read(paths) if isinstance(record, FailedDocument)]
    assert [record.message for record in read(surveyed(cut(paths, 99))) if isinstance(record, FailedDocument)] == told
    shards = [read(Shard(number, 3).blocks(paths)) for number in (1, 2, 3)]
    assert [r.message for r in chain.from_iterable(shards) if isinstance(r, FailedDocument)] == told
    assert len(told) == 1


def test_shards_have_equal_bytes(tmp_path: Path) -> None:
    paths = written(tmp_path, [b'{"text": "x"}\n' * 700, b'{"text": "x"}\n' * 50, b'{"text": "x"}\n' * 250])
    for count in (2, 3, 8):
        sizes = [
            sum((block.end or 0) - block.start for block in Shard(number, count).blocks(paths))
            for number in range(1, count + 1)
        ]
        assert sum(sizes) == 14_000
        assert max(sizes) - min(sizes) <= 1


def test_there_may_be_more_shards_than_lines(tmp_path: Path) -> None:
    paths = written(tmp_path, [b'{"text": "Ann"}\n'])
    found = [read(Shard(number, 40).blocks(paths)) for number in range(1, 41)]
    assert sorted(map(len, found)) == [0] * 39 + [1]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "1/0", "a/b", "1/2/3", "-1/3", "", "1.5/3"])
def test_what_is_no_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(repr(text))} .*shard.*i/n"):
        Shard.parse(text)


def test_a_share_is_read_as_it_is_written() -> None:
    assert Shard.parse("2/5") == Shard(2, 5)
    assert str(Shard(2, 5)) == "2/5"


def test_a_stream_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for path in ("-", str(tmp_path / "pipe.jsonl")):
        with pytest.raises(UsageError, match=f"^{path}: .*stream"):
            Shard(1, 2).blocks([path])
        with pytest.raises(UsageError, match=f"^{path}: .*stream"):
            cut([path], 99)


def test_an_input_is_known_by_names_and_sizes_wherever_it_lies(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    here, there = (written(tmp_path / name, [b"{}\n", b"{}\n{}\n"]) for name in ("one", "other"))
    assert input_of(here) == input_of(there)
    assert input_of(here).startswith("2 files, 9 bytes, ")
    assert input_of(here) != input_of(here[::-1])
    Path(there[0]).write_bytes(b"{}\n\n")
    assert input_of(here) != input_of(there)


@pytest.mark.parametrize(("size", "length"), [(1, 2**16), (2**20, 2**16), (2**27, 2**17), (2**40, 2**24)])
def test_blocks_are_long_enough_to_be_few_and_short_enough_to_lose(
    monkeypatch: pytest.MonkeyPatch, size: int, length: int
) -> None:
    monkeypatch.setattr("genner_cli.files.blocks.size", lambda path: size)
    blocks = cut(["a.jsonl"], suitable_length(["a.jsonl"]))
    assert blocks[0].end == min(size, length)
    assert blocks[-1].end == size


def test_the_hash_of_a_block_changes_with_its_bytes_alone(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [b'{"text": "Ann"}\n' * 10])
    before = list(surveyed(cut([path], 40)))
    Path(path).write_bytes(b'{"text": "Ann"}\n' * 6 + b'{"text": "Bob"}\n' * 4)
    after = list(surveyed(cut([path], 40)))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, False, False]
    assert all(isinstance(record, Document) for record in read([path]))


def test_a_block_is_as_surveyed_until_one_of_its_bytes_changes(tmp_path: Path) -> None:
    (path,) = written(tmp_path, [b'{"text": "Ann"}\n' * 10])
    blocks = list(surveyed(cut([path], 40)))
    Path(path).write_bytes(b'{"text": "Ann"}\n' * 6 + b'{"text": "Bob"}\n' * 4)
    assert [is_as_surveyed(block) for block in blocks] == [True, True, False, False]
    Path(path).unlink()
    assert not any(map(is_as_surveyed, blocks))
