"""`genner plan`: what is counted, what is timed, what is estimated; and the command on the bundled model."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path

import orjson
import pytest
from asking import STORIES, news
from conftest import Run
from fake_engine import FakeEngine, completion, text_of

from genner_cli import planning
from genner_cli.chunking import split
from genner_cli.errors import UsageError
from genner_cli.generation import Completion, Invariance, Request
from genner_cli.planning import LONGEST_SAMPLED, Estimate, Survey, Tally, Timing, survey, time_sample
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.tasks import Task
from genner_cli.types import Document, FailedDocument, Label

TASK = Task((Label("PER"),), GENERAL_PROMPT, "xml", chunk_bytes=200)
LONG = " ".join(news() * 3)
Genner = Callable[..., Run]


def documents(number: int) -> list[Document]:
    return [Document(f"Ann met Bob in Ōsaka, {n}.") for n in range(number)]


def echo(request: Request) -> Completion | str:
    return completion(text_of(request))


def test_the_whole_input_is_counted_in_chunks_and_their_bytes() -> None:
    chunks = list(split(LONG, TASK.chunk_bytes))
    found = survey([Document("Ann."), FailedDocument("no", "a:2"), Document(" "), Document(LONG)], TASK, 9)
    assert (found.documents, found.failed, found.chunks) == (4, 1, 1 + len(chunks))
    assert found.bytes == len("Ann.") + sum(len(chunk.text.encode()) for chunk in chunks)
    assert [item.document.text[:4] for item in found.sample] == ["Ann.", LONG[:4]], "a blank text has nothing to time"


def test_a_long_document_is_sampled_by_its_first_chunks() -> None:
    (sampled,) = survey([Document(LONG, fields={"more": "x" * 1000})], TASK, 1).sample
    assert LONG.startswith(sampled.document.text)
    chunks = list(split(sampled.document.text, TASK.chunk_bytes))
    assert LONGEST_SAMPLED - 1 <= len(chunks) <= LONGEST_SAMPLED + 1
    assert sampled.bytes == sum(len(chunk.text.encode()) for chunk in chunks)
    assert sampled.document.fields == {}


def test_the_sample_is_drawn_from_all_documents_and_is_the_same_each_time() -> None:
    numbers = [
        int(item.document.text.split(", ")[1].rstrip(".")) for item in survey(iter(documents(2000)), TASK, 200).sample
    ]
    again = [item.document.text for item in survey(documents(2000), TASK, 200).sample]
    assert [f"Ann met Bob in Ōsaka, {number}." for number in numbers] == again
    assert len(set(numbers)) == 200
    assert 30 < sum(number < 500 for number in numbers) < 70
    assert 30 < sum(number >= 1500 for number in numbers) < 70


def test_input_without_text_is_refused() -> None:
    with pytest.raises(UsageError, match=r"2 documents, .*\b1\b"):
        survey([Document(" \n"), FailedDocument("no", "a:2")], TASK, 5)


def timed(sample: int, slots: int, clock: Callable[[], float], seconds: float = 100) -> Timing:
    """The first documents timed, by an engine of this number of slots."""
    return time_sample(
        survey(documents(10), TASK, sample).sample,
        TASK,
        FakeEngine(echo, slots=slots).generate,
        slots=slots,
        seconds=seconds,
        clock=clock,
    )


def test_passes_over_the_sample_are_timed_and_tokens_counted() -> None:
    ticks = count()
    found = timed(5, 1, lambda: next(ticks) / 10)
    assert found.speed == pytest.approx(5 * found.tally.bytes / found.tally.completions / 0.5), "a tick per document"
    assert found.slowest == pytest.approx(found.speed) == pytest.approx(found.fastest)
    assert found.tally.completions == 51, "until five seconds are timed, after the first one"
    assert found.tally.new_tokens == found.tally.bytes, "a token per byte"


def test_each_completion_is_noted() -> None:
    noted: list[int] = []
    sample = survey(documents(10), TASK, 5).sample
    ticks = count()
    found = time_sample(
        sample, TASK, FakeEngine(echo, slots=1).generate,
        slots=1, seconds=9, clock=lambda: next(ticks), note=lambda tally: noted.append(tally.completions),
    )  # fmt: skip
    assert noted == list(range(1, found.tally.completions + 1))


def test_a_pass_that_takes_longer_is_the_slowest() -> None:
    ticks, now = count(), 0.0

    def clock() -> float:
        nonlocal now
        now += 0.5 if 7 <= next(ticks) < 12 else 0.1  # the second of all passes
        return now

    found = timed(5, 1, clock)
    assert found.fastest == pytest.approx(5 * found.slowest)
    assert found.slowest < found.speed < found.fastest


def test_a_timing_is_over_at_its_limit_and_warms_up_until_each_slot_has_had_a_completion() -> None:
    ticks = count()
    found = timed(5, 4, lambda: next(ticks), seconds=20)
    assert found.tally.completions <= 20
    assert found.tally.completions >= 4 + 10


def test_documents_that_are_done_at_the_same_moment_are_no_measurement() -> None:
    ticks = count()
    found = timed(5, 4, lambda: next(ticks) // 4, seconds=0.5)
    assert found.fastest < 1e6


def test_a_sample_of_which_nothing_can_be_extracted_is_refused_with_the_reason() -> None:
    def refuse(request: Request) -> Completion:
        return Completion("", error="choose a larger --context")

    ticks = count()
    with pytest.raises(UsageError, match="choose a larger --context"):
        time_sample(
            survey(documents(3), TASK, 3).sample, TASK, FakeEngine(refuse).generate,
            slots=2, seconds=9, clock=lambda: next(ticks),
        )  # fmt: skip


def test_an_estimate_scales_the_sample_to_the_whole_by_bytes() -> None:
    whole = Survey(documents=50, failed=2, chunks=60, bytes=4000)
    tally = Tally(completions=5, prompt_tokens=100, new_tokens=120, bytes=400)
    timing = Timing(200, 100, 400, tally)
    made = Estimate(whole, timing, 16, 30, model_bytes=5, kv_cache_bytes=6, invariance=Invariance(None, "x")).value()
    assert (made["prompt_tokens"], made["new_tokens"]) == (1030, 1200)
    assert (made["slots"], made["seconds"], made["least_seconds"], made["most_seconds"]) == (16, 20, 10, 40)
    assert made["memory"] == {"model_bytes": 5, "kv_cache_bytes": 6}
    assert made["engine"] == {"same output in any batch": "no: x"}


def test_prefixes_of_own_labels_are_read_once_more_in_a_second_pass() -> None:
    whole = Survey(documents=2000, chunks=2000, bytes=4000, prefix=70)
    timing = Timing(200, 100, 400, Tally(completions=5, bytes=8000))
    for passes in (1, 2):
        made = Estimate(
            whole, timing, 16, 70, model_bytes=5, kv_cache_bytes=6, invariance=Invariance(None, "x"), passes=passes
        )
        assert made.value()["prompt_tokens"] == 70 * passes


def write(path: Path, texts: Iterable[str], *more: bytes) -> Path:
    path.write_bytes(b"\n".join([*(orjson.dumps({"text": text}) for text in texts), *more]))
    return path


def test_the_command_counts_times_and_ends_with_the_command_to_run(genner: Genner, tmp_path: Path) -> None:
    path = write(tmp_path / "a b.jsonl", news(), b"{broken")
    run = genner("plan", path, "-t", "PER,ORG", "--nested", "--seconds", 1, "--json")
    assert (run.status, run.stderr) == (0, "")
    made = orjson.loads(run.stdout)
    assert (made["documents"], made["failed"], made["chunks"]) == (len(news()) + 1, 1, len(news()))
    assert made["bytes"] == sum(len(text.encode()) for text in news())
    assert made["sample"] == {"documents": 20, "failed_chunks": 0}
    assert made["memory"]["model_bytes"] > 2**20
    assert made["memory"]["kv_cache_bytes"] > 2**20
    assert made["slots"] == min(16, len(news()))
    assert 0 < made["least_seconds"] <= made["seconds"] <= made["most_seconds"]
    words = ["genner", "extract", str(path), "--types", "PER,ORG", "--nested", "--threads", "1", "--gpu-layers", "0"]
    assert shlex.split(made["command"]) == [*words, "-o", "entities.jsonl"]


def test_the_plan_is_as_many_tokens_as_the_run_takes_and_its_command_runs(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "docs.jsonl", news())
    made = orjson.loads(genner("plan", path, "--json", "--seconds", 1, "--sample", 1000).stdout)
    monkeypatch.chdir(tmp_path)
    words = shlex.split(made["command"])[1:]
    assert words[-6:] == ["--threads", "1", "--gpu-layers", "0", "-o", "entities.jsonl"]
    again = [*words[:-6], *words[-2:]]  # the fixture gives the engine's again
    assert genner(*again, "--stats", tmp_path / "run.json").status == 0
    assert len(Path("entities.jsonl").read_bytes().splitlines()) == len(news())
    tokens = orjson.loads((tmp_path / "run.json").read_bytes())["tokens"]
    assert made["prompt_tokens"] == pytest.approx(tokens["prefix"] + tokens["prompt"], rel=0.4), "of a sample"
    assert made["new_tokens"] == pytest.approx(tokens["written"], rel=0.25)


def test_the_plan_is_printed_for_people(genner: Genner) -> None:
    run = genner("plan", STORIES, "--seconds", 1, "--sample", 2, "--slots", 2)
    assert (run.status, run.stderr) == (0, "")
    lines = run.stdout.decode().splitlines()
    assert lines[0] == "documents      8"
    assert lines[5].startswith("same output in any batch: ")
    assert lines[6].startswith("weights: Q8_0")
    assert "--quantize fastest" in lines[7]
    assert lines[8].startswith("time           about ")
    assert lines[-1] == f"Run: genner extract {STORIES} --slots 2 --threads 1 --gpu-layers 0 -o entities.jsonl"


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["-"], 2, "genner: -: a stream"),
        (["none.jsonl"], 2, "none.jsonl: no such file"),
        (["blank.jsonl"], 2, "no text to time: 0 documents"),
        (["bad.jsonl"], 2, "no text to time: 1 document, 1 of them"),
        (["docs.jsonl", "--model", "none.gguf"], 2, "'none.gguf' does not exist"),
        (["docs.jsonl", "--context", "256", "--chunk-bytes", "9999"], 2, "larger --context"),
        (["docs.jsonl", "--sample", "0"], 2, "--sample"),
        ([], 2, "INPUT"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], status: int, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "docs.jsonl", ["Ann met Bob and Eve in Rome. " * 40])
    write(tmp_path / "blank.jsonl", [])
    write(tmp_path / "bad.jsonl", [], b"{broken")
    run = genner("plan", *args)
    assert (run.status, run.stdout) == (status, b"")
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_prefixes_of_own_labels_are_counted_once_for_each_list_and_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "PASS_CHUNKS", 3)
    lists = [("A",), ("B", "C"), ("A",), None, ("A",), ("A",), ("B", "C")]
    asked = [Document("Ann.", labels=names and tuple(map(Label, names))) for names in lists]
    found = survey(asked, TASK, 9, prefix_of=lambda labels: 100 if labels is None else len(labels))
    # blocks of three: A, BC, A; none, A, A; BC
    assert found.prefix == (1 + 2) + (100 + 1) + 2
    assert {each.document.labels for each in found.sample} == {each.labels for each in asked}
    assert survey(asked, TASK, 9).prefix == 0
    (long,) = {len(list(split(LONG, TASK.chunk_bytes, TASK.overlap_bytes)))}
    more = survey([Document(LONG, labels=(Label("A"),))], TASK, 1, prefix_of=lambda labels: 1)
    assert more.prefix == -(-long // 3)


def test_documents_are_timed_with_their_own_labels_and_refused_ones_end_it() -> None:
    asked = [Document(f"Ann {number}.", labels=(Label("AB"[number % 2]),)) for number in range(6)]
    sample = survey(asked, TASK, 6).sample
    seen: Counter[str] = Counter()

    def task_of(labels: tuple[Label, ...]) -> Task:
        seen.update(label.name for label in labels)
        return replace(TASK, labels=labels)

    ticks = count()
    engine = FakeEngine(echo, slots=2)
    found = time_sample(
        sample, TASK, engine.generate, slots=2, seconds=100, clock=lambda: next(ticks) / 2, task_of=task_of
    )
    assert found.tally.completions > 6
    assert seen.keys() == {"A", "B"}

    def refuse(labels: tuple[Label, ...]) -> Task:
        raise UsageError("no such label")

    with pytest.raises(UsageError, match="no such label"):
        time_sample(sample, TASK, engine.generate, slots=2, seconds=100, task_of=refuse)


def test_the_plan_of_documents_with_own_labels_has_their_prefixes(genner: Genner, tmp_path: Path) -> None:
    path = tmp_path / "docs.jsonl"
    lists = [["PER"], ["LOC", "ORG", "PER"], None]
    values = [{"text": text, "asked": lists[number % 3]} for number, text in enumerate(news()[:30])]
    path.write_bytes(b"".join(orjson.dumps(value) + b"\n" for value in values))
    run = genner("plan", path, "--labels-field", "asked", "--json", "--seconds", 1, "--sample", 30)
    assert run.status == 0, run.stderr
    made = orjson.loads(run.stdout)
    words = shlex.split(made["command"])[1:]
    assert "--labels-field" in words
    assert genner(*words[:-6], "--stats", tmp_path / "run.json").status == 0
    tokens = orjson.loads((tmp_path / "run.json").read_bytes())["tokens"]
    assert made["prompt_tokens"] == pytest.approx(tokens["prefix"] + tokens["prompt"], rel=0.4), "of a sample"
