"""Preferences: pairs from gold and predictions, and learning from them (DPO)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from conftest import Run
from small_bases import RECORDS, write_jsonl, write_small_base
from test_packing import EXAMPLES, adapted, example

from genner_cli.scoring.preferences import preference
from genner_cli.training.batches import Batch
from genner_cli.training.checkpoints import trained
from genner_cli.training.examples import Example
from genner_cli.training.loop import read_log
from genner_cli.training.loss import PreferenceObjective, log_probabilities
from genner_cli.training.options import Loss
from genner_cli.training.packing import in_pairs
from genner_cli.types import Entity

pytestmark = pytest.mark.usefixtures("one_thread")
REFERENCES = (-40.0, -41.5, -39.0, -35.0)
PAIRS = [
    replace(example(seed, prefix=7, length=20 + 3 * seed), reference=reference)
    for seed, reference in enumerate(REFERENCES)
]


def by_hand(model: torch.nn.Module, example: Example, loss: Loss) -> torch.Tensor:
    """The log-probability of a completion, from transformers' own logits."""
    rows = model(torch.tensor([example.ids])).logits[0].double()
    if loss is Loss.COMPLETION:
        logs = torch.log_softmax(rows, 1)
        return sum(logs[at - 1, example.ids[at]] for at in range(example.completion_start, len(example.ids)))  # type: ignore[return-value]
    return sum(torch.log_softmax(rows[each.position - 1, list(each.legal)], 0)[0] for each in example.decisions)  # type: ignore[return-value]


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("loss", Loss)
def test_the_loss_is_the_one_computed_by_hand(loss: Loss, packed: bool) -> None:
    model = adapted("llama")
    [pack] = in_pairs(PAIRS, 1000, packed=packed)
    batch = Batch.of(pack)
    with torch.no_grad():
        found = log_probabilities(model, batch, loss)
        logs = [by_hand(model, each, loss).item() for each in PAIRS]
        assert found.tolist() == pytest.approx(logs, rel=1e-5)
        gained = [log - reference for log, reference in zip(found.double().tolist(), REFERENCES, strict=True)]
        for beta in (0.1, 0.5):
            margins = [beta * (gained[0] - gained[1]), beta * (gained[2] - gained[3])]
            expected = sum(math.log1p(math.exp(-margin)) for margin in margins)
            objective = PreferenceObjective(loss, beta=beta)
            assert objective.sums(model, batch)[0].item() == pytest.approx(expected, abs=1e-6)
            assert objective.amounts(pack.examples) == (2.0, 0.0)


def test_pairs_are_never_parted_and_packs_change_nothing() -> None:
    model, objective = adapted("qwen2"), PreferenceObjective(Loss.LOCKED)
    whole = in_pairs(PAIRS, 1000, packed=True)
    single = in_pairs(PAIRS, 1, packed=True)
    assert [list(pack.examples) for pack in single] == [PAIRS[:2], PAIRS[2:]]
    both = [sum(objective.sums(model, Batch.of(pack))[0].item() for pack in packs) for packs in (whole, single)]
    assert both[0] == pytest.approx(both[1], rel=1e-5)
    mixed = [EXAMPLES[0], EXAMPLES[2], EXAMPLES[1], EXAMPLES[3]]  # two prefixes
    assert [list(pack.examples) for pack in in_pairs(mixed, 1000, packed=True)] == [mixed[:2], mixed[2:]]


def test_where_nothing_is_gained_the_loss_is_log_2_and_beta_scales_the_gradient() -> None:
    model = adapted("llama")
    with torch.no_grad():
        logs = log_probabilities(model, Batch.of(in_pairs(PAIRS, 1000, packed=True)[0]), Loss.LOCKED).tolist()
    pairs = [replace(each, reference=log) for each, log in zip(PAIRS, logs, strict=True)]
    batch = Batch.of(in_pairs(pairs, 1000, packed=True)[0])
    norms = []
    for beta in (1e-9, 0.1, 0.2):
        model.zero_grad()
        loss, _ = PreferenceObjective(Loss.LOCKED, beta=beta).sums(model, batch)
        assert loss.item() == pytest.approx(2 * math.log(2), abs=1e-5)
        loss.backward()  # type: ignore[no-untyped-call]
        norms.append(math.hypot(*(float(v.grad.norm()) for v in trained(model).values() if v.grad is not None)))
    assert norms[0] < 1e-6 * norms[1]
    assert norms[2] == pytest.approx(2 * norms[1], rel=1e-3)


def entities(*ends: int) -> list[Entity]:
    return [Entity(0, end, "PER", "x" * end) for end in ends]


@pytest.mark.parametrize(
    ("gold", "answers", "expected"),
    [
        ([1, 2], [[1], [1, 2]], ([1, 2], [1])),
        ([1, 2], [[3], [2], []], ([2], [3])),
        ([1, 2], [[1], [2]], None),
        ([1], [[1]], None),
        ([1], [[2]], ([1], [2])),
        ([], [[1], []], ([], [1])),
        ([], [[]], None),
    ],
)
def test_the_better_answer_is_chosen_and_equals_give_no_pair(
    gold: Sequence[int], answers: Sequence[Sequence[int]], expected: tuple[Sequence[int], Sequence[int]] | None
) -> None:
    found = preference(entities(*gold), [entities(*each) for each in answers])
    assert (found and tuple(map(list, found))) == (expected and tuple(entities(*each) for each in expected))


def test_pairs_are_made_and_learnt_and_the_margin_grows(genner: Callable[..., Run], tmp_path: Path) -> None:
    """Answers without places are worse: what is learnt prefers those with them."""
    gold, prefs = write_jsonl(tmp_path / "gold.jsonl"), tmp_path / "prefs.jsonl"
    people = [{**record, "entities": record["entities"][:1]} for record in RECORDS]
    failed = {**{key: RECORDS[3][key] for key in ("id", "text")}, "entities": [], "error": {"message": "out of time"}}
    worse = write_jsonl(tmp_path / "worse.jsonl", [*people[:3], failed, *people[4:]])
    made = genner("data", "preferences", gold, worse, gold, "-o", prefs)
    assert (made.status, "23 pairs of 24 documents; 1 document left out" in made.stderr) == (0, True)
    first = json.loads(prefs.read_text().splitlines()[0])
    assert first.keys() == {"id", "text", "chosen", "rejected"}
    assert [each["label"] for each in first["chosen"]] == ["PER", "LOC"]
    assert [each["label"] for each in first["rejected"]] == ["PER"]

    base = write_small_base(tmp_path / "base")
    options = ("--preset", "tiny", "--text-weight", 0, "--epochs", 4, "--batch-size", 8, "--rank", 4)
    run = genner("train", prefs, "--base", base, "-o", tmp_path / "adapter", "--valid", gold, *options)
    assert run.status == 0, run.stderr
    losses = [line["loss"] for line in read_log(tmp_path / "adapter" / "training_log.jsonl") if "loss" in line]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < 0.9 * losses[0]


def test_answers_that_are_equally_good_are_warned_of(genner: Callable[..., Run], tmp_path: Path) -> None:
    gold, prefs = write_jsonl(tmp_path / "gold.jsonl"), tmp_path / "prefs.jsonl"
    made = genner("data", "preferences", gold, gold, "-o", prefs)
    assert (made.status, prefs.read_text()) == (0, "")
    assert f"genner: {prefs}: " in made.stderr


def test_what_is_wrong_with_pairs_is_reported_with_its_line(genner: Callable[..., Run], tmp_path: Path) -> None:
    good = {"text": "Ann went", "chosen": [{"start": 0, "end": 3, "label": "PER"}], "rejected": []}
    bad = [{**good, "rejected": [{"start": 0, "end": 30, "label": "PER"}]}, {"text": "Ann", "chosen": []}]
    path, out = write_jsonl(tmp_path / "prefs.jsonl", [good, *bad]), tmp_path / "adapter"
    run = genner("train", path, "--base", tmp_path, "-o", out)
    assert run.status == 1
    assert all(f"{path}:{number}: rejected: " in run.stderr for number in (2, 3))
    for refused in ("--augment", "--preset=tiny"):
        run = genner("train", path, "--base", tmp_path, "-o", out, refused)
        assert (run.status, "--text-weight 0" in run.stderr) == (2, True)
    renamed = write_jsonl(tmp_path / "renamed.jsonl", [{"body": each.pop("text"), **each} for each in (good, *bad)])
    run = genner("train", renamed, "--base", tmp_path, "-o", out, "--text-field", "body")
    assert all(f"{renamed}:{number}: rejected: " in run.stderr for number in (2, 3))
