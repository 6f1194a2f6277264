"""genner_cli.files.reading: paths -> documents."""

import errno
import gzip
import io
import json
import os
import random
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import zstandard
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genner_cli.errors import ReadError, UsageError
from genner_cli.files import Block
from genner_cli.files.reading import Record, document_of, expand, read_documents, total_bytes
from genner_cli.files.streams import several_lines
from genner_cli.files.writing import encode
from genner_cli.types import Document, Extraction, FailedDocument

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": gzip.compress,
    ".zst": zstandard.ZstdCompressor().compress,
}


class Blocks(io.RawIOBase):
    """A stream that is made while it is read."""

    def __init__(self, blocks: Iterable[bytes]) -> None:
        self._blocks = iter(blocks)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray, /) -> int:  # type: ignore[override]
        block = next(self._blocks, b"")
        buffer[: len(block)] = block
        return len(block)


def read(folder: Path, content: bytes, name: str = "docs.jsonl", **options: Any) -> list[Record]:
    (folder / name).write_bytes(content)
    return list(read_documents([str(folder / name)], **options))


def failure(folder: Path, content: bytes, **options: Any) -> FailedDocument:
    (record,) = read(folder, content, **options)
    assert isinstance(record, FailedDocument)
    assert record.message.startswith(f"{record.source}: ")
    return record


def texts(records: Iterable[Record]) -> list[str | None]:
    return [record.text if isinstance(record, Document) else None for record in records]


def feed(monkeypatch: pytest.MonkeyPatch, blocks: Iterable[bytes]) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Blocks(blocks))))


def lines(count: int) -> bytes:
    numbers = random.Random(1)
    return b"".join(b'{"text":"%d"}\n' % numbers.getrandbits(200) for _ in range(count))


# which files


def test_globs_are_sorted_and_each_file_comes_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("b.jsonl", "a.jsonl", "c.txt.gz", "[x].jsonl", "sub/d.NDJSON.ZST"):
        (tmp_path / name).touch()
    assert expand(["b.jsonl", "*.jsonl", "-", "./a.jsonl", "[x].jsonl", "**/*.[tN]*", "-"]) == [
        "b.jsonl",
        "[x].jsonl",
        "a.jsonl",
        "-",
        "c.txt.gz",
        "sub/d.NDJSON.ZST",
    ]


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("missing.jsonl", "missing.jsonl: no such file"),
        ("*.ndjson", "*.ndjson: matches no file"),
        ("sub", "no file of a known kind"),
        ("docs.pdf", ".gz or .zst"),
        ("*.pdf", "docs.pdf: unknown kind"),
        ("docs.jsonl.bz2", "unknown kind"),
        ("docs.gz", "unknown kind"),
    ],
)
def test_a_path_that_cannot_be_read_is_a_usage_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("docs.pdf", "docs.jsonl.bz2", "docs.gz"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError) as caught:
        expand([pattern])
    assert what in str(caught.value)


def test_no_paths_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no input"):
        expand([])


def test_a_file_that_may_not_be_read_is_a_usage_error(unprivileged: Path) -> None:
    path = unprivileged / "a.jsonl"
    path.touch()
    assert expand([str(path)]) == [str(path)]
    path.chmod(0)
    with pytest.raises(UsageError, match=r"a\.jsonl: .*chmod u\+r"):
        expand([str(path)])


def test_total_bytes_are_those_on_disk_and_unknown_for_streams(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"12345")
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(b"1" * 1000))
    os.mkfifo(tmp_path / "pipe.jsonl")
    paths = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl.gz")]
    assert total_bytes(paths) == 5 + (tmp_path / "b.jsonl.gz").stat().st_size
    assert total_bytes([*paths, "-"]) is None
    assert total_bytes([*paths, str(tmp_path / "pipe.jsonl")]) is None


# good records


@pytest.mark.parametrize("suffix", PACK)
def test_each_line_is_a_document_with_its_fields_and_source(tmp_path: Path, suffix: str) -> None:
    content = b'{"id":"a","text":"One","n":[1,{"x":null}]}\r\n\n \t\n{"n":2,"text":"Two"}'
    found = read(tmp_path, PACK[suffix](content), f"docs.jsonl{suffix}")
    source = str(tmp_path / f"docs.jsonl{suffix}")
    assert found == [
        Document("One", "a", fields={"id": "a", "n": [1, {"x": None}]}, source=f"{source}:1"),
        Document("Two", fields={"n": 2}, source=f"{source}:4"),
    ]


@pytest.mark.parametrize(("value", "expected"), [("7", "7"), (7, "7"), (0, "0"), (None, None), ("", ""), (1.5, "1.5")])
def test_an_id_is_text_inside_and_keeps_its_type_in_the_output(
    tmp_path: Path, value: object, expected: str | None
) -> None:
    (document,) = read(tmp_path, json.dumps({"id": value, "text": "x"}).encode())
    assert document.id == expected
    assert json.loads(encode(Extraction(document)))["id"] == value


def test_other_field_names_are_read(tmp_path: Path) -> None:
    content = b'{"id":1,"nr":2,"text":"title","body":"One"}'
    (document,) = read(tmp_path, content, text_field="body", id_field="nr")
    assert isinstance(document, Document)
    assert (document.text, document.id) == ("One", "2")
    assert document.fields == {"id": 1, "nr": 2, "text": "title"}


def test_fields_of_an_earlier_output_are_left_out(tmp_path: Path) -> None:
    (document,) = read(tmp_path, b'{"text":"One","entities":[{}],"error":{},"completion":[],"a":1}')
    assert document.fields == {"a": 1}


def test_the_text_is_never_changed(tmp_path: Path) -> None:
    text = " e\u0301\r\n\t\u2028\ufeff\U0001f600\u202e "
    assert texts(read(tmp_path, json.dumps({"text": text}).encode())) == [text]
    assert texts(read(tmp_path, text.encode(), "a.txt")) == [text]


def test_a_byte_order_mark_at_the_start_is_not_text(tmp_path: Path) -> None:
    assert texts(read(tmp_path, b'\xef\xbb\xbf{"text":"One"}')) == ["One"]
    assert texts(read(tmp_path, b"\xef\xbb\xbf\n")) == []
    assert texts(read(tmp_path, b"\xef\xbb\xbfOne", "a.txt")) == ["One"]


@pytest.mark.parametrize("suffix", PACK)
def test_a_text_file_is_one_document_with_its_name_as_id(tmp_path: Path, suffix: str) -> None:
    name = f"story.txt{suffix}"
    assert read(tmp_path, PACK[suffix](b"One\n\nTwo\r\n"), name) == [
        Document("One\n\nTwo\r\n", name, source=str(tmp_path / name))
    ]


def test_a_file_name_that_is_not_utf8_can_still_be_written(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.txt")
    Path(path).write_bytes(b"One")
    (document,) = read_documents([path])
    assert document.id == "\\xff.txt"
    assert json.loads(encode(Extraction(document)))["id"] == "\\xff.txt"


def test_stdin_is_read_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number in range(3):
            served.append(number)
            yield b'{"text":"%d"}\n' % number

    feed(monkeypatch, blocks())
    documents = read_documents(["-"])
    assert next(documents).source == "stdin:1"
    assert served == [0]
    assert texts(documents) == ["1", "2"]


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_a_named_pipe_is_read_like_a_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"pipe.jsonl{suffix}"
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_bytes, args=(PACK[suffix](b'{"text":"One"}\n{"text":"Two"}'),))
    thread.start()
    assert texts(read_documents([str(path)])) == ["One", "Two"]
    thread.join()


@pytest.mark.parametrize("suffix", PACK)
def test_empty_files_have_no_documents(tmp_path: Path, suffix: str) -> None:
    assert read(tmp_path, PACK[suffix](b""), f"a.jsonl{suffix}") == []
    assert read(tmp_path, b"", f"b.jsonl{suffix}") == []


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_joined_compressed_files_are_read_to_the_end(tmp_path: Path, suffix: str) -> None:
    parts = [PACK[suffix](b'{"text":"%d"}\n' % number) for number in range(300)]
    assert texts(read(tmp_path, b"".join(parts), f"a.jsonl{suffix}")) == [str(number) for number in range(300)]


def test_a_skippable_zstd_frame_is_skipped(tmp_path: Path) -> None:
    skippable = b"\x50\x2a\x4d\x18" + (3000).to_bytes(4, "little") + b"x" * 3000
    content = skippable + PACK[".zst"](b'{"text":"One"}\n') + skippable + PACK[".zst"](b'{"text":"Two"}\n')
    assert texts(read(tmp_path, content, "a.jsonl.zst")) == ["One", "Two"]


# bad records


@pytest.mark.parametrize(
    ("line", "what"),
    [
        (b"{", "not JSON"),
        (b"Ada saw Oslo.", ".txt file"),
        (b'{"text":"a"} {"text":"b"}', "not JSON"),
        (b'{"text":NaN}', "field 'text' is null"),
        (b"[1,2]", "[1, 2] is not an object"),
        (b'"One"', "'One' is not an object"),
        (b"null", "None is not an object"),
        (b"{}", ": none"),
        (b'{"body":"One","title":"T"}', "'body', 'title'; "),
        (b'{"body":"One"}', "--text-field"),
        (b'{"text":17}', "field 'text' is 17, "),
        (b'{"text":null}', "not a string"),
        (b'{"text":["One"]}', "not a string"),
        (b'{"text":"ab\\u0000c"}', "NUL at character 2"),
        (b'{"text":"ab\0c"}', "not JSON"),
        (b'{"text":"\\ud800"}', "field 'text' has half a surrogate"),
        (b'{"text":"\\udc00\\ud800"}', "field 'text' has half a surrogate"),
        (b'{"text":"a","x":["\\ud800"]}', "field 'x' has half a surrogate"),
        (b'{"text":"a","\\ud800":1}', "half a surrogate"),
        (b'{"text":"\xff"}', "not UTF-8 at byte 9 (0xff)"),
        (b'{"text":"\xed\xa0\x80"}', "not UTF-8"),
        (b'{"text":"a","x":%s}' % (b"[" * 500 + b"]" * 500), "field 'x' is nested too deep"),
        (b'{"text":"a","x":%s}' % (b"[" * 100_000), "not JSON"),
    ],
)
def test_a_bad_line_fails_with_its_place_and_a_reason_and_the_rest_goes_on(
    tmp_path: Path, line: bytes, what: str
) -> None:
    good = b'{"text":"good"}\n'
    found = read(tmp_path, good + line + b"\n" + good)
    assert texts(found) == ["good", None, "good"]
    assert isinstance(found[1], FailedDocument)
    assert found[1].source == f"{tmp_path / 'docs.jsonl'}:2"
    assert found[1].message.startswith(f"{found[1].source}: ")
    assert what in found[1].message
    encode(Extraction(found[1]))


@pytest.mark.parametrize(
    "rest",
    [
        b'"text":5',
        b'"title":"x"',
        b'"text":"\\ud800"',
        b'"text":"\xff"',
        b'"text":"x","bad\\udc80":1',
        b'"text":"x","deep":' + b"[" * 300 + b"]" * 300,
    ],
)
def test_a_bad_line_keeps_its_id_and_the_fields_that_can_be_read(tmp_path: Path, rest: bytes) -> None:
    failed = failure(tmp_path, b'{"id":7,"a":"b",%s}' % rest)
    assert failed.id == "7"
    assert failed.fields["id"] == 7
    assert failed.fields["a"] == "b"
    assert "text" not in failed.fields
    record = json.loads(encode(Extraction(failed)))
    assert record["id"] == 7
    assert record["entities"] == []
    assert record["error"] == {"message": failed.message}


def test_a_list_of_fields_in_a_message_is_short_and_printable(tmp_path: Path) -> None:
    line = json.dumps({f"\x1b[31m{number}\n": 1 for number in range(1000)}).encode()
    message = failure(tmp_path, line).message.removeprefix(str(tmp_path))
    assert len(message) < 400
    assert message.isprintable()


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a\xff", "byte 1 (0xff)"),
        (b"abc\0", "binary"),
        (b"\x7fELF\0\xff", "binary"),
        (b"\xff\xfea\0", "iconv -f UTF-16 "),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1", "git lfs pull"),
    ],
)
def test_a_bad_text_file_fails_with_its_name(tmp_path: Path, content: bytes, what: str) -> None:
    (failed,) = read(tmp_path, content, "a.txt")
    assert isinstance(failed, FailedDocument)
    assert failed.id == "a.txt"
    assert failed.message.startswith(f"{tmp_path / 'a.txt'}: ")
    assert what in failed.message


@pytest.mark.parametrize(
    "options", [{"text_field": "entities"}, {"id_field": "error"}, {"text_field": "id"}, {"id_field": "\udcff"}]
)
def test_field_names_that_cannot_be_are_refused_at_the_call(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="field"):
        read_documents([], **options)


@pytest.mark.parametrize(("value", "what"), [("\ud800", "half a surrogate"), ({"a": 1}, "no field 'text'")])
def test_python_values_are_held_to_the_same_rules(value: str | dict[str, int], what: str) -> None:
    failed = document_of(value, "document 3")
    assert isinstance(failed, FailedDocument)
    assert failed.message.startswith("document 3: ")
    assert what in failed.message


def test_python_values_become_documents() -> None:
    assert document_of("One", "document 1") == Document("One", source="document 1")
    assert document_of({"text": "One", "id": 7, "entities": []}, "document 1") == Document(
        "One", "7", fields={"id": 7}, source="document 1"
    )


# any bytes

PIECES = [
    b'{"text":"',
    b'"}',
    b"\n",
    b"\r\n",
    b"\\ud800",
    b"\\u0000",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"[" * 300,
    b'"id":',
]
json_lines = st.lists(
    st.one_of(
        st.sampled_from(PIECES),
        st.binary(max_size=8),
        st.dictionaries(st.sampled_from(["text", "id", "a"]), st.text(max_size=5) | st.integers()).map(
            lambda value: json.dumps(value).encode() + b"\n"
        ),
    )
).map(b"".join)


@settings(max_examples=300)
@given(json_lines, st.sampled_from(list(PACK)))
@example(b'{"id":%s,"text":"x"}' % (b"[" * 1000 + b"]" * 1000), "")
@example(b'{"id":%s}' % (b"9" * 5000), "")
def test_any_bytes_give_one_record_for_each_line_that_is_not_blank(tmp_path: Path, content: bytes, suffix: str) -> None:
    found = read(tmp_path, PACK[suffix](content), f"docs.jsonl{suffix}")
    rows = [row.removeprefix(b"\xef\xbb\xbf") for row in content.split(b"\n")]
    expected = [number for number, row in enumerate(rows, start=1) if row.strip()]
    if expected and several_lines(rows[expected[0] - 1]):  # then only objects are read
        expected = expected[: max(1, len(found))]
    assert [int(record.source.rpartition(":")[2]) for record in found] == expected
    for record in found:
        written = json.loads(encode(Extraction(record)))
        assert ("error" in written) == isinstance(record, FailedDocument)


@given(st.binary(max_size=200), st.sampled_from([".gz", ".zst"]), st.booleans())
def test_any_bytes_in_a_compressed_file_are_survived(tmp_path: Path, content: bytes, suffix: str, headed: bool) -> None:
    head = PACK[suffix](b"{}\n")[:12] if headed else b""
    for record in read(tmp_path, head + content, f"docs.jsonl{suffix}"):
        assert isinstance(record, FailedDocument)


# broken files


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
@pytest.mark.parametrize("kind", ["cut", "damaged"])
def test_a_broken_file_gives_what_was_read_one_failure_and_then_the_next_file(
    tmp_path: Path, suffix: str, kind: str
) -> None:
    content = lines(20_000)
    packed = PACK[suffix](content)
    half = len(packed) // 2
    broken = tmp_path / f"broken.jsonl{suffix}"
    broken.write_bytes(packed[:half] + (b"" if kind == "cut" else b"\xff" * 64 + packed[half:]))
    (tmp_path / "next.jsonl").write_bytes(b'{"text":"next"}\n')
    moves: list[int] = []
    paths = [str(broken), str(tmp_path / "next.jsonl")]
    found = list(read_documents(paths, progress=moves.append))

    failures = [number for number, record in enumerate(found) if isinstance(record, FailedDocument)]
    read_before = found[: failures[0]]
    assert len(read_before) > 1000
    assert texts(read_before) == [json.loads(line)["text"] for line in content.splitlines()[: len(read_before)]]
    assert failures[-1] == len(found) - 2
    last = found[-2]
    assert isinstance(last, FailedDocument)
    assert last.message.startswith(f"{broken}: broken after line ")
    assert texts(found[-1:]) == ["next"]
    assert sum(moves) == total_bytes(paths)


def test_a_file_that_is_not_what_its_suffix_says_is_one_failure(tmp_path: Path) -> None:
    for suffix in (".gz", ".zst"):
        (failed,) = read(tmp_path, b'{"text":"One"}\n', f"docs.jsonl{suffix}")
        assert isinstance(failed, FailedDocument)
        assert f"docs.jsonl{suffix}: cannot be read" in failed.message


class Failing(io.BytesIO):
    """A disk that fails behind what it has given so far."""

    def readline(self, size: int | None = -1, /) -> bytes:
        if line := super().readline(size):
            return line
        raise OSError(errno.EIO, "Input/output error")

    def read(self, size: int | None = -1, /) -> bytes:
        if data := super().read(size):
            return data
        raise OSError(errno.EIO, "Input/output error")


@pytest.mark.parametrize(("name", "where"), [("a.jsonl", ".*line 100, .*byte"), ("a.conll", "")])
def test_a_disk_that_fails_for_a_moment_ends_the_run_and_costs_no_document(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, where: str
) -> None:
    content = lines(100) if name == "a.jsonl" else b"Ann B-PER\n\n" * 100
    (tmp_path / name).write_bytes(content)
    with monkeypatch.context() as failing:
        failing.setattr("genner_cli.files.streams._raw", lambda path: Failing(content))
        with pytest.raises(ReadError, match=f"{name}: {where}.*Input/output error"):
            list(read_documents([str(tmp_path / name)]))
    assert all(isinstance(record, Document) for record in read_documents([str(tmp_path / name)]))


def test_a_file_that_is_shorter_than_its_block_was_cut(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines(10))
    length = path.stat().st_size
    for start, end in ((0, length + 1), (length - 5, length + 1), (length + 5, length + 9)):
        failed = list(read_documents([Block(str(path), start, end)]))[-1]
        assert isinstance(failed, FailedDocument)
        assert f"before byte {end:,}" in failed.message


def test_a_file_that_is_gone_is_one_failure_and_its_blocks_end_the_run(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone.jsonl")
    (failed,) = read_documents([gone])
    assert isinstance(failed, FailedDocument)
    with pytest.raises(ReadError, match=r"gone\.jsonl: .*\(No such file"):
        list(read_documents([Block(gone, 0, 9)]))


def test_a_broken_text_file_is_one_failure_with_its_id(tmp_path: Path) -> None:
    (failed,) = read(tmp_path, gzip.compress(lines(100))[:-20], "story.txt.gz")
    assert isinstance(failed, FailedDocument)
    assert (failed.id, failed.source) == ("story.txt.gz", str(tmp_path / "story.txt.gz"))


def test_a_file_that_has_gone_is_one_failure(tmp_path: Path) -> None:
    (failed,) = read_documents([str(tmp_path / "gone.jsonl")])
    assert isinstance(failed, FailedDocument)
    assert "No such file" in failed.message


# size


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_line_of_just_the_limit_is_read_and_a_longer_one_is_not(tmp_path: Path, suffix: str, end: bytes) -> None:
    limit = 1000
    line = b'{"text":"%s"}' % (b"x" * (limit - 11))
    for extra, is_read in ((0, True), (1, False), (2, False), (3, False), (200_000, False)):
        content = b'{"text":"a"}\n' + line.replace(b"x", b"x" * (extra + 1), 1) + end
        found = read(tmp_path, PACK[suffix](content), f"a.jsonl{suffix}", max_document_bytes=limit)
        assert [isinstance(record, Document) for record in found] == [True, is_read]
    assert isinstance(found[1], FailedDocument)
    assert f" {limit + 200_000 + len(end):,} bytes" in found[1].message
    assert " 1,000 bytes" in found[1].message
    assert "--max-document-bytes" in found[1].message


def test_lines_after_a_long_one_keep_their_numbers(tmp_path: Path) -> None:
    content = b"x" * 300_000 + b"\n\n" + b'{"text":"a"}\n'
    found = read(tmp_path, content, max_document_bytes=100)
    assert [record.source.rpartition(":")[2] for record in found] == ["1", "3"]


def test_a_text_file_over_the_limit_fails(tmp_path: Path) -> None:
    assert texts(read(tmp_path, b"x" * 100, "a.txt", max_document_bytes=100)) == ["x" * 100]
    (failed,) = read(tmp_path, b"x" * 101, "a.txt", max_document_bytes=100)
    assert isinstance(failed, FailedDocument)
    assert failed.id == "a.txt"
    assert "--max-document-bytes" in failed.message


def peak_while(action: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        action()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_line_of_a_gigabyte_is_passed_over_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks() -> Iterator[bytes]:
        yield b'{"text":"'
        for _ in range(2**30 // 8192):
            yield b"x" * 8192
        yield b'"}\n{"text":"after"}\n'

    feed(monkeypatch, blocks())
    found: list[Record] = []
    peak = peak_while(lambda: found.extend(read_documents(["-"], max_document_bytes=2**20)))
    assert texts(found) == [None, "after"]
    assert peak < 8 * 2**20


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_file_that_unpacks_to_a_hundred_megabytes_is_passed_over_in_little_memory(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](b" " * 100_000_000))
    assert path.stat().st_size < 200_000
    peak = peak_while(lambda: list(read_documents([str(path)], max_document_bytes=2**20)))
    assert peak < 24 * 2**20


def test_many_lines_take_no_more_memory_than_few(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, (b'{"text":"%s"}\n' % (b"x" * 4000) for _ in range(20_000)))
    assert peak_while(lambda: sum(1 for _ in read_documents(["-"]))) < 2**20


def test_an_enormous_limit_costs_no_memory(tmp_path: Path) -> None:
    assert texts(read(tmp_path, b"One", "a.txt", max_document_bytes=2**50)) == ["One"]
    assert texts(read(tmp_path, b'{"text":"One"}', max_document_bytes=2**50)) == ["One"]


@pytest.mark.parametrize("suffix", PACK)
def test_progress_grows_with_the_records_and_adds_up_to_the_size(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](lines(5000)))
    (tmp_path / "b.txt").write_bytes(b"One")
    moves: list[int] = []
    paths = [str(path), str(tmp_path / "b.txt")]
    documents = read_documents(paths, progress=moves.append)
    for _ in range(2500):
        next(documents)
    assert 0.3 < sum(moves) / path.stat().st_size < 0.9
    assert len(list(documents)) == 2501
    assert sum(moves) == total_bytes(paths)
    assert min(moves) >= 0


# files that are not what their name says


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.jsonl.gz"])
@pytest.mark.parametrize(
    ("content", "filter"),
    [
        (b'[\n  {"text": "One"},\n  {"text": "Two"}\n]\n', "'.[]'"),
        (b'\n[{"text": "One"},\n{"text": "Two"}]', "'.[]'"),
        (b'{\n  "text": "One"\n}\n{\n  "text": "Two"\n}\n', " . "),
        (b'[{"text": "One"}, {"text": "Two"}]', "'.[]'"),
    ],
)
def test_a_list_or_objects_over_several_lines_are_one_failure(
    tmp_path: Path, name: str, content: bytes, filter: str
) -> None:
    content = PACK[".gz"](content) if name.endswith(".gz") else content
    (failed,) = read(tmp_path, content, name)
    assert isinstance(failed, FailedDocument)
    assert f"jq -c {filter.strip()} " in failed.message


def test_a_first_line_that_is_cut_costs_itself_alone(tmp_path: Path) -> None:
    assert texts(read(tmp_path, b'{\n{"text": "One"}\n\n{"text": "Two"}\n')) == [None, "One", "Two"]


def test_json_lines_behind_json_are_read(tmp_path: Path) -> None:
    assert texts(read(tmp_path, b'{"text": "One"}\n{"text": "Two"}\n', "a.json")) == ["One", "Two"]
    assert expand([str(tmp_path / "a.json")]) == [str(tmp_path / "a.json")]


def test_a_git_lfs_pointer_is_one_failure(tmp_path: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\nsize 9\n"
    for name in ("a.jsonl", "a.conll", "a.txt"):
        (failed,) = read(tmp_path, pointer, name)
        assert isinstance(failed, FailedDocument)
        assert "git lfs pull" in failed.message


def test_what_json_has_not_becomes_null_and_is_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    line = b'{"text": "One", "a": {"b": [NaN, 1]}, "c": -Infinity, "d": "NaN"}\n'
    (document, _) = read(tmp_path, line + b'{"text": "Two", "c": Infinity}\n')
    assert document.fields == {"a": {"b": [None, 1]}, "c": None, "d": "NaN"}
    reported = [record.getMessage() for record in caplog.records]
    assert ["'b', now null: 1 (" in reported[0] or "'b', now null: 1 (" in reported[1], len(reported)] == [True, 2]
    assert any("Infinity in field 'c', now null: 2 (" in message for message in reported)


def test_byte_order_marks_of_joined_files_are_left_out(tmp_path: Path) -> None:
    line = b'\xef\xbb\xbf{"text":"One"}\n'
    assert texts(read(tmp_path, line + line)) == ["One", "One"]
    assert texts(read(tmp_path, b"\xef\xbb\xbfOne O\n\n\xef\xbb\xbfTwo O\n", "a.conll")) == ["One", "Two"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt"])
def test_an_empty_text_is_a_document(tmp_path: Path, name: str) -> None:
    (document,) = read(tmp_path, b"" if name == "a.txt" else b'{"text": ""}', name)
    assert isinstance(document, Document)
    assert document.text == ""
