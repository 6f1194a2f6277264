"""`genner extract -o FILE` in a real process, with the bundled model, disturbed in every way that a test can."""

from __future__ import annotations

import gzip
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
import zstandard
from resuming import (
    PATIENCE,
    Finish,
    Start,
    assert_same,
    children,
    documents,
    finish,
    manifest,
    records,
    start,
    told,
    wait_for_lines,
    write_documents,
)

from genner_cli import hub

__all__ = ["finish", "start"]
MANY = 160
"""Documents enough that a run is far from done when a test interferes."""
KILLS = 5
"""At random moments in one run; a long test can set GENNER_KILLS."""


@pytest.fixture(scope="module")
def values() -> list[dict[str, object]]:
    return documents(MANY)


@pytest.fixture(scope="module")
def undisturbed(values: list[dict[str, object]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The output of a run that nothing happens to."""
    folder = tmp_path_factory.mktemp("undisturbed")
    begin = start.__wrapped__()  # type: ignore[attr-defined]
    process = next(begin)(write_documents(folder / "in.jsonl", values), "-o", folder / "out.jsonl")
    assert told(process, 0).startswith(f"{MANY} documents, ")
    begin.close()
    return folder / "out.jsonl"


@pytest.fixture
def docs(values: list[dict[str, object]], tmp_path: Path) -> Path:
    return write_documents(tmp_path / "in.jsonl", values)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


def partial(out: Path) -> Path:
    return Path(f"{out}.partial")


def made_before(error: str) -> int:
    """The number of records that an earlier run has left, as the summary gives it."""
    found = re.search(r"(\d+) already done in an earlier run", error)
    assert found, error
    return int(found[1])


def interrupt(start: Start, docs: Path, out: Path, *more: object, after: int = 10) -> str:
    process = start(docs, "-o", out, *more)
    wait_for_lines(partial(out), after, process)
    process.send_signal(signal.SIGINT)
    return told(process, 130)


def test_a_run_that_is_killed_again_and_again_ends_like_an_undisturbed_one(
    start: Start, docs: Path, out: Path, undisturbed: Path
) -> None:
    chance = random.Random(7)
    kills = int(os.environ.get("GENNER_KILLS", KILLS))
    done = 0
    for kill in range(kills):
        process = start(docs, "-o", out)
        wait_for_lines(partial(out), min(done + 1, MANY * (kill + 1) // (kills + 1)), process)
        time.sleep(chance.random() * 0.3)
        process.kill()
        process.wait()
        if not out.exists():
            lines = partial(out).read_bytes()
            assert lines.count(b"\n") >= done
            done = lines.count(b"\n")
    error = told(start(docs, "-o", out), 0)
    assert error.startswith(f"{MANY} documents, ")
    assert_same(records(out), records(undisturbed))
    assert not partial(out).exists()
    assert manifest(out)["ledger"] == manifest(undisturbed)["ledger"]


def test_ctrl_c_finishes_what_is_in_hand_says_how_to_go_on_and_the_same_command_does(
    start: Start, finish: Finish, docs: Path, out: Path, undisturbed: Path
) -> None:
    error = interrupt(start, docs, out)
    count = len(records(partial(out)))
    *_, first, second = error.splitlines()  # before them, what is finished, if anything is in hand
    assert "interrupted" in first
    assert f"{count} documents" in second
    assert str(partial(out)) in second
    assert manifest(out)["state"] == "stopped"
    assert manifest(out)["process"] is None
    assert manifest(out)["ledger"]["documents"] == count
    kept = records(partial(out))
    assert made_before(finish(docs, "-o", out)) == count
    assert records(out)[:count] == kept
    assert_same(records(out), records(undisturbed))
    assert manifest(out)["state"] == "complete"


def test_a_second_ctrl_c_ends_it_at_once(start: Start, tmp_path: Path, out: Path) -> None:
    slow = write_documents(tmp_path / "slow.jsonl", [{"text": "Ann met Bob in Rome. " * 20_000}])
    process = start(slow, "-o", out)
    while not Path(f"{out}.run.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(1)
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    announced, *_, last = told(process, 130).splitlines()
    assert re.search(r"SIGINT: finishing .*slow\.jsonl:1 \(420,000 characters\), for at most 20 s", announced)
    assert "interrupted" in last
    assert time.monotonic() - began < 15
    assert manifest(out)["state"] == "stopped"


def test_sigterm_is_like_ctrl_c_with_its_own_status(
    start: Start, finish: Finish, docs: Path, out: Path, undisturbed: Path
) -> None:
    process = start(docs, "-o", out)
    wait_for_lines(partial(out), 10, process)
    process.send_signal(signal.SIGTERM)
    assert str(partial(out)) in told(process, 143)
    finish(docs, "-o", out)
    assert_same(records(out), records(undisturbed))


def test_ctrl_c_while_standard_input_is_waited_for_ends_the_run(start: Start, out: Path) -> None:
    process = start("-", "-o", out, stdin=subprocess.PIPE)
    assert process.stdin
    process.stdin.write(b'{"text": "Ann met Bob."}\n' * 3)
    process.stdin.flush()
    while not Path(f"{out}.run.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.wait(PATIENCE)
    assert process.returncode == 130
    assert len(records(partial(out))) in (0, 1, 2, 3)


def test_a_complete_output_is_left_as_it_is_and_made_anew_if_it_is_gone(finish: Finish, tmp_path: Path) -> None:
    docs, out = write_documents(tmp_path / "in.jsonl", [*documents(5), "no object"]), tmp_path / "out.jsonl"
    finish(docs, "-o", out, status=1)
    before, described = out.stat(), Path(f"{out}.run.json").read_bytes()
    error = finish(docs, "-o", out, status=1)
    assert error.startswith("6 documents, ")
    assert "1 failed (1 input)" in error
    assert "complete" in error
    assert (out.stat().st_ino, out.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert Path(f"{out}.run.json").read_bytes() == described
    lines = out.read_bytes()
    out.unlink()
    finish(docs, "-o", out, status=1)
    assert out.read_bytes() == lines


@pytest.mark.parametrize("name", ["out.jsonl.gz", "out.jsonl.zst"])
def test_compressed_outputs_go_on_as_well(
    start: Start, finish: Finish, docs: Path, undisturbed: Path, name: str
) -> None:
    out, plain = docs.parent / name, docs.parent / "plain.jsonl"
    interrupt(start, docs, out, "--limit", 40)
    finish(docs, "-o", out, "--limit", 40)

    def unpack(data: bytes) -> bytes:
        if name.endswith("gz"):
            return gzip.decompress(data)
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)

    plain.write_bytes(unpack(out.read_bytes()))
    assert_same(records(plain), records(undisturbed)[:40])
    finish(docs, "-o", out, "--limit", 45)
    plain.write_bytes(unpack(out.read_bytes()))
    assert_same(records(plain), records(undisturbed)[:45])
    assert sorted(path.name for path in out.parent.iterdir()) == sorted(
        ["in.jsonl", "plain.jsonl", name, f"{name}.run.json", f"{name}.run.index"]
    )


def test_other_options_and_another_model_are_refused_until_restart(finish: Finish, docs: Path, out: Path) -> None:
    model = docs.parent / "model.gguf"
    shutil.copy(hub.BUNDLED, model)
    limit = ("--model", model, "--limit", 3)
    finish(docs, "-o", out, *limit)
    assert "complete" in finish(docs, "-o", out, "--limit", 3), "the same model elsewhere"
    error = finish(docs, "-o", out, *limit, "--format", "xml", "--min-score", 0.5, status=2)
    assert "format: inserted -> xml; min-score: 0.0 -> 0.5" in error
    assert "--restart" in error
    with open(model, "r+b") as file:  # as a model that was trained once more: same size, other weights
        file.seek(-64, os.SEEK_END)
        file.write(bytes(64))
    assert "model's content" in finish(docs, "-o", out, *limit, status=2)
    finish(docs, "-o", out, *limit, "--restart", "--format", "xml")
    assert manifest(out)["options"]["format"] == "xml"


def test_a_file_that_no_run_wrote_is_not_overwritten(finish: Finish, docs: Path, out: Path) -> None:
    """Such as gold data that somebody corrected by hand."""
    out.write_text("by hand\n")
    assert f"{out}: is there, and no run is known to have written it" in finish(docs, "-o", out, "--limit", 3, status=2)
    assert out.read_text() == "by hand\n"
    assert [path.name for path in out.parent.glob(f"{out.name}*")] == [out.name]
    finish(docs, "-o", out, "--limit", 3, "--restart")
    assert manifest(out)["state"] == "complete"
    Path(f"{out}.run.json").unlink()
    assert "--restart" in finish(docs, "-o", out, "--limit", 3, status=2)
    out.write_bytes(b"")  # as mktemp makes it
    finish(docs, "-o", out, "--limit", 3)


def test_a_manifest_that_is_gone_or_broken_costs_no_record(start: Start, finish: Finish, docs: Path, out: Path) -> None:
    interrupt(start, docs, out)
    described, before = Path(f"{out}.run.json"), partial(out).read_bytes()
    content = described.read_bytes()
    described.unlink()
    assert re.search(f"{described}: .*not there.*--restart", finish(docs, "-o", out, status=2))
    described.write_bytes(content[:40])
    assert re.search(f"{described}: .* manifest .*--restart", finish(docs, "-o", out, status=2))
    described.write_bytes(orjson.dumps({**orjson.loads(content), "options": []}))
    assert re.search(f"{described}: .* manifest .*settings", finish(docs, "-o", out, status=2))
    described.write_bytes(content)
    finish(docs, "-o", out)
    assert out.read_bytes().startswith(before)


def test_changed_and_cut_input_is_found_and_named(start: Start, finish: Finish, docs: Path, out: Path) -> None:
    interrupt(start, docs, out)
    lines = docs.read_bytes().splitlines(keepends=True)
    docs.write_bytes(b"".join([*lines[:6], b'{"id": 6, "text": "Eve was here."}\n', *lines[7:]]))
    assert re.search(f"{docs}:7: .*record 7 ", finish(docs, "-o", out, status=2))
    docs.write_bytes(b"".join(lines[2:]))
    assert re.search(f"{docs}:1: .*record 1 ", finish(docs, "-o", out, status=2))
    docs.write_bytes(b"".join(lines[:9]))
    assert re.search("--limit .*document 10,", finish(docs, "-o", out, status=2))


def test_input_that_has_grown_is_gone_on_with(finish: Finish, tmp_path: Path, out: Path, undisturbed: Path) -> None:
    values = documents(30)
    docs = write_documents(tmp_path / "in.jsonl", values[:20])
    finish(docs, "-o", out)
    write_documents(docs, values)
    assert made_before(finish(docs, "-o", out)) == 20
    assert_same(records(out), records(undisturbed)[:30])


def test_errors_are_tried_again_when_asked_to_and_all_else_stays(finish: Finish, tmp_path: Path, out: Path) -> None:
    values = documents(30)
    good = write_documents(tmp_path / "good.jsonl", values)
    finish(good, "-o", tmp_path / "good-out.jsonl")
    lines = good.read_bytes().splitlines(keepends=True)
    docs = tmp_path / "in.jsonl"
    docs.write_bytes(b"".join([b"{torn\n", *lines[1:12], b"[]\n", *lines[13:29], lines[29][:20]]))
    assert "3 failed (3 input)" in finish(docs, "-o", out, status=1)
    kept = records(out)
    docs.write_bytes(good.read_bytes())
    assert re.search(f"{docs}:1: .*record 1 ", finish(docs, "-o", out, status=2))
    error = finish(docs, "-o", out, "--retry-errors")
    assert error.startswith("30 documents, ")
    assert made_before(error) == 27
    found = records(out)
    assert_same(found, records(tmp_path / "good-out.jsonl"))
    assert [n for n in range(30) if found[n] != kept[n]] == [0, 12, 29]
    assert "complete" in finish(docs, "-o", out, "--retry-errors")
    assert not list(tmp_path.glob("*.retry*"))


def test_an_unfinished_output_is_retried_and_then_gone_on_with(
    start: Start, finish: Finish, docs: Path, out: Path
) -> None:
    lines = docs.read_bytes().splitlines(keepends=True)
    docs.write_bytes(b"".join([lines[0], b"{torn\n", *lines[2:40]]))
    interrupt(start, docs, out)
    docs.write_bytes(b"".join(lines[:40]))
    finish(docs, "-o", out, "--retry-errors")
    assert [record["text"] for record in records(out)] == [value["text"] for value in documents(40)]


def test_a_retry_can_be_interrupted_and_gone_on_with(
    start: Start, finish: Finish, docs: Path, out: Path, undisturbed: Path
) -> None:
    finish(docs, "-o", out, "--max-document-bytes", 5, status=1)
    before = out.read_bytes()
    process = start(docs, "-o", out, "--retry-errors")
    wait_for_lines(Path(f"{out}.retry"), 10, process)
    process.send_signal(signal.SIGINT)
    assert f"{out}.retry" in told(process, 130)
    count = len(records(Path(f"{out}.retry")))
    assert out.read_bytes() == before
    assert manifest(out)["state"] == "retrying"
    assert made_before(finish(docs, "-o", out, "--retry-errors")) == count
    assert_same(records(out), records(undisturbed))


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_compressed_input_that_is_broken_in_the_middle_costs_its_rest_and_no_neighbour(
    finish: Finish, docs: Path, out: Path, suffix: str
) -> None:
    content = docs.read_bytes()
    packed = gzip.compress(content) if suffix == "gz" else zstandard.compress(content)
    broken = docs.parent / f"a.jsonl.{suffix}"
    broken.write_bytes(packed[: len(packed) // 3])
    after = write_documents(docs.parent / "b.jsonl", documents(3))
    error = finish(broken, after, "-o", out, status=1)
    found = records(out)
    assert "1 failed (1 input)" in error
    assert [number for number, record in enumerate(found) if "error" in record] == [len(found) - 4]
    assert str(broken) in found[-4]["error"]["message"]
    assert [record["text"] for record in found[-3:]] == [value["text"] for value in documents(3)]


def test_two_processes_do_not_write_one_output(start: Start, finish: Finish, docs: Path, out: Path) -> None:
    first = start(docs, "-o", out)
    wait_for_lines(partial(out), 5, first)
    error = finish(docs, "-o", out, status=2)
    assert f"{out}: process {first.pid} " in error
    assert first.poll() is None
    told(first, 0)
    assert len(records(out)) == MANY


def test_a_full_disk_is_told_and_the_run_goes_on_when_there_is_room(
    start: Start, finish: Finish, docs: Path, out: Path, undisturbed: Path
) -> None:
    """A limit on the size of files, which the system answers in the middle of a line."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (9_001, resource.RLIM_INFINITY))

    error = told(start(docs, "-o", out, preexec_fn=limit), 1)
    assert re.search(rf"{partial(out)}: .*\(File too large\)", error)
    assert partial(out).stat().st_size <= 9_001
    finish(docs, "-o", out)
    assert_same(records(out), records(undisturbed))


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="needs a folder in which nobody may make files")
def test_a_folder_that_may_not_be_written_is_told_before_any_work(finish: Finish, docs: Path) -> None:
    error = finish(docs, "-o", "/proc/self/out.jsonl", status=2)
    assert error.startswith("genner: /proc/self/out.jsonl")
    assert error.count("\n") == 1


def test_an_engine_that_is_killed_is_started_again_and_nothing_is_lost(
    start: Start, docs: Path, out: Path, undisturbed: Path
) -> None:
    """As the system does when memory runs out."""
    process = start(docs, "-o", out)
    for count in (10, 50):
        wait_for_lines(partial(out), count, process)
        (child,) = children(process)
        os.kill(child, signal.SIGKILL)
    error = told(process, 0)
    assert error.count("SIGKILL") == 2
    assert_same(records(out), records(undisturbed))


def test_restart_and_retry_need_a_file(finish: Finish, docs: Path, out: Path) -> None:
    assert re.search("--restart .* -o", finish(docs, "--restart", status=2))
    assert re.search("--retry-errors .*'-'", finish("-", "-o", out, "--retry-errors", status=2))


@pytest.mark.parametrize("wait", [0.05, 0.3, 0.6, 1.0, 1.5])
def test_ctrl_c_reaches_all_processes_at_any_moment_and_is_told_in_a_line(
    start: Start, tmp_path: Path, out: Path, wait: float
) -> None:
    docs = write_documents(tmp_path / "in.jsonl", documents(5 * MANY))
    process = start(docs, "-o", out, process_group=0)
    wait_for(lambda: bool(children(process)), process)
    time.sleep(wait - 0.05)
    os.killpg(process.pid, signal.SIGINT)
    assert len(told(process, 130).splitlines()) <= 3


def test_ctrl_c_while_the_engine_is_started_again_is_no_error_of_the_engine(
    start: Start, docs: Path, out: Path
) -> None:
    process = start(docs, "-o", out, process_group=0)
    wait_for_lines(partial(out), 5, process)
    (engine,) = children(process)
    os.kill(engine, signal.SIGKILL)
    wait_for(lambda: children(process) not in ([], [engine]), process)
    os.killpg(process.pid, signal.SIGINT)
    assert str(partial(out)) in told(process, 130)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    while not condition():
        assert process.poll() is None
        time.sleep(0.005)
