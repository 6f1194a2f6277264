"""`genner probe retention --suite lm-eval:...`: real tasks of the harness, asked of a tiny base and adapter."""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from small_bases import RECORDS, write_jsonl, write_small_adapter, write_small_base

from genner_cli.errors import ModelError, UsageError
from genner_cli.probing.retention import estimated
from genner_cli.probing.suite import TaskFiles, task_files
from genner_cli.training.likelihood import open_language_model

Genner = Callable[..., Run]
pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN = ("--preset", "tiny", "--loss", "completion", "--epochs", "1", "--batch-size", "8", "--rank", "4")
CHOICES = """\
task: capitals
dataset_path: json
dataset_kwargs: {data_files: {test: capitals.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{question}}\\nAnswer:"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
"""
PROSE = """\
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: data/prose.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: byte_perplexity}]
"""
WRITTEN = """\
task: counting
tag: other
dataset_path: json
dataset_kwargs: {data_files: {test: counting.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: answer
generation_kwargs: {until: ["\\n"], max_gen_toks: 4}
filter_list:
  - {name: strict, filter: [{function: take_first}]}
  - {name: digits, filter: [{function: regex, regex_pattern: "([0-9]+)"}, {function: take_first}]}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CITIES = ("Rome", "Oslo", "Łódź", "New York", "Riga", "Bern")


def write_tasks(folder: Path) -> Path:
    """Six questions of two choices, three texts, and two lines to go on with."""
    (folder / "data").mkdir(parents=True)
    (folder / "capitals.yaml").write_text(CHOICES)
    (folder / "prose.yaml").write_text(PROSE)
    (folder / "counting.yaml").write_text(WRITTEN)
    write_jsonl(folder / "counting.jsonl", [{"prompt": f"{n} {n + 1}", "answer": f"{n + 2}"} for n in range(2)])
    questions = [
        {"question": f"Which is a city, {n}?", "choices": [city, "a small table"][:: 1 - 2 * (n % 2)], "answer": n % 2}
        for n, city in enumerate(CITIES)
    ]
    write_jsonl(folder / "capitals.jsonl", questions)
    write_jsonl(folder / "data" / "prose.jsonl", [{"text": str(record["text"])} for record in RECORDS[:3]])
    return folder


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_base(tmp_path_factory.mktemp("base"))


def test_tasks_are_asked_before_and_after_and_only_once(
    genner: Genner, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    adapter, tasks, out = tmp_path / "adapter", write_tasks(tmp_path / "tasks"), tmp_path / "tasks" / "out"
    data = write_jsonl(tmp_path / "train.jsonl", RECORDS[:8])
    assert genner("train", data, "--base", base, "-o", adapter, *TRAIN).status == 0
    call = ("probe", "retention", "--before", base, "--after", adapter, "--suite", "lm-eval:tasks", "-o", out)
    run = genner(*call)
    assert run.status == 0, run.stderr
    found = json.loads((out / "results.json").read_text())
    assert {name: (value["measure"], value["questions"]) for name, value in found.items()} == {
        "capitals/acc": ("acc", 6), "capitals/acc_norm": ("acc_norm", 6),
        "counting/exact_match/strict": ("exact_match/strict", 2),
        "counting/exact_match/digits": ("exact_match/digits", 2), "prose/byte_perplexity": ("byte_perplexity", 3),
    }  # fmt: skip
    for value in found.values():
        assert value["difference"]["value"] == value["after"]["value"] - value["before"]["value"]
        assert all(value[side]["low"] <= value[side]["value"] <= value[side]["high"] for side in ("before", "after"))
    assert found["capitals/acc"]["before"]["value"] == pytest.approx(right_of(base, tasks) / 6)
    assert found["prose/byte_perplexity"]["after"]["value"] != found["prose/byte_perplexity"]["before"]["value"]
    counted = json.loads((out / "before.json").read_text())["counted"]["prose"]["byte_perplexity"]
    assert found["prose/byte_perplexity"]["before"]["value"] == pytest.approx(
        math.exp(-sum(each[0] for each in counted) / sum(each[1] for each in counted))
    )
    assert {path.name for path in out.iterdir()} == {
        "probe.json", "before.json", "after.json", "results.json", "results.svg",
    }  # fmt: skip

    written = (out / "before.json").stat().st_mtime_ns
    (out / "after.json").unlink()
    again = genner(*call)
    assert (again.stdout, (out / "before.json").stat().st_mtime_ns) == (run.stdout, written), again.stderr
    fewer = genner(*call[:-3], f"lm-eval:{tasks}:capitals", *call[-2:])
    assert fewer.status == 2
    assert re.search(r"tasks .*\[\] .*\['capitals'\]", fewer.stderr)
    write_jsonl(tasks / "capitals.jsonl", [{"question": "?", "choices": ["a", "b"], "answer": 0}])
    other = genner(*call)
    assert other.status == 2
    assert re.search("probe: suite ", other.stderr)


def right_of(base: Path, tasks: Path) -> int:
    """How many of the questions genner's own likelihood gets right."""
    questions = [json.loads(line) for line in (tasks / "capitals.jsonl").read_text().splitlines()]
    right = 0
    with open_language_model(base, device="cpu") as model:
        for each in questions:
            prompt = f"Question: {each['question']}\nAnswer:"
            found = [model.likelihood(f" {choice}", after=prompt).log_probability for choice in each["choices"]]
            right += found.index(max(found)) == each["answer"]
    return right


def test_tasks_are_found_by_name_and_by_tag(tmp_path: Path) -> None:
    from genner_cli.training.harness import opened_harness

    folder = write_tasks(tmp_path / "tasks")
    for names, tasks in (((), ["capitals", "counting", "prose"]), (("other", "prose"), ["counting", "prose"])):
        with opened_harness(folder, names) as harness:
            assert sorted(harness.loaded["tasks"]) == tasks


def test_a_record_that_a_task_cannot_ask_is_told_without_a_traceback(base: Path, tmp_path: Path) -> None:
    from genner_cli.training.harness import opened_harness

    folder = write_tasks(tmp_path / "tasks")
    with (folder / "capitals.jsonl").open("a") as file:
        file.write('{"question": "Which?", "choices": null, "answer": 1}\n')
    with (
        opened_harness(folder, ["capitals"]) as harness,
        pytest.raises(ModelError, match=r"harness .*\(.*records"),
    ):
        harness.ask(base)


def test_an_aggregation_that_is_no_mean_is_made_of_each_set_that_is_drawn() -> None:
    def spread(values: Sequence[Any]) -> float:
        return float(max(value for [value, _] in values) - min(value for [value, _] in values))

    before, after = ([[factor * number, 1] for number in range(20)] for factor in (1, 3))
    old, new, change = estimated(spread, before, after)
    assert (old.value, new.value, change.value) == (19, 57, 38)
    assert old.low < old.high == 19
    assert (new.low, change.low, change.high) == (3 * old.low, 2 * old.low, 38)
    assert estimated(spread, before, before)[2] == (0, 0, 0)


@pytest.mark.parametrize(
    ("file", "names", "said"),
    [
        ("", "", "no task of lm-evaluation-harness"),
        ("task: [", "", "no task of lm-evaluation-harness"),
        (CHOICES, "prose", "task 'prose' .*capitals"),
        (CHOICES.replace("dataset_path: json", "dataset_path: cais/mmlu"), "", "the Hub "),
        (CHOICES.replace("capitals.jsonl", "none.jsonl"), "", "data .*files in that folder"),
        (CHOICES.replace("{{question}}", "{{question"), "capitals", r"'capitals' .*\(TemplateSyntaxError"),
    ],
)
def test_tasks_that_cannot_be_asked_are_refused_before_anything_is_made(
    genner: Genner, tmp_path: Path, file: str, names: str, said: str
) -> None:
    tasks = write_tasks(tmp_path / "tasks")
    for name in ("prose", "counting"):
        (tasks / f"{name}.yaml").unlink()
    (tasks / "capitals.yaml").write_text(file)
    suite = f"lm-eval:{tasks}" + (f":{names}" if names else "")
    out = tmp_path / "out"
    adapter = write_small_adapter(tmp_path / "adapter")
    run = genner("probe", "retention", "--before", "bundled", "--after", adapter, "--suite", suite, "-o", out)
    assert run.status == 2
    assert re.search(said, run.stderr)
    assert not out.exists()


def test_without_the_extra_it_is_named(genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "genner_cli.training.harness", raising=False)
    out = tmp_path / "out"
    suite = f"lm-eval:{write_tasks(tmp_path / 'tasks')}"
    adapter = write_small_adapter(tmp_path / "adapter")
    run = genner("probe", "retention", "--before", "bundled", "--after", adapter, "--suite", suite, "-o", out)
    assert (run.status, "pip install 'genner[retention]'" in run.stderr) == (2, True), run.stderr
    assert not out.exists()


def test_a_folder_of_tasks_may_have_a_colon_and_its_files_are_all_but_hidden_and_written_ones(tmp_path: Path) -> None:
    folder = write_tasks(tmp_path / "a:b")
    assert task_files("own") is None
    assert task_files(f"lm-eval:{folder}") == TaskFiles(folder, ())
    assert task_files(f"lm-eval:{folder}:x, y") == TaskFiles(folder, ("x", "y"))
    for empty in ("lm-eval:", "lm-eval:nowhere", "lm-eval:nowhere:x"):
        with pytest.raises(UsageError, match="folder of tasks"):
            task_files(empty)
    for name in (".git/x", "__pycache__/x", "out/x"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    assert [str(path.relative_to(folder)) for path in TaskFiles(folder, ()).files(outside=folder / "out")] == [
        "capitals.jsonl", "capitals.yaml", "counting.jsonl", "counting.yaml", "data/prose.jsonl", "prose.yaml",
    ]  # fmt: skip
