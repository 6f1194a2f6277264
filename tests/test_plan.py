"""`genner plan`: what is counted, what is timed, what is recommended; and the command on the bundled model."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable
from itertools import count
from pathlib import Path

import orjson
import pytest
from asking import STORIES, news
from conftest import Run
from fake_engine import FakeEngine, completion, text_of

from genner_cli.chunking import split
from genner_cli.errors import UsageError
from genner_cli.extraction import Task
from genner_cli.generation import Completion, Request
from genner_cli.planning import (
    ALWAYS_TRIED,
    LONGEST_SAMPLED,
    Plan,
    Survey,
    Tally,
    Trial,
    most_slots,
    next_slots,
    recommended,
    run_trial,
    survey,
)
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.types import Document, FailedDocument, Label

TASK = Task((Label("PER"),), GENERAL_PROMPT, "xml", chunk_bytes=200)
LONG = " ".join(news() * 3)
Genner = Callable[..., Run]


def documents(number: int) -> list[Document]:
    return [Document(f"Ann met Bob in Ōsaka, {n}.") for n in range(number)]


def trial(slots: int, speed: float) -> Trial:
    return Trial(slots, bytes=1000, seconds=1000 / speed, slowest=speed / 2, fastest=speed * 2)


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
    with pytest.raises(UsageError, match="2 documents, of which 1 cannot be read"):
        survey([Document(" \n"), FailedDocument("no", "a:2")], TASK, 5)


def test_a_trial_times_passes_over_the_sample_and_counts_tokens() -> None:
    sample = survey(documents(10), TASK, 5).sample
    ticks = count()
    result, tally = run_trial(1, sample, TASK, FakeEngine(echo, slots=1).generate, 100, lambda: next(ticks) / 10)
    assert result.seconds == pytest.approx(2.0), "a tick for each document, until two seconds are timed"
    assert result.bytes == 4 * sum(item.bytes for item in sample)
    assert result.slowest == pytest.approx(result.speed) == pytest.approx(result.fastest)
    assert tally.completions == 21
    assert tally.new_tokens == tally.bytes, "a token a byte"


def test_a_trial_is_over_at_its_limit_and_warms_up_until_each_slot_has_had_a_completion() -> None:
    sample = survey(documents(10), TASK, 5).sample
    ticks = count()
    result, tally = run_trial(4, sample, TASK, FakeEngine(echo, slots=4).generate, 20, lambda: next(ticks))
    assert tally.completions - 4 >= result.seconds
    assert 10 <= result.seconds <= 20


def test_documents_that_are_done_at_the_same_moment_are_no_measurement() -> None:
    sample = survey(documents(10), TASK, 5).sample
    ticks = count()
    result, _ = run_trial(4, sample, TASK, FakeEngine(echo, slots=4).generate, 0.5, lambda: next(ticks) // 4)
    assert result.seconds >= 1


def test_a_sample_of_which_nothing_can_be_done_is_refused_with_the_reason() -> None:
    def refuse(request: Request) -> Completion:
        return Completion("", error="choose a larger --context")

    ticks = count()
    with pytest.raises(UsageError, match="no document of the sample can be done: choose a larger --context"):
        run_trial(2, survey(documents(3), TASK, 3).sample, TASK, FakeEngine(refuse).generate, 9, lambda: next(ticks))


@pytest.mark.parametrize(
    ("speeds", "slots"),
    [({1: 100}, 1), ({1: 100, 2: 104}, 1), ({1: 100, 2: 150, 4: 200, 8: 208}, 4), ({1: 9, 2: 8, 4: 99, 8: 50}, 4)],
)
def test_the_fewest_slots_that_are_as_fast_as_the_fastest_are_recommended(speeds: dict[int, float], slots: int) -> None:
    assert recommended([trial(number, speed) for number, speed in speeds.items()]).slots == slots


def tried(speed: Callable[[int], float], most: int) -> list[int]:
    trials = [trial(1, speed(1))]
    while slots := next_slots(trials, most):
        trials.append(trial(slots, speed(slots)))
    return [each.slots for each in trials]


def test_slots_grow_as_long_as_they_fit_and_many_only_while_they_are_faster() -> None:
    assert tried(lambda slots: 100, 200) == [1, 4, ALWAYS_TRIED]
    assert tried(lambda slots: 100, 7) == [1, 4]
    assert tried(lambda slots: slots, 300) == [1, 4, 16, 64, 256]
    assert tried(lambda slots: min(slots, 40), 300) == [1, 4, 16, 64, 256]
    assert tried(lambda slots: min(slots, 16), 300) == [1, 4, 16, 64]


def test_turns_with_as_many_slots_are_one_trial() -> None:
    joined = Trial(4, 100, 1.0, 80, 120).joined(Trial(4, 300, 1.0, 60, 110))
    assert joined == Trial(4, 400, 2.0, 60, 120)
    assert joined.speed == 200


def test_slots_are_bounded_by_chunks_and_context() -> None:
    tally = Tally(completions=10, prompt_tokens=500, new_tokens=500)
    assert most_slots(Survey(chunks=7), tally, context=8192, prefix=100) == 7
    assert most_slots(Survey(chunks=1000), tally, context=1100, prefix=100) == 10
    assert most_slots(Survey(chunks=1000), tally, context=100, prefix=100) == 1


def test_a_plan_scales_the_sample_to_the_whole_by_bytes() -> None:
    whole = Survey(documents=50, failed=2, chunks=60, bytes=4000)
    tally = Tally(completions=5, prompt_tokens=100, new_tokens=120, bytes=400)
    made = Plan(whole, (trial(1, 100), trial(2, 200)), tally, 30, 8, False, model_bytes=5, kv_cache_bytes=6).value()
    assert (made["prompt_tokens"], made["new_tokens"]) == (1030, 1200)
    assert (made["slots"], made["seconds"], made["least_seconds"], made["most_seconds"]) == (2, 20, 10, 40)
    assert [each["seconds"] for each in made["trials"]] == [40, 20]
    assert made["memory"] == {"model_bytes": 5, "kv_cache_bytes": 6}


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
    assert made["trials"][0]["slots"] == 1
    assert 0 < made["least_seconds"] <= made["seconds"] <= made["most_seconds"]
    words = ["genner", "extract", str(path), "--types", "PER,ORG", "--nested", "--threads", "1", "--gpu-layers", "0"]
    assert shlex.split(made["command"]) == [*words, "--slots", str(made["slots"])]


def test_the_plan_is_as_many_tokens_as_the_run_takes_and_its_command_runs(genner: Genner, tmp_path: Path) -> None:
    path = write(tmp_path / "docs.jsonl", news())
    made = orjson.loads(genner("plan", path, "--json", "--seconds", 1, "--sample", 1000).stdout)
    words = shlex.split(made["command"])[1:]
    assert words[-6:-2] == ["--threads", "1", "--gpu-layers", "0"], "which the fixture gives again"
    assert genner(*words[:-6], *words[-2:], "--stats", tmp_path / "run.json").status == 0
    tokens = orjson.loads((tmp_path / "run.json").read_bytes())["tokens"]
    assert made["prompt_tokens"] == pytest.approx(tokens["prefix"] + tokens["prompt"], rel=0.4), "of a sample"
    assert made["new_tokens"] == pytest.approx(tokens["written"], rel=0.25)


def test_the_plan_is_printed_for_people(genner: Genner) -> None:
    run = genner("plan", STORIES, "--seconds", 1)
    assert (run.status, run.stderr) == (0, "")
    told = run.stdout.decode().splitlines()
    assert told[0] == "documents      8"
    assert sum("<- recommended" in line for line in told) == 1
    assert any(line.startswith("    1  about ") for line in told)
    assert told[-1].startswith(f"Run: genner extract {STORIES} --threads 1 --gpu-layers 0 --slots ")


@pytest.mark.parametrize(
    ("args", "status", "message"),
    [
        (["-"], 2, "genner: -: a stream can be read only once"),
        (["none.jsonl"], 2, "none.jsonl: no such file"),
        (["blank.jsonl"], 2, "there is no text to plan for: 0 documents"),
        (["bad.jsonl"], 2, "there is no text to plan for: 1 documents, of which 1 cannot be read"),
        (["docs.jsonl", "--model", "none.gguf"], 1, "'none.gguf' does not exist"),
        (["docs.jsonl", "--context", "256", "--chunk", "9999"], 2, "larger --context"),
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
