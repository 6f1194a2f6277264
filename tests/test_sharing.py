"""`genner extract --shard` and `genner data merge`: real shards, joined, against the run that was not shared out."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from conftest import Run
from resuming import COMMAND, assert_same, documents, manifest, records, write_documents

from genner_cli.files import joining
from genner_cli.files.journal import Journal

Genner = Callable[..., Run]
FIXED = ("--slots", 1, "--max-document-bytes", 600)
ONE_THREAD = ("--threads", 1, "--gpu-layers", 0)


def mixed_input(folder: Path) -> list[Path]:
    """Plain and compressed files with lines that fail, blank ones, and one too long to be read."""
    values = documents(24)
    one, two, three = folder / "a.jsonl", folder / "b.jsonl.gz", folder / "c.jsonl"
    write_documents(one, values[:9])
    lines = one.read_bytes().splitlines(keepends=True)
    one.write_bytes(b"".join([*lines[:4], b"\n", b"{torn\n", *lines[4:8], b"[]\r\n", lines[8].rstrip(b"\n")]))
    two.write_bytes(gzip.compress(b"".join(orjson.dumps(value) + b"\n" for value in values[9:13])))
    write_documents(three, [*values[13:], {"text": 5}, {"text": "x" * 700}])
    return [one, two, three]


def extract(genner: Genner, paths: Sequence[Path], out: Path, *more: object) -> Run:
    return genner("extract", *paths, "-o", out, *FIXED, *more)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the input, the outputs of three shards (made in an order of their own) and that of one run."""
    folder = tmp_path_factory.mktemp("made")
    paths = mixed_input(folder)
    for name, more in {"part-2": ("2/3",), "part-3": ("3/3",), "part-1": ("1/3",), "whole": ()}.items():
        shard = ("--shard", *more) if more else ()
        told = subprocess.run(
            [*map(str, (*COMMAND, *paths, "-o", folder / f"{name}.jsonl", *FIXED, *ONE_THREAD, *shard))],
            stderr=subprocess.PIPE,
            check=False,
        )
        assert told.returncode in (0, 1), told.stderr
        (folder / f"{name}.told").write_bytes(told.stderr)
    return folder


@pytest.fixture
def paths(made: Path) -> Iterator[list[Path]]:
    """The input, which is put back as it was when a test has changed it."""
    before = {path: path.read_bytes() for path in sorted(made.glob("[abc].jsonl*"))}
    yield list(before)
    for path, content in before.items():
        path.write_bytes(content)


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> list[Path]:
    """Copies of the outputs of the shards."""
    for path in made.glob("part-*"):
        shutil.copy(path, tmp_path)
    return [tmp_path / f"part-{number}.jsonl" for number in (1, 2, 3)]


def test_shards_joined_are_the_output_of_a_run_that_was_not_shared_out(
    genner: Genner, made: Path, tmp_path: Path, paths: list[Path], shards: list[Path]
) -> None:
    whole, out = made / "whole.jsonl", tmp_path / "out.jsonl"
    assert min(len(records(path)) for path in shards) > 1
    run = genner("data", "merge", shards[2], shards[0], shards[1], "-o", out)
    assert (run.status, run.stdout) == (1, b"")
    told = (made / "whole.told").read_text(encoding="utf-8")
    assert run.stderr.startswith(told.split(" in ")[0])
    assert "3 shards" in run.stderr
    assert_same(records(out), records(whole))
    assert manifest(out)["ledger"] == manifest(whole)["ledger"]
    assert manifest(out)["options"] == manifest(whole)["options"]
    assert [record["error"]["message"].split(": ")[0] for record in records(out) if "error" in record] == [
        f"{paths[0]}:6",
        f"{paths[0]}:11",
        f"{paths[2]}:12",
        f"{paths[2]}:13",
    ]
    assert "complete" in extract(genner, paths, out).stderr


def test_what_was_joined_is_gone_on_with_like_any_output(
    genner: Genner, tmp_path: Path, paths: list[Path], shards: list[Path]
) -> None:
    out = tmp_path / "out.jsonl.gz"
    genner("data", "merge", tmp_path / "part-?.jsonl", "-o", out)
    paths[0].write_bytes(paths[0].read_bytes().replace(b"{torn", b'{"text": "Ann met Bob."}'))
    run = extract(genner, paths, out, "--retry-errors")
    assert re.search(r"\b24 already", run.stderr), run.stderr
    found = [orjson.loads(line) for line in gzip.decompress(out.read_bytes()).splitlines()]
    assert found[4]["text"] == "Ann met Bob."
    assert sum("error" in record for record in found) == 3


def test_a_shard_is_an_output_that_is_gone_on_with_and_only_by_the_same_shard_of_the_same_input(
    genner: Genner, paths: list[Path], shards: list[Path]
) -> None:
    assert "complete" in extract(genner, paths, shards[0], "--shard", "1/3").stderr
    run = extract(genner, paths, shards[0], "--shard", "2/3")
    assert run.status == 2
    assert re.search("shard: 1/3 -> 2/3", run.stderr)
    with paths[2].open("ab") as file:
        file.write(b"\n")
    run = extract(genner, paths, shards[0], "--shard", "1/3")
    assert (run.status, "input: " in run.stderr) == (2, True)
    run = extract(genner, paths[:2], shards[0], "--shard", "1/3")
    assert (run.status, "input: " in run.stderr) == (2, True)


def test_missing_and_doubled_shards_are_told_with_the_remedy_and_nothing_is_written(
    genner: Genner, tmp_path: Path, shards: list[Path]
) -> None:
    out = tmp_path / "out.jsonl"
    run = genner("data", "merge", shards[0], "-o", out)
    assert run.status == 2
    assert re.search("missing: shard 2/3, 3/3 .*--shard", run.stderr)
    copy = tmp_path / "copy.jsonl"
    for suffix in ("", ".run.json", ".run.index"):
        Path(f"{copy}{suffix}").write_bytes(Path(f"{shards[1]}{suffix}").read_bytes())
    run = genner("data", "merge", *shards, copy, "-o", out)
    assert run.status == 2
    assert re.search(f"{shards[1]} and {copy} .*shard 2/3", run.stderr)
    assert not list(tmp_path.glob("out.jsonl*"))


def changed(output: Path, **values: Any) -> None:
    """Changes what a manifest says: of the run, or of its options."""
    described = manifest(output)
    for name, value in values.items():
        place = next(each for each in (described, described["share"], described["options"]) if name in each)
        place[name] = value
    Path(f"{output}.run.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"state": "stopped"}, r"shard 3/3 .*\(stopped, "),
        ({"state": "retrying"}, r"shard 3/3 .*\(retrying, "),
        ({"format": "xml"}, r"{0} \(format: inserted -> xml"),
        ({"input": "1 files"}, r"\(input: "),
        ({"genner": "0.0"}, "genner version: "),
        ({"shard": "3/4"}, r"\(shard: 1/3 .*3/4 "),
        ({"shard": "x"}, "'x' .*shard"),
    ],
)
def test_shards_that_do_not_belong_together_are_refused(
    genner: Genner, tmp_path: Path, shards: list[Path], values: dict[str, Any], told: str
) -> None:
    changed(shards[2], **values)
    run = genner("data", "merge", *shards, "-o", tmp_path / "out.jsonl")
    assert run.status == 2
    assert re.search(told.format(shards[0]), run.stderr)
    assert not list(tmp_path.glob("out.jsonl*"))


def test_what_is_no_shard_and_what_lacks_its_files_is_refused(
    genner: Genner, tmp_path: Path, paths: list[Path], shards: list[Path]
) -> None:
    out = tmp_path / "out.jsonl"
    run = genner("data", "merge", paths[0], "-o", out)
    assert (run.status, f"{paths[0]}.run.json: " in run.stderr) == (2, True)
    run = genner("data", "merge", *shards, "-o", shards[0])
    assert (run.status, "input file" in run.stderr) == (2, True)
    described = manifest(shards[0])
    del described["share"]["shard"]
    Path(f"{shards[0]}.run.json").write_text(json.dumps(described))
    run = genner("data", "merge", *shards, "-o", out)
    assert run.status == 2
    assert re.search(f"{shards[0]}: .*output of a shard", run.stderr)
    assert not out.exists()


@pytest.mark.parametrize("damage", ["changed", "cut", "longer index", "no index", "short index"])
def test_a_shard_that_is_not_as_it_was_written_never_becomes_an_output(
    genner: Genner, tmp_path: Path, shards: list[Path], damage: str
) -> None:
    index = Path(f"{shards[1]}.run.index")
    if damage == "changed":
        shards[1].write_bytes(shards[1].read_bytes().replace(b'"entities"', b'"Entities"', 1))
    elif damage == "cut":
        shards[1].write_bytes(shards[1].read_bytes()[:-9])
    elif damage == "longer index":
        index.write_bytes(index.read_bytes() * 2)
    elif damage == "no index":
        index.unlink()
    else:
        index.write_bytes(index.read_bytes()[: len(index.read_bytes()) // 2])
    out = tmp_path / "out.jsonl"
    run = genner("data", "merge", *shards, "-o", out)
    assert run.status == 2
    assert re.search("shard 2/3 .*--restart", run.stderr)
    assert not out.exists()


def test_a_merge_that_was_broken_off_is_done_again_from_the_start(
    genner: Genner, tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, reference = tmp_path / "out.jsonl", tmp_path / "reference.jsonl"
    genner("data", "merge", *shards, "-o", reference)
    entries = list(Journal("", f"{shards[0]}.run.index"))

    def broken(path: str, *_: object, **__: object) -> Any:
        yield shards[0].read_bytes().splitlines(keepends=True)[0], entries[0]
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(joining, "written", broken)
        with pytest.raises(RuntimeError):
            genner("data", "merge", *shards, "-o", out)
    assert not out.exists()
    genner("data", "merge", *shards, "-o", out)
    assert out.read_bytes() == reference.read_bytes()
    assert Path(f"{out}.run.index").read_bytes() == Path(f"{reference}.run.index").read_bytes()


def test_an_output_made_with_other_options_is_not_overwritten_unless_asked_to(
    genner: Genner, tmp_path: Path, paths: list[Path], shards: list[Path]
) -> None:
    out = tmp_path / "out.jsonl"
    extract(genner, paths, out, "--min-score", 0.9)
    before = out.read_bytes()
    run = genner("data", "merge", *shards, "-o", out)
    assert run.status == 2
    assert re.search(r"min-score: 0\.9 -> 0\.0\b", run.stderr)
    assert out.read_bytes() == before
    assert genner("data", "merge", *shards, "-o", out, "--restart").status == 1
    assert manifest(out)["options"]["min-score"] == 0.0


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--shard", "4/3", "-o", "out.jsonl"), "'4/3' .*i/n"),
        (("--shard", "1/3"), "--shard .*-o"),
        (("--shard", "1/3", "-o", "out.jsonl", "--limit", 5), "--limit "),
    ],
)
def test_shards_that_make_no_sense_are_refused(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[object, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    run = genner("extract", write_documents(tmp_path / "in.jsonl", documents(2)), *more)
    assert run.status == 2
    assert re.search(told, run.stderr)


def test_shards_of_standard_input_are_refused(genner: Genner, tmp_path: Path) -> None:
    run = genner("extract", "-", "--shard", "1/2", "-o", tmp_path / "out.jsonl")
    assert run.status == 2
    assert re.search("-: .*stream", run.stderr)
