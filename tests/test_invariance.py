"""The same text gives the same bytes, whatever is decoded beside it, and where it cannot, the engine says so."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from asking import HOSTILE, LITERARY, STORIES, in_order, news, request
from conftest import ONE_THREAD, Run

from convert.quantize import quantize
from genner_cli.engine import invariance as module
from genner_cli.engine.context import Context
from genner_cli.engine.engine import Engine
from genner_cli.engine.invariance import CANDIDATES, invariance
from genner_cli.engine.model import Model
from genner_cli.generation import Completion, EngineOptions, Invariance, Request, Rows

TEXTS = [*news()[:14], *LITERARY, *HOSTILE]
TYPES = ("Q8_0", "Q4_0", "Q5_0", "IQ4_NL", "F16", "BF16")


def shuffled(model: Model, requests: Sequence[Request], options: EngineOptions, seed: int) -> list[Completion]:
    """The completions in the order of the requests, which are asked in another."""
    order = random.Random(seed).sample(range(len(requests)), len(requests))
    with Engine(model, options) as engine:
        assert engine.invariance.rows
        found = in_order(engine.generate(requests[at] for at in order))
    return [found[order.index(at)] for at in range(len(requests))]


def assert_same_bits(model: Model, requests: Sequence[Request]) -> None:
    alone = [shuffled(model, [asked], replace(ONE_THREAD, slots=1), 0)[0] for asked in requests[:4]]
    one = shuffled(model, requests, replace(ONE_THREAD, slots=1), 0)
    assert [completion.error for completion in one] == [None] * len(requests)
    assert one[:4] == alone
    for seed, options in enumerate(
        (EngineOptions(slots=3), EngineOptions(), EngineOptions(context=640, batch_tokens=24)), 1
    ):
        assert shuffled(model, requests, replace(options, threads=1, gpu_layers=0), seed) == one


@pytest.mark.parametrize("format", ["inserted", "xml", "occurrence"])
def test_completions_and_scores_are_the_same_to_the_bit(model: Model, format: str) -> None:
    texts = TEXTS[::2] if format == "inserted" else TEXTS[::4]
    assert_same_bits(model, [request(model, text, format=format) for text in texts])


@pytest.mark.parametrize("type", TYPES)
def test_they_are_in_other_types(type: str, random_path: Path, tmp_path: Path) -> None:
    with Model(quantize(random_path, tmp_path / "model.gguf", type), gpu_layers=0) as model:
        assert_same_bits(model, [request(model, text, format="xml") for text in news()[:8]])


def test_formats_that_need_all_logits_change_nothing_for_one_that_does_not(bundled: Model) -> None:
    assert_same_bits(
        bundled, [request(bundled, text, format=format) for text in TEXTS[::3] for format in ("inserted", "xml")]
    )


def test_cells_are_moved_together_and_stay_what_they_were(bundled: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = []
    move = Context._move_together
    monkeypatch.setattr(Context, "_move_together", lambda context: moved.append(1) or move(context))
    requests = [request(bundled, text) for text in TEXTS]
    rarely = shuffled(bundled, requests, replace(ONE_THREAD, context=65536), 0)
    few = len(moved)
    monkeypatch.setattr("genner_cli.engine.context.UNUSED_CELLS", 0)
    assert shuffled(bundled, requests, ONE_THREAD, 0) == rarely
    assert len(moved) > 3 * few


def test_records_are_the_same_bytes_in_one_slot_and_in_shards(genner: Callable[..., Run], tmp_path: Path) -> None:
    stories = tmp_path / "stories.jsonl"
    stories.write_bytes(b"".join(STORIES.read_bytes().splitlines(keepends=True)[:4]))
    whole = genner("extract", stories).stdout
    assert genner("extract", stories, "--slots", 1).stdout == whole
    shards = [tmp_path / "1.jsonl", tmp_path / "2.jsonl"]
    for number, shard in enumerate(shards, 1):
        assert genner("extract", stories, "--shard", f"{number}/2", "-o", shard).status == 0
        assert shard.stat().st_size
    assert b"".join(shard.read_bytes() for shard in shards) == whole


@pytest.mark.parametrize("rows", CANDIDATES)
def test_all_sizes_of_steps_can_be_tried(bundled: Model, rows: Rows) -> None:
    assert module._same_bits(bundled, ONE_THREAD, 1, rows)


def test_a_difference_is_found(bundled: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 64 tokens on, attention on a CPU is computed in another way."""
    assert module._same_bits(bundled, ONE_THREAD, 1, CANDIDATES[0])
    monkeypatch.setattr(module, "ALONE", ((79,), *module.ALONE))
    assert not module._same_bits(bundled, ONE_THREAD, 1, Rows(2, 79, 1))


def test_it_is_measured_once(
    bundled: Model, random_model: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = []
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(module, "_same_bits", lambda model, *_: asked.append(model) or model is bundled)
    found = [invariance(model, ONE_THREAD, 1) for model in (bundled, random_model) for _ in range(2)]
    assert found[0] == found[1] == Invariance(CANDIDATES[0])
    assert found[2] == found[3]
    assert found[2].rows is None
    assert "types" in found[2].reason
    assert asked == [bundled, *[random_model] * len(CANDIDATES)]
    for file in tmp_path.rglob("*.json"):
        file.write_text('{"rows": 1')
    assert invariance(bundled, ONE_THREAD, 1) == found[0]
    assert len(asked) == 2 + len(CANDIDATES)
    invariance(bundled, ONE_THREAD, 2)
    assert len(asked) == 3 + len(CANDIDATES), "threads share rows out"


def test_without_a_folder_to_write_to_it_is_measured_again(
    bundled: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "genner").write_text("a file")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert invariance(bundled, ONE_THREAD, 1).rows


def test_where_it_cannot_hold_the_reason_is_given(bundled: Model) -> None:
    options = replace(ONE_THREAD, flash_attention=False)
    with Engine(bundled, options) as engine:
        assert engine.invariance == Invariance(None, "flash attention is off")
        assert in_order(engine.generate([request(bundled, "x")]))[0].text


@pytest.mark.parametrize("fact", ["sliding window", "recurrent"])
def test_models_whose_cells_do_not_lie_in_order_are_left_out(
    bundled: Model, fact: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if fact == "recurrent":
        monkeypatch.setattr(bundled, "recurrent", True)
    else:
        monkeypatch.setattr(module.llama, "llama_model_n_swa", lambda handle: 512)
    found = invariance(bundled, ONE_THREAD, 1)
    assert found.rows is None
    assert fact in found.reason
