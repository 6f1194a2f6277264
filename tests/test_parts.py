"""genner_cli.files.parts: the parts of an output, each whole or not there."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import examples

from genner_cli.errors import UsageError
from genner_cli.files import Block
from genner_cli.files.blocks import cut, surveyed
from genner_cli.files.parts import Parts, Record, remove_parts
from genner_cli.files.reading import expand
from genner_cli.ledger import Ledger, Outcome
from genner_cli.types import Reason

DONE = Outcome(5, 1, 2, None)


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is not tested here; it takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_bytes(b'{"text": "Ann"}\n' * 10)
    return path


def opened(docs: Path, key: bytes = b"key") -> Parts:
    return Parts(str(docs.with_name("out.jsonl")), surveyed(cut([str(docs)], 40)), key)


def record(text: str, outcome: Outcome = DONE) -> Record:
    return Record(f"{text}\n".encode(), text.encode().ljust(16), outcome)


def make(parts: Parts, block: Block, *texts: str) -> None:
    parts.write(block, [record(text) for text in texts])
    parts.finish(block)


def lines(parts: Parts) -> list[bytes]:
    return [line for line, _ in parts.records()]


def test_parts_come_in_the_order_of_the_input_whatever_the_order_they_were_made_in(docs: Path) -> None:
    parts = opened(docs)
    blocks = parts.missing()
    assert len(parts) == len(blocks) == 4
    parts.write(blocks[2], [record("e")])
    parts.write(blocks[0], [record("a")])
    parts.write(blocks[0], [record("b", Outcome(0, 0, 0, Reason.INPUT))])
    parts.write(blocks[2], [])
    assert parts.finish(blocks[2]) == [DONE]
    make(parts, blocks[1], "c", "d")
    assert parts.missing() == [blocks[0], blocks[3]]
    parts.finish(blocks[0])
    make(parts, blocks[3])
    assert lines(parts) == [b"a\n", b"b\n", b"c\n", b"d\n", b"e\n"]
    assert parts.ledger() == Ledger.of([DONE, Outcome(0, 0, 0, Reason.INPUT), DONE, DONE, DONE])


def test_a_part_that_was_not_finished_is_missing_and_begun_anew(docs: Path) -> None:
    parts = opened(docs)
    first, second, *_ = parts.missing()
    parts.write(first, [record("lost")])
    parts.write(second, [record("lost")])
    parts.drop(first)
    parts.drop(first)
    again = opened(docs)  # as after a kill: the other one was never closed
    parts.drop(second)
    assert first in again.missing()
    for block, text in zip(again.missing(), "abcd", strict=True):
        make(again, block, text)
    assert lines(again) == [b"a\n", b"b\n", b"c\n", b"d\n"]


def test_only_parts_of_input_that_was_changed_are_made_again(docs: Path) -> None:
    parts = opened(docs)
    for block in parts.missing():
        make(parts, block, "x")
    assert opened(docs).missing() == []
    content = docs.read_bytes()
    docs.write_bytes(content[:70] + b"O" + content[71:])
    assert [block.start for block in opened(docs).missing()] == [40]
    docs.write_bytes(content + b"\n")
    assert [block.start for block in opened(docs).missing()] == [160]
    docs.write_bytes(b"\n" + content[1:])  # what stands behind is told by other line numbers
    assert [block.start for block in opened(docs).missing()] == [0, 40, 80, 120]
    docs.write_bytes(content)
    assert opened(docs).missing() == []


def test_parts_that_were_made_with_other_options_are_not_taken(docs: Path) -> None:
    parts = opened(docs)
    for block in parts.missing():
        make(parts, block, "x")
    assert len(opened(docs, b"other").missing()) == 4
    assert opened(docs).missing() == []


def test_a_part_that_is_not_as_it_was_written_is_told_with_the_remedy(docs: Path) -> None:
    parts = opened(docs)
    for block in parts.missing():
        make(parts, block, "x")
    damaged = min(Path(parts.folder).glob("*.part"))
    damaged.write_bytes(b"y\n")
    with pytest.raises(UsageError, match=r"part:1: .*as it was written; delete it"):
        lines(parts)
    damaged.unlink()
    assert [block.start for block in opened(docs).missing()] == [0]
    max(Path(parts.folder).glob("*.index")).unlink()
    assert [block.start for block in opened(docs).missing()] == [0, 120]
    again = opened(docs)
    last = again.missing()[-1]
    again.write(last, [record("of many")])
    again.drop(last)  # as after a kill: what is there of it now is no whole part
    assert last in opened(docs).missing()


def test_a_glob_of_documents_finds_no_part(docs: Path) -> None:
    parts = opened(docs)
    make(parts, parts.missing()[0], "x")
    assert expand([str(docs.parent / "**" / "*.jsonl")]) == [str(docs)]


def test_the_folder_goes_with_all_in_it(docs: Path) -> None:
    parts = opened(docs)
    make(parts, parts.missing()[0], "x")
    remove_parts(str(docs.with_name("out.jsonl")))
    remove_parts(str(docs.with_name("out.jsonl")))
    assert not Path(parts.folder).exists()


def test_a_folder_that_cannot_be_made_is_a_usage_error(docs: Path) -> None:
    docs.with_name("out.jsonl.parts").write_text("a file")
    with pytest.raises(UsageError, match=r"out\.jsonl\.parts.* -o"):
        opened(docs)


@examples(60)
@given(st.permutations(range(4)), st.lists(st.integers(0, 3), max_size=6))
def test_blocks_that_are_lost_and_done_again_leave_no_record_twice(
    tmp_path_factory: pytest.TempPathFactory, order: Sequence[int], lost: Sequence[int]
) -> None:
    docs = tmp_path_factory.mktemp("parts") / "in.jsonl"
    docs.write_bytes(b'{"text": "Ann"}\n' * 10)
    parts = opened(docs)
    blocks = parts.missing()
    for number in lost:
        parts.write(blocks[number], [record(f"{number} lost")])
        parts.drop(blocks[number])
    for number in order:
        make(parts, blocks[number], f"{number}a", f"{number}b")
    assert lines(parts) == [f"{number}{half}\n".encode() for number in range(4) for half in "ab"]
