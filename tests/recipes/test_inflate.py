"""benchmarks/inflate.py: the large model writes what the small one writes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import HOSTILE, LITERARY, NOISE, news, request, run
from conftest import ONE_THREAD
from gguf import GGUFReader
from random_model import write_random_model

from benchmarks import inflate as command
from benchmarks.inflate import Shape, inflate
from convert.logits import gguf_logits
from genner_cli import hub
from genner_cli.engine import llama as llama_cpp
from genner_cli.engine.model import Model
from genner_cli.errors import GennerError, ModelError, UsageError

LARGER = Shape(layers=8, width=384, heads=6, kv_heads=2, feed_forward=1024, vocabulary=40_000)
OLD = 32_000
PARTS = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down", "attn_norm", "ffn_norm")
SENTENCES = news()[:12]
MANY = news()[:30]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("inflated") / "inflated.gguf"
    inflate(hub.BUNDLED, target, LARGER)
    return target


@pytest.fixture(scope="module")
def inflated(path: Path) -> Iterator[Model]:
    with Model(path, gpu_layers=0) as model:
        yield model


def difference(small: Path, large: Path, ids: list[int]) -> float:
    """The largest difference of a logit, in standard deviations; added tokens must be out of reach."""
    (expected,), (found,) = gguf_logits(small, [ids]), gguf_logits(large, [ids])
    old = expected.shape[1]
    assert found.shape[1] > old
    assert found[:, old:].max() < -9000
    return float(np.abs(found[:, :old] - expected).max() / expected.std())


@pytest.mark.parametrize("format", ["inserted", "xml"])
def test_completions_are_those_of_the_small_model(bundled: Model, inflated: Model, format: str) -> None:
    """In XML, tokens may end anywhere in the source, so that added ones are legal."""
    requests = [request(bundled, text, format=format) for text in MANY]
    pairs = zip(*(run(model, requests, ONE_THREAD) for model in (bundled, inflated)), strict=True)
    sure = [(small, large) for small, large in pairs if small.margin > NOISE]
    assert len(sure) >= 5, "choose other sentences: noise may decide most of these"
    for small, large in sure:
        assert large.text == small.text
        assert large.ends == small.ends
        known = [value or 0 for value in small.log_probabilities]
        assert [value or 0 for value in large.log_probabilities] == pytest.approx(known, abs=NOISE)


def test_prompts_have_the_same_ids(bundled: Model, inflated: Model) -> None:
    for text in [*SENTENCES, *LITERARY, *HOSTILE]:
        asked = request(bundled, text)
        assert inflated.prompt(asked.prefix + asked.rest) == bundled.prompt(asked.prefix + asked.rest)


def test_logits_are_those_of_the_small_model(bundled: Model, path: Path) -> None:
    asked = request(bundled, news()[0])
    ids = bundled.prompt(asked.prefix + asked.rest)[:60]
    assert difference(hub.BUNDLED, path, ids) < 0.05  # activations are rounded to 8 bits in other groups of columns


def test_logits_are_those_of_a_model_in_which_epsilon_counts_and_output_is_not_tied(tmp_path: Path) -> None:
    epsilon = {"llama.attention.layer_norm_rms_epsilon": 0.02}
    random = write_random_model(tmp_path / "random.gguf", change=epsilon)
    with Model(random, gpu_layers=0) as model:
        old = model.size
    shape = Shape(layers=3, width=192, heads=3, kv_heads=1, feed_forward=256, vocabulary=old + 10)
    inflate(random, tmp_path / "inflated.gguf", shape)
    ids = np.random.default_rng(3).integers(old, size=48).tolist()
    assert difference(random, tmp_path / "inflated.gguf", ids) < 1e-3


def test_added_tokens_are_new_texts_that_may_be_written(bundled: Model, inflated: Model) -> None:
    assert inflated.size == LARGER.vocabulary
    assert inflated.end_ids == bundled.end_ids
    assert inflated.metadata == bundled.metadata
    assert inflated.vocabulary.pieces[:OLD] == bundled.vocabulary.pieces
    assert inflated.vocabulary.added == bundled.vocabulary.added
    added = inflated.vocabulary.pieces[OLD:]
    assert all(piece and piece.decode().isprintable() for piece in added)
    assert len({*added, *bundled.vocabulary.pieces}) == len({*bundled.vocabulary.pieces}) + len(added)
    vocab = llama_cpp.llama_model_get_vocab(inflated.handle)
    kinds = {llama_cpp.llama_vocab_get_attr(vocab, id) for id in range(OLD, inflated.size)}
    assert kinds == {llama_cpp.LLAMA_TOKEN_ATTR_NORMAL}


def test_added_layers_have_weights_to_multiply_and_add_nothing(path: Path) -> None:
    tensors = {tensor.name: tensor for tensor in GGUFReader(path).tensors}
    assert {name: tuple(tensor.shape[::-1]) for name, tensor in tensors.items()} == LARGER.tensors
    for layer in (4, 5, 6, 7):
        empty = {part for part in PARTS if not tensors[f"blk.{layer}.{part}.weight"].data.any()}
        assert empty == {"attn_output", "ffn_down"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": 3}, "layers 3"),
        ({"width": 192, "heads": 3}, "width 192"),
        ({"feed_forward": 512}, "feed_forward 512"),
        ({"feed_forward": 1000}, "feed_forward 1000.* 32"),
        ({"vocabulary": 31_999}, "vocabulary 31999"),
        ({"heads": 0}, "heads 0"),
        ({"heads": 5, "width": 320}, "heads 5.* kv_heads"),
        ({"kv_heads": 3}, "kv_heads.* 2"),
        ({"width": 400}, "width 400.* 32"),
        ({"width": 448}, "width 448.* 6 heads"),
    ],
)
def test_a_shape_that_cannot_hold_the_model_is_refused(change: dict[str, int], message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        inflate(hub.BUNDLED, tmp_path / "inflated.gguf", replace(LARGER, **change))
    assert not list(tmp_path.iterdir())


def test_a_model_that_is_no_llama_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=path.name):
        inflate(path, tmp_path / "inflated.gguf", LARGER)
    with pytest.raises(GennerError, match=r"missing\.gguf"):
        inflate(tmp_path / "missing.gguf", tmp_path / "inflated.gguf", LARGER)
    assert not list(tmp_path.iterdir())


def test_the_command_makes_the_folder_and_names_what_it_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "new" / "inflated.gguf"
    sizes = ("--layers", "6", "--width", "256", "--heads", "4", "--feed-forward", "768", "--vocabulary", "32000")
    monkeypatch.setattr(sys, "argv", ["inflate.py", "-o", str(target), *sizes])
    command.main()
    assert capsys.readouterr().out == f"{target}: 21.1 million parameters, {target.stat().st_size / 1e6:.1f} MB\n"
    assert list(target.parent.iterdir()) == [target]
    monkeypatch.setattr(sys, "argv", ["inflate.py", "-o", str(target), "--layers", "3"])
    with pytest.raises(SystemExit):
        command.main()
    assert "layers 3" in capsys.readouterr().err
