"""`genner train --teacher`: real GGUF teachers, answers that survive, and runs that must not differ."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import instructions_of
from conftest import ONE_THREAD, Run
from safetensors.torch import load_file
from small_bases import RECORDS, write_jsonl, write_small_base
from transformers import AutoModelForCausalLM

from convert.gguf_to_hf import gguf_to_hf
from genner_cli.engine.engine import Engine
from genner_cli.engine.model import Model
from genner_cli.errors import DataError
from genner_cli.files.hashing import hash_file
from genner_cli.files.teaching import Answer, Teaching
from genner_cli.generation import Reading
from genner_cli.training.examples import Example, Sample, encode
from genner_cli.training.fusion import answer
from genner_cli.training.packing import in_a_row
from genner_cli.training.teachers import BLOCK, Teachers, key_of, model_answers
from genner_cli.training.tokens import Tokens, load_tokenizer
from genner_cli.types import Entity, Label

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]
LABELS = (Label("PER", "named people"), Label("LOC"))


def samples() -> list[Sample]:
    return [
        Sample(
            record["text"],
            tuple(Entity(**each, text=record["text"][each["start"] : each["end"]]) for each in record["entities"]),
            LABELS,
        )
        for record in RECORDS[:8]
    ]


def reading(sample: Sample, example: Example, model: Model) -> Reading:
    prompt, start = instructions_of(model).prompt, example.completion_start
    legal = tuple((decision.position - start, decision.legal) for decision in example.decisions)
    return Reading(prompt.prefix(LABELS), prompt.rest(sample.text), example.ids[start:-1], legal)


def test_llama_cpp_reads_what_transformers_reads(random_model: Model, tmp_path: Path) -> None:
    folder = gguf_to_hf(random_model.path, tmp_path / "folder")
    tokens, said = Tokens(load_tokenizer(folder)), instructions_of(random_model)
    found = [encode(each, tokens, said.prompt, said.format, 1, meanings=True) for each in samples()]
    model = AutoModelForCausalLM.from_pretrained(folder)
    expected = model_answers(model, in_a_row(found, 400), found)
    assert len({each.cost for each in expected}) == len(found)
    asked = [reading(sample, example, random_model) for sample, example in zip(samples(), found, strict=True)]
    for options in (ONE_THREAD, replace(ONE_THREAD, slots=1, batch_tokens=32)):
        with Engine(random_model, options) as engine:
            rows = list(engine.read(asked))
            assert list(engine.read(asked)) == rows
        for one, row, answered in zip(found, rows, expected, strict=True):
            for decision, logs in zip(one.decisions, row, strict=True):
                assert len(logs) == len(decision.legal)
            read = answer(one, row)
            assert read.cost == pytest.approx(answered.cost, rel=5e-3)  # keys and values are kept in F16
            for mine, other in zip(read.beliefs, answered.beliefs, strict=True):
                assert mine[:2] == other[:2]
                assert mine.log_probabilities == pytest.approx(other.log_probabilities, rel=0.02, abs=0.05)


def test_a_reading_that_does_not_fit_is_an_error(random_model: Model) -> None:
    said = instructions_of(random_model)
    long = Sample("Ann went to Rome. " * 60, (), LABELS)
    prefix, rest = said.prompt.prefix(LABELS), said.prompt.rest(long.text)
    with Engine(random_model, replace(ONE_THREAD, context=300)) as engine:
        with pytest.raises(DataError):
            list(engine.read([Reading(prefix, rest, (1, 2), ())]))
        assert list(engine.read([Reading(prefix, said.prompt.rest("Ann"), (1, 2), ((0, (1, 2)),))]))


def test_the_best_teacher_is_chosen_for_each_sample_and_the_base_where_it_is_as_good(tmp_path: Path) -> None:
    teachers = Teachers(tmp_path, "0", {"a": "1", "b": "2"})
    first, second, third = samples()[:3]
    for name, costs in (("base", (2.0, 1.0, 3.0)), ("a", (2.0, 1.5, 2.5)), ("b", (2.5, 0.5, float("inf")))):
        for sample, cost in zip((first, second, third), costs, strict=True):
            teachers._answers[name].add(key_of(sample), Answer(cost, ()))
    assert [teachers.best(each) for each in (first, second, third)] == ["base", "b", "a"]
    assert teachers.report([first, second, third]) == "taught by base (1 of 3), a (1 of 3), b (1 of 3)"
    teachers.close()


def test_the_base_answers_the_same_blocks_whatever_is_there(tmp_path: Path) -> None:
    blank = Example((1,), 0, 1, (), ())
    pairs = [(Sample(f"text {number}", (), LABELS), blank) for number in range(BLOCK + 3)]
    asked: list[int] = []

    def answers(examples: Any) -> list[Answer]:
        asked.append(len(examples))
        return [Answer(float(len(asked)), ())] * len(examples)

    teachers = Teachers(tmp_path, "0", {})
    teachers._answers["base"].add(key_of(pairs[0][0]), Answer(9.0, ()))
    assert teachers.ask_base(pairs, answers) == [sample for sample, _ in pairs]
    teachers.ask_base(pairs, answers)
    assert asked == [BLOCK, 3]
    assert teachers._answers["base"].cost(key_of(pairs[0][0])) == 9.0
    teachers.close()


def test_no_more_than_a_block_of_examples_is_held(tmp_path: Path) -> None:
    """With an augmentation there are as many as samples times epochs."""
    drawn: list[int] = []
    answered = 0

    def pairs() -> Iterator[tuple[Sample, Example]]:
        for number in range(3 * BLOCK):
            drawn.append(number)
            yield Sample(f"text {number}", (), LABELS), Example((1,), 0, 1, (), ())

    def answers(examples: Any) -> list[Answer]:
        nonlocal answered
        assert len(drawn) == answered + len(examples)
        answered += len(examples)
        return [Answer(1.0, ())] * len(examples)

    with closing(Teachers(tmp_path, "0", {})) as teachers:
        assert len(teachers.ask_base(pairs(), answers)) == answered == 3 * BLOCK


@pytest.fixture
def train(genner: Callable[..., Run], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Run]:
    """Trains a small base on a few sentences, one step, into a folder."""
    base, data = write_small_base(tmp_path / "base"), write_jsonl(tmp_path / "train.jsonl")
    fast = ("--preset", "tiny", "--epochs", 1, "--batch-size", 24, "--rank", 4)

    def run(out: str, *options: object) -> Run:
        return genner("train", data, "--base", base, "-o", tmp_path / out, *fast, *options)

    return run


def weights(folder: Path) -> dict[str, Any]:
    return load_file(folder / "adapter_model.safetensors")


def alike(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_runs_with_teachers_end_the_same_killed_or_not_and_without_weight_as_plain_ones(
    train: Callable[..., Run], random_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ("--teacher", "bundled", "--teacher", random_path, "--fusion", "0.5")
    run = train("whole", *asked)
    assert run.status == 0, run.stderr
    assert "taught by base (" in run.stderr
    assert f"bundled ({len(RECORDS)} of {len(RECORDS)})" in run.stderr  # the others have learnt nothing
    said = json.loads((tmp_path / "whole" / "genner.json").read_text())
    assert json.loads(said["genner.training.teachers"])[str(random_path)] == hash_file(random_path)
    assert (
        f"| teacher | {random_path}, SHA-256 {hash_file(random_path)} |" in (tmp_path / "whole/README.md").read_text()
    )

    count, add = 0, Teaching.add

    def dying(self: Teaching, key: str, answer: Answer) -> None:
        nonlocal count
        count += 1
        if count == len(RECORDS) + 5:  # in the middle of the first teacher's answers
            raise KeyboardInterrupt
        add(self, key, answer)

    with monkeypatch.context() as patch:
        patch.setattr(Teaching, "add", dying)
        assert train("killed", *asked).status != 0
    assert train("killed", *asked, "--resume").status == 0
    assert alike(tmp_path / "whole", tmp_path / "killed")

    assert train("plain").status == train("unweighted", *asked[:-1], "0").status == 0
    assert alike(tmp_path / "plain", tmp_path / "unweighted")
    assert not alike(tmp_path / "plain", tmp_path / "whole")


def test_what_cannot_teach_is_refused(train: Callable[..., Run], random_path: Path, tmp_path: Path) -> None:
    run = train("completion", "--teacher", random_path, "--loss", "completion", "--text-weight", 0)
    assert (run.status, "--loss locked" in run.stderr) == (2, True)
    run = train("none", "--fusion", 0.5)
    assert (run.status, "--teacher" in run.stderr) == (2, True)
    run = train("listed", "--teacher", random_path, "--format", "category")
    assert (run.status, "--format" in run.stderr) == (2, True)
    run = train("order", "--teacher", random_path, "--format", "xml")
    assert (run.status, "inserted" in run.stderr) == (1, True)
    run = train("missing", "--teacher", tmp_path / "none.gguf")
    assert (run.status, "none.gguf" in run.stderr) == (2, True)
