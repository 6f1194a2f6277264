"""engine.adapter: an adapter that llama.cpp cannot apply to a model as a whole is refused before it tries."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from genner_cli.engine.adapter import changes_output, metadata_of, refuse_as_model, refuse_misfit
from genner_cli.engine.gguf_header import Header, TensorInfo
from genner_cli.errors import ModelError
from genner_cli.files.hashing import hash_file

PATH = Path("adapter.gguf")
MODEL = Path(__file__)
BASE = {"token_embd.weight": (64, 300), "output.weight": (64, 300), "blk.0.attn_q.weight": (64, 32)}
Shapes = Mapping[str, tuple[int, ...]]


def header(metadata: Mapping[str, Any], shapes: Shapes) -> Header:
    return Header(dict(metadata), {name: TensorInfo(shape, 0, 0) for name, shape in shapes.items()}, 1)


def pair(name: str, a: tuple[int, ...], b: tuple[int, ...]) -> Shapes:
    return {f"{name}.lora_a": a, f"{name}.lora_b": b}


SAID = {"general.type": "adapter", "adapter.type": "lora", "general.architecture": "llama"}
RIGHT = pair("blk.0.attn_q.weight", (64, 4), (4, 32))


def refuse(shapes: Shapes = RIGHT, base: Shapes = BASE, made_from: str | None = None, **said: Any) -> None:
    metadata = {**SAID, **{key.replace("_", "."): value for key, value in said.items()}}
    of_base = {"general.architecture": "llama"} | ({"genner.weights.hash": made_from} if made_from else {})
    refuse_misfit(PATH, header(metadata, shapes), MODEL, header(of_base, base))


def test_an_adapter_that_fits_is_let_pass() -> None:
    refuse()
    refuse(pair("output.weight", (64, 4), (4, 300)))
    refuse(pair("token_embd.weight", (4, 300), (4, 64)))
    refuse(genner_base_hash="a" * 64, made_from="a" * 64)
    refuse(genner_base_hash="a" * 64)
    refuse(made_from="a" * 64)


def test_an_adapter_fits_the_very_file_that_it_was_trained_on() -> None:
    others = {"genner_base_hash": "a" * 64, "made_from": "c" * 64, "genner_base_reference": "b"}
    refuse(**others, **{"genner.base.file.hash": hash_file(MODEL)})
    with pytest.raises(ModelError, match="other weights"):
        refuse(**others, **{"genner.base.file.hash": "d" * 64})


def test_another_file_that_does_not_say_what_it_was_made_of_gets_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """It may be the same model in another type of weights."""
    refuse(genner_base_hash="a" * 64, **{"genner.base.file.hash": hash_file(MODEL)})
    refuse(genner_base_hash="a" * 64, made_from="a" * 64, **{"genner.base.file.hash": "d" * 64})
    refuse(genner_base_hash="a" * 64)
    assert not caplog.messages
    refuse(genner_base_hash="a" * 64, genner_base_reference="b", **{"genner.base.file.hash": "d" * 64})
    (message,) = caplog.messages
    assert "'b'" in message
    assert str(MODEL) in message


REFUSED: dict[str, dict[str, Any]] = {
    "genner export --adapter-only": {"general_type": "model"},
    "not a LoRA adapter": {"adapter_type": "control"},
    "'qwen2', .*'llama'": {"general_architecture": "qwen2"},
    r"'b' \(SHA-256 aaaaaaaaaaaa\), .*\(SHA-256 cccc": {
        "genner_base_hash": "a" * 64, "genner_base_reference": "b", "made_from": "c" * 64,
    },
    "blk.0.attn_norm.weight .*pair": {"shapes": {**RIGHT, "blk.0.attn_norm.weight": (64,)}},
    "blk.0.attn_q.weight.lora_b is missing": {
        "shapes": {"blk.0.attn_q.weight.lora_a": (64, 4)},
    },
    r"a blk.7.attn_q.weight \(64, 32\), .*none": {
        "shapes": pair("blk.7.attn_q.weight", (64, 4), (4, 32)),
    },
    r"a blk.0.attn_q.weight \(64, 48\), .* \(64, 32\)": {
        "shapes": pair("blk.0.attn_q.weight", (64, 4), (4, 48)),
    },
    r"a blk.0.attn_q.weight \(.*\), .* \(64, 32\)": {"shapes": pair("blk.0.attn_q.weight", (64, 4), (8, 32))},
    r"\(64,\) and \(4, 32\)": {
        "shapes": pair("blk.0.attn_q.weight", (64,), (4, 32)),
    },
    "embeddings .*output matrix": {
        "shapes": pair("token_embd.weight", (4, 300), (4, 64)),
        "base": {name: shape for name, shape in BASE.items() if name != "output.weight"},
    },
}  # fmt: skip


@pytest.mark.parametrize("message", REFUSED)
def test_one_that_does_not_fit_is_refused_with_what_and_why(message: str) -> None:
    with pytest.raises(ModelError, match=rf"^adapter.gguf: .*{message}"):
        refuse(**REFUSED[message])


def test_an_adapter_is_no_model() -> None:
    with pytest.raises(ModelError, match="--adapter"):
        refuse_as_model(PATH, header(SAID, RIGHT))
    refuse_as_model(PATH, header({}, BASE))


def test_whether_the_output_matrix_is_changed_is_known() -> None:
    assert changes_output(header(SAID, pair("output.weight", (64, 4), (4, 300))))
    assert not changes_output(header(SAID, RIGHT))


def test_what_the_adapter_says_of_itself_goes_before_what_the_base_says() -> None:
    base = {"genner.format": "xml", "genner.weights.hash": "a", "tokenizer.chat_template": "t"}
    assert metadata_of(base, {}) == base
    assert metadata_of(base, {"general.name": "x"}) == base
    assert metadata_of(base, {"general.name": "x", "genner.format": "inserted"}) == {
        "genner.format": "inserted", "tokenizer.chat_template": "t",
    }  # fmt: skip
