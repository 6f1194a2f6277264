"""genner_cli.files.writing: extractions -> JSON Lines on disk."""

import errno
import gzip
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import orjson
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from genner_cli.errors import DataError, GennerError, UsageError
from genner_cli.files.reading import read_documents
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.writing import Writer, encode, record_of
from genner_cli.types import Document, Entity, Extraction, FailedDocument

JOHN = Entity(0, 4, "PER", "John", 0.987654)


def unpacked(path: Path) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".gz":
        return gzip.decompress(data)
    return zstandard.ZstdDecompressor().decompressobj().decompress(data) if path.suffix == ".zst" else data


def write(path: Path, lines: Iterable[bytes]) -> None:
    with Writer(str(path)) as writer:
        for line in lines:
            writer.write(line)


def lines_until_a_bug() -> Iterator[bytes]:
    yield b"{}\n"
    raise KeyError("a bug")


class FullDisk(io.BytesIO):
    def write(self, data: object, /) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_record_has_id_text_other_fields_and_entities_in_this_order() -> None:
    document = Document("John ran", "7", fields={"date": "today", "id": 7, "a": [1, None]})
    line = encode(Extraction(document, (JOHN,)))
    assert line == (
        b'{"id":7,"text":"John ran","date":"today","a":[1,null],'
        b'"entities":[{"start":0,"end":4,"label":"PER","text":"John","score":0.9877}]}\n'
    )


def test_a_record_without_an_id_gets_none_and_an_entity_without_a_score_gets_none() -> None:
    line = encode(Extraction(Document("John"), (Entity(0, 4, "PER", "John"),)))
    assert line == b'{"text":"John","entities":[{"start":0,"end":4,"label":"PER","text":"John"}]}\n'


def test_an_id_that_is_null_stays_null() -> None:
    assert encode(Extraction(Document("x", fields={"id": None}))) == b'{"id":null,"text":"x","entities":[]}\n'


def test_other_names_for_text_and_id_are_kept_in_the_output() -> None:
    document = Document("John", "7", fields={"id": "other", "nr": 7, "text": "a title"})
    record = record_of(Extraction(document), text_field="body", id_field="nr")
    assert list(record.items()) == [("nr", 7), ("body", "John"), ("id", "other"), ("text", "a title"), ("entities", [])]


def test_a_failed_extraction_has_its_text_an_error_and_no_entities() -> None:
    record = record_of(Extraction(Document("John", "7"), (JOHN,), error="docs.jsonl:1: too long"))
    assert record == {"id": "7", "text": "John", "entities": [], "error": {"message": "docs.jsonl:1: too long"}}


def test_a_document_that_was_not_read_has_its_fields_an_error_and_no_text() -> None:
    failed = FailedDocument("docs.jsonl:1: not JSON", "docs.jsonl:1", "7", {"id": 7, "a": "b"})
    record = record_of(Extraction(failed))
    assert list(record.items()) == [
        ("id", 7),
        ("a", "b"),
        ("entities", []),
        ("error", {"message": "docs.jsonl:1: not JSON"}),
    ]


def test_completions_come_last_and_only_when_asked_for() -> None:
    extraction = Extraction(Document("John"), (), None, ("<a>", "<b>"))
    assert list(record_of(extraction)) == ["text", "entities"]
    assert list(record_of(extraction, keep_completion=True).items())[-1] == ("completion", ["<a>", "<b>"])


def test_fields_by_the_name_of_an_output_field_do_not_reach_the_output() -> None:
    document = Document("John", fields={"entities": [1], "error": "old", "completion": "old", "a": 1})
    assert record_of(Extraction(document)) == {"text": "John", "a": 1, "entities": []}


def test_a_field_that_json_cannot_carry_is_a_data_error_that_names_the_document() -> None:
    with pytest.raises(DataError, match="document 3"):
        encode(Extraction(Document("John", fields={"a": object()}, source="document 3")))


hostile = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(hostile, st.dictionaries(hostile, json_values, max_size=4)), max_size=4),
    st.sampled_from(["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"]),
)
def test_what_is_written_is_read_back_alike(
    tmp_path: Path, texts: list[tuple[str, dict[str, object]]], name: str
) -> None:
    reserved = ("text", "entities", "error", "completion")
    given_fields = [{key: value for key, value in fields.items() if key not in reserved} for _, fields in texts]
    path = tmp_path / name
    with Writer(str(path)) as writer:
        for (text, _), fields in zip(texts, given_fields, strict=True):
            writer.write(encode(Extraction(Document(text, fields=fields), (Entity(0, 1, "PER", text[:1]),))))
    found = list(read_documents([str(path)]))
    assert [document.text for document in found if isinstance(document, Document)] == [text for text, _ in texts]
    assert [document.fields for document in found] == given_fields


@pytest.mark.parametrize("name", ["out.jsonl", "out.ndjson", "out.jsonl.gz", "OUT.JSONL.ZST"])
def test_a_file_appears_whole_when_the_block_ends(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    with Writer(str(path)) as writer:
        writer.write(b"{}\n")
        writer.write(b"[]\n" * 100_000)
        assert not path.exists()
    assert [found.name for found in tmp_path.iterdir()] == [name]
    assert unpacked(path.rename(tmp_path / name.lower())) == b"{}\n" + b"[]\n" * 100_000


def test_a_line_is_in_the_partial_file_as_soon_as_it_is_written(tmp_path: Path) -> None:
    with Writer(str(tmp_path / "out.jsonl")) as writer:
        writer.write(b"{}\n")
        assert (tmp_path / "out.jsonl.partial").read_bytes() == b"{}\n"


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
def test_an_exception_leaves_a_readable_partial_file_and_the_old_output(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"old")
    with pytest.raises(KeyError) as caught:
        write(path, lines_until_a_bug())
    assert path.read_bytes() == b"old"
    partial = Path(f"{path}.partial")
    (note,) = caught.value.__notes__
    assert str(partial) in note
    assert unpacked(partial.rename(tmp_path / f"partial-{name}")) == b"{}\n"


def test_a_link_is_followed_and_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "real.jsonl")
    with Writer(str(tmp_path / "out.jsonl")) as writer:
        writer.write(b"{}\n")
    assert (tmp_path / "out.jsonl").is_symlink()
    assert (tmp_path / "real.jsonl").read_bytes() == b"{}\n"


@pytest.mark.parametrize("name", ["out", "out.txt", "out.json", "out.jsonl.bz2", "missing/out.jsonl", "folder.jsonl"])
def test_a_path_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(UsageError, match=name):
        Writer(str(tmp_path / name))
    with pytest.raises(UsageError, match="is a folder"):
        Writer(str(tmp_path))
    assert os.listdir(tmp_path) == ["folder.jsonl"]


def test_a_folder_that_may_not_be_written_is_refused(unprivileged: Path) -> None:
    path = unprivileged / "out.jsonl"
    Writer(str(path))
    unprivileged.chmod(0o500)
    with pytest.raises(UsageError, match=r"out\.jsonl: .*folder .*cannot"):
        Writer(str(path))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder that takes no file, not even of root")
def test_a_folder_that_takes_no_file_is_named_with_the_output_alone() -> None:
    for output in (Writer, ResumableOutput):
        with pytest.raises(UsageError, match=r"^/proc/x\.jsonl: the folder /proc .*-o$"), output("/proc/x.jsonl"):
            pass


def test_a_file_that_cannot_be_made_is_refused_when_the_block_begins(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").mkdir()
    with pytest.raises(UsageError, match=r"out\.jsonl"), Writer(str(tmp_path / "out.jsonl")):
        pass


def test_an_input_is_never_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs.jsonl").write_bytes(b"{}")
    (tmp_path / "link.jsonl").symlink_to("docs.jsonl")
    for inputs in (["-", "docs.jsonl"], ["link.jsonl"]):
        with pytest.raises(UsageError, match=r"docs\.jsonl: is an input"):
            Writer(str(tmp_path / "docs.jsonl"), inputs=inputs)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full")
@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.jsonl.zst"])
def test_a_full_disk_is_an_error_with_path_and_remedy(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    Path(f"{path}.partial").symlink_to("/dev/full")
    with pytest.raises(GennerError) as caught:
        write(path, (os.urandom(100) for _ in range(10_000)))
    message = str(caught.value)
    assert re.match(rf"{path}: .*\(No space left on device\)", message)
    assert f"{path}.partial" in message
    assert not path.exists()


LIMITED = """
import resource, sys
from genner_cli.errors import GennerError
from genner_cli.files.writing import Writer
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    with Writer(sys.argv[1]) as writer:
        for number in range(100_000):
            writer.write(b"%d\\n" % number)
except GennerError as error:
    sys.exit(str(error))
"""


def test_a_file_over_the_size_limit_keeps_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    done = subprocess.run([sys.executable, "-c", LIMITED, str(path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert re.match(rf"{path}: .*\(File too large\)", done.stderr)
    assert (tmp_path / "out.jsonl.partial").stat().st_size == 100_000
    assert not path.exists()


def test_standard_output_gets_each_line_at_once(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    with Writer("-") as writer:
        writer.write(b"{}\n")
        assert capfdbinary.readouterr().out == b"{}\n"
    print("still open")
    assert capfdbinary.readouterr().out == b"still open\n"


def test_standard_output_without_a_file_behind_it_works_too(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    with Writer("-") as writer:
        writer.write(b"{}\n")
    print("still open")
    assert capsysbinary.readouterr().out == b"{}\nstill open\n"


def test_a_full_disk_behind_standard_output_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(FullDisk()))
    with pytest.raises(GennerError, match="standard output: cannot be written"), Writer("-") as writer:
        writer.write(b"{}\n")


PIPED = """
import sys
from genner_cli.files.writing import Writer
try:
    with Writer("-") as writer:
        while True:
            writer.write(b"{}\\n" * 1000)
except BrokenPipeError:
    sys.exit(7)
"""


def test_a_reader_that_goes_away_ends_the_run_without_a_word() -> None:
    with subprocess.Popen([sys.executable, "-c", PIPED], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.read(3) == b"{}\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 7


def test_output_is_utf8_json_one_object_a_line() -> None:
    line = encode(Extraction(Document("é\u2028\n😀", "1")))
    assert line.count(b"\n") == 1
    assert orjson.loads(line)["text"] == "é\u2028\n😀"
