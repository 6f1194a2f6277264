"""genner_cli.files.resuming: an output that is gone on with, killed at each step that it takes on the disk."""

from __future__ import annotations

import errno
import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from genner_cli.errors import GennerError, UsageError
from genner_cli.files import journal
from genner_cli.files.manifest import Manifest, Settings
from genner_cli.files.output_target import OutputTarget, records_of
from genner_cli.files.resuming import ResumableOutput
from genner_cli.files.tables import COLUMNS
from genner_cli.files.writing import encode
from genner_cli.ledger import Ledger, Outcome, outcome_of
from genner_cli.types import Document, Entity, Extraction, FailedDocument, Reason

SETTINGS = Settings({"format": "xml", "labels": {"PER": ""}, "min-score": 0.5}, model={"file": "m.gguf"})
Input = Document | FailedDocument


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is durable is not tested here; it takes most of the time."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def documents(count: int, unread: Sequence[int] = ()) -> list[Input]:
    """All of the same text, as duplicates are documents as well."""
    return [
        FailedDocument(f"in:{n}: torn", f"in:{n}") if n in unread else Document("John ran", source=f"in:{n}")
        for n in range(1, count + 1)
    ]


def made(document: Input) -> tuple[bytes, Input, Outcome]:
    if isinstance(document, FailedDocument):
        extraction = Extraction(document, error=document.message, reason=Reason.INPUT)
    else:
        extraction = Extraction(document, (Entity(0, 4, "PER", "John"),), completions=("x",), chunks=1)
    return encode(extraction), document, outcome_of(extraction)


def work(path: Path, values: Iterable[Input], *, retry: bool = False, **options: bool) -> Ledger:
    """What `genner extract` does, without a model."""
    with ResumableOutput(str(path)) as output:
        output.begin(SETTINGS, **options)
        if retry:
            with output.retry() as again:
                for document in again.rest(iter(values)):
                    again.write(*made(document))
                again.finish()
        for document in output.rest(iter(values)):
            output.write(*made(document))
        output.finish()
        return output.ledger


def lines(path: Path) -> list[bytes]:
    with OutputTarget(str(path)).lines(str(path)) as found:
        return list(found)


def expected(values: Iterable[Input]) -> list[bytes]:
    return [made(document)[0] for document in values]


def test_a_disk_that_cannot_keep_what_it_took_is_an_error_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    path = tmp_path / "out.jsonl"
    with ResumableOutput(str(path)) as output:
        output.begin(SETTINGS)
        for document in output.rest(iter(documents(3, unread=(2,)))):
            output.write(*made(document))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fails)
            with pytest.raises(GennerError):
                output.finish()
        output.finish()
        with output.retry() as again, monkeypatch.context() as patch:
            for document in again.rest(iter(documents(3))):
                again.write(*made(document))
            patch.setattr(os, "fsync", fails)
            with pytest.raises(GennerError):
                again.finish()
    work(path, documents(3), retry=True)
    assert lines(path) == expected(documents(3))


class Killed(BaseException):
    """As SIGKILL: nothing is done on the disk after it."""


class Disk:
    """Counts what is done on the disk, and is gone from step `last` on: a write then is torn."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.left = last
        for name in ("replace", "unlink", "fsync"):
            patch.setattr(os, name, self._step(getattr(os, name)))
        patch.setattr(journal, "_write", self._torn(journal._write))

    def _step(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return function(*args, **more) if self.left > 0 else None

        return step

    def _torn(self, write: Callable[..., None]) -> Callable[..., None]:
        def step(file: Any, data: bytes) -> None:
            self.left -= 1
            if self.left >= 0:
                write(file, data if self.left else data[: len(data) // 2])
            if self.left == 0:
                raise Killed

        return step


def killed_everywhere(folder: Path, name: str, act: Callable[[Path], object]) -> Iterator[Path]:
    """The output of `act`, killed at each of its steps and then done again; `folder` is made anew each time."""
    for step in range(1, 200):
        path = folder / str(step) / name
        path.parent.mkdir()
        with pytest.MonkeyPatch.context() as patch:
            prepared = prepare(path)
            disk = Disk(patch, step)
            with suppress(Killed):
                act(path)
        if disk.left > 0:
            assert step > 10, "it was never killed"
            return
        act(path)
        yield prepared
    raise AssertionError("it does not end")


def prepare(path: Path) -> Path:
    """A complete output of six documents, of which two could not be read."""
    if "fresh" not in path.name:
        work(path, documents(6, unread=(2, 5)))
    return path


@pytest.mark.parametrize("name", ["fresh.jsonl", "fresh.jsonl.gz", "fresh.jsonl.zst", "fresh.parquet", "fresh.csv"])
def test_a_run_that_is_killed_at_any_step_ends_whole(tmp_path: Path, name: str) -> None:
    values = documents(5, unread=(3,))
    for path in killed_everywhere(tmp_path, name, lambda path: work(path, values)):
        assert lines(path) == expected(values)
        assert_tidy(path)


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz", "out.parquet", "out.csv", "out.tsv.zst"])
@pytest.mark.parametrize("count", [6, 8])
def test_a_retry_that_is_killed_at_any_step_ends_whole(tmp_path: Path, name: str, count: int) -> None:
    values = documents(count, unread=(5,))
    for path in killed_everywhere(tmp_path, name, lambda path: work(path, values, retry=True)):
        assert lines(path) == expected(values)
        assert_tidy(path)


def test_growth_of_a_complete_output_that_is_killed_at_any_step_ends_whole(tmp_path: Path) -> None:
    values = documents(9, unread=(2, 5, 8))
    for path in killed_everywhere(tmp_path, "out.jsonl", lambda path: work(path, values)):
        assert lines(path) == expected(values)
        assert_tidy(path)


def test_a_restart_that_is_killed_at_any_step_ends_whole(tmp_path: Path) -> None:
    values = documents(4)
    for path in killed_everywhere(tmp_path, "out.jsonl", lambda path: work(path, values, restart=True)):
        assert lines(path) == expected(values)
        assert_tidy(path)


def assert_tidy(path: Path) -> None:
    """Nothing but the output, its index and its manifest, and a ledger that is true."""
    left = {entry.name for entry in path.parent.iterdir()} - {f"{path.name}.run.json.partial"}
    assert left == {path.name, Path(records_of(str(path))).name, f"{path.name}.run.json", f"{path.name}.run.index"}
    manifest = orjson.loads(Path(f"{path}.run.json").read_bytes())
    records = [orjson.loads(line) for line in lines(path)]
    if path.suffix == ".csv":
        johns = [f"#{n},0,4,PER,John,,John ran" for n, record in enumerate(records, 1) if record["entities"]]
        assert path.read_text("utf-8").splitlines() == [",".join(COLUMNS), *johns]
    assert manifest["state"] == "complete"
    assert manifest["ledger"]["documents"] == len(records)
    assert manifest["ledger"]["failed"]["input"] == sum("error" in record for record in records)


def test_a_complete_output_that_was_edited_is_not_gone_on_with(tmp_path: Path) -> None:
    path = prepare(tmp_path / "out.jsonl")
    path.write_bytes(path.read_bytes().replace(b"John ran", b"John sat"))
    with pytest.raises(UsageError, match=r"out\.jsonl:1: .*as it was written; .*--restart"):
        work(path, documents(6, unread=(5,)), retry=True)
    with pytest.raises(UsageError, match=r"out\.jsonl:1: .*as it was written"):
        work(path, documents(7, unread=(2, 5)))


def test_a_document_that_was_read_may_not_change_for_a_retry(tmp_path: Path) -> None:
    path = prepare(tmp_path / "out.jsonl")
    before = path.read_bytes()
    values = documents(6)
    values[3] = Document("Eve ran", source="in:4")
    with pytest.raises(UsageError, match=r"in:4: .*record 4 "):
        work(path, values, retry=True)
    assert path.read_bytes() == before


def test_a_document_that_failed_in_the_engine_may_not_change_for_a_retry(tmp_path: Path) -> None:
    """Only what could not be read may have been corrected."""
    path, values = tmp_path / "out.jsonl", documents(3)
    failed = Extraction(values[1], error="the KV cache is too small", reason=Reason.ENGINE)
    with ResumableOutput(str(path)) as output:
        output.begin(SETTINGS)
        output.write(*made(values[0]))
        output.write(encode(failed), values[1], outcome_of(failed))
        output.write(*made(values[2]))
        output.finish()
    before = path.read_bytes()
    with pytest.raises(UsageError):
        work(path, [values[0], Document("Eve ran", source="in:2"), values[2]], retry=True)
    assert path.read_bytes() == before
    assert work(path, values, retry=True).failed == 0
    assert lines(path) == expected(values)


def test_an_older_partial_file_without_a_run_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl.partial").write_bytes(b'{"what": "is this"}\n')
    work(tmp_path / "out.jsonl", documents(2))
    assert lines(tmp_path / "out.jsonl") == expected(documents(2))


def test_a_call_that_fails_before_it_began_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError), ResumableOutput(str(tmp_path / "out.jsonl")):
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def many(count: int) -> Iterator[Document]:
    return (Document("John ran", source="in") for _ in range(count))


def test_memory_does_not_grow_with_what_is_there_already(tmp_path: Path) -> None:
    peaks = []
    for count in (200, 4000):
        path = tmp_path / f"{count}.jsonl"
        with ResumableOutput(str(path)) as output:
            output.begin(SETTINGS)
            for document in many(count):
                output.write(*made(document))
        tracemalloc.start()
        assert work(path, many(count)).documents == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 100_000


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        (
            {"labels": {"PER": "", "LOC": ""}, "labels of each pass": [2], "format": "xml"},
            {"labels": {"PER": ""}, "labels of each pass": [1], "format": "xml"},
            "labels: PER, LOC -> PER",
        ),
        ({"labels of each pass": [2, 1]}, {"labels of each pass": [1, 1, 1]}, "labels of each pass: 2, 1 -> 1, 1, 1"),
        ({"format": "xml", "labels": {"PER": ""}}, {"format": None, "labels": {"PER": "names"}},
         "format: xml -> none; labels changed"),
        ({"labels": {"L" * 40: "", "M" * 40: ""}}, {"labels": {"PER": ""}}, "labels changed"),
        ({"format": "xml"}, {"format": "xml"}, ""),
    ],
)  # fmt: skip
def test_options_that_differ_are_named_but_not_what_follows_from_them(
    before: dict[str, Any], now: dict[str, Any], what: str
) -> None:
    assert Manifest(Settings(before), "complete", None, {}).differences(Settings(now)) == what
