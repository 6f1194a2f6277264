"""A GGUF turned back into a transformers folder: the same numbers, the same tokens, the same words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from asking import HOSTILE, LITERARY, news
from changed_gguf import finish
from gguf import GGUFReader
from random_model import write_random_model
from short_vocabulary import END
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers_models import llama_logits

from convert.base import base_folder
from convert.gguf_to_hf import gguf_to_hf
from convert.hf_to_gguf import hf_to_gguf
from convert.quantize import quantize
from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.errors import ModelError, UsageError
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.training.tokens import Tokens

NOT_CARRIED = ("general.", "genner.weights.hash")
TEXTS = [*news()[:20], *LITERARY, *HOSTILE]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundled model's."""
    return gguf_to_hf(hub.BUNDLED, tmp_path_factory.mktemp("hf") / "bundled")


def numbers(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {t.name: gguf.dequantize(t.data, t.tensor_type) for t in GGUFReader(path).tensors}


def pairs(path: Path) -> dict[str, Any]:
    """All pairs but those that say how numbers are kept, the model's name and licence, and the weights' hash."""
    metadata = read_header(path, arrays=True).metadata
    return {key: value for key, value in metadata.items() if not key.startswith(NOT_CARRIED)}


def torch_logits(folder: Path, ids: list[int]) -> np.ndarray[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def assert_same_logits(folder: Path, path: Path, ids: list[int]) -> None:
    expected = torch_logits(folder, ids)
    found = llama_logits(path, ids)
    assert np.abs(found - expected).max() < 1e-3 * expected.std()
    assert (found.argmax(1) == expected.argmax(1)).all()


def test_there_and_back_again_nothing_has_changed(folder: Path, tmp_path: Path) -> None:
    again = hf_to_gguf(folder, tmp_path / "again.gguf")
    before, after = numbers(hub.BUNDLED), numbers(again)
    assert before.keys() == after.keys()
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert pairs(again) == pairs(hub.BUNDLED)


def test_logits_are_those_of_the_same_numbers_in_llama(folder: Path, bundled: Model, tmp_path: Path) -> None:
    assert_same_logits(folder, hf_to_gguf(folder, tmp_path / "model.gguf"), bundled.plain(news()[0])[:60])


def test_an_output_matrix_of_its_own_is_kept(random_path: Path, tmp_path: Path) -> None:
    folder = gguf_to_hf(random_path, tmp_path / "random")
    assert_same_logits(folder, random_path, list(range(5, 3900, 97)))


@pytest.mark.parametrize("type", ["BF16", "Q4_K_M"])
def test_smaller_numbers_are_what_they_are_read_as(type: str, random_path: Path, tmp_path: Path) -> None:
    small = quantize(random_path, tmp_path / "small.gguf", type)
    again = hf_to_gguf(gguf_to_hf(small, tmp_path / "hf"), tmp_path / "again.gguf")
    before, after = numbers(small), numbers(again)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_a_wrong_order_of_rows_would_show(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convert.gguf_to_hf.separate", lambda rows, heads: rows)
    wrong = gguf_to_hf(hub.BUNDLED, tmp_path / "wrong")
    assert np.abs(torch_logits(wrong, [5, 6, 7, 8]) - torch_logits(folder, [5, 6, 7, 8])).max() > 0.1


def test_both_tokenizers_give_the_same_ids(folder: Path, bundled: Model) -> None:
    tokens = Tokens(AutoTokenizer.from_pretrained(folder))
    for text in TEXTS:
        assert tokens.plain(text) == bundled.plain(text)
        assert tokens.pieces(text) == bundled.pieces(text)
    assert tokens.vocabulary.pieces == bundled.vocabulary.pieces
    assert tokens.vocabulary.added == bundled.vocabulary.added
    assert [tokens.tokenizer.eos_token_id] == bundled.end_ids


def test_bos_chat_template_and_unused_ids_are_carried(random_path: Path, tmp_path: Path) -> None:
    change: dict[str, Any] = {"tokenizer.chat_template": "{{ messages }}", "tokenizer.ggml.add_bos_token": True}
    path = write_random_model(tmp_path / "model.gguf", change=change)
    path = _with_bos(path, tmp_path / "bos.gguf", END + 2)
    folder = gguf_to_hf(path, tmp_path / "hf")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.encode("a")[0] == tokenizer.bos_token_id == END + 2
    assert pairs(hf_to_gguf(folder, tmp_path / "again.gguf")) == pairs(path)


def _with_bos(source: Path, out: Path, id: int) -> Path:
    """A copy that names its BOS, and has an unused id in the middle of the table."""
    reader = GGUFReader(source)
    writer = gguf.GGUFWriter(out, "llama")
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        value = field.contents()
        if key == "tokenizer.ggml.token_type":
            value[END + 3] = int(gguf.TokenType.UNUSED)
        if key == "tokenizer.ggml.tokens":
            value[END + 3] = "<|unused|>"
        writer.add_key_value(key, value, field.types[0], field.types[1] if len(field.types) > 1 else None)
    writer.add_bos_token_id(id)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data)
    finish(writer)
    return out


def test_the_same_gguf_gives_the_same_bytes(folder: Path) -> None:
    with base_folder("bundled") as again:
        assert sorted(path.name for path in again.iterdir()) == sorted(path.name for path in folder.iterdir())
        assert all(path.read_bytes() == (folder / path.name).read_bytes() for path in again.iterdir())
        assert hash_files(weight_files(again)) == hash_files(weight_files(folder))
    assert not again.exists()


def test_what_the_model_says_of_itself_is_kept_but_no_hash_of_other_weights(tmp_path: Path) -> None:
    change = {"genner.weights.hash": "of the weights before quantization", "genner.labels": '{"Ä": ""}'}
    folder = gguf_to_hf(write_random_model(tmp_path / "model.gguf", change=change), tmp_path / "hf")
    said = json.loads((folder / "genner.json").read_text(encoding="utf-8"))
    assert said["genner.labels"] == '{"Ä": ""}'
    assert said["genner.format"] == "inserted"
    assert "genner.weights.hash" not in said


REFUSED: dict[str, dict[str, Any]] = {
    "architecture 'falcon'": {"change": {"general.architecture": "falcon"}},
    "'jais'": {"change": {"tokenizer.ggml.pre": "jais"}},
    "'spm'": {"change": {"tokenizer.ggml.model": "spm"}},
    "llama.expert_count is 8": {"change": {"llama.expert_count": "8"}},
    r"llama.rope.dimension_count is 32, .* \(64\)": {"change": {"llama.rope.dimension_count": 32}},
    r"blk.0.attn_q.weight .*\(128, 128\), .*\(64, 128\)": {"change": {"llama.attention.head_count": 1}},
    r"blk.1.\S+ is not a tensor": {"change": {"llama.block_count": 1}},
    r"lacks 'blk.2.attn_q.weight'": {"change": {"llama.block_count": 3}},
    "lacks 'llama.feed_forward_length'": {"leave_out": ["llama.feed_forward_length"]},
    "tokenizer is broken": {"change": {"tokenizer.ggml.merges": ["zebra crossing"]}},
}


@pytest.mark.parametrize(("message", "change"), REFUSED.items())
def test_what_cannot_be_carried_back_is_refused(message: str, change: dict[str, Any], tmp_path: Path) -> None:
    path = write_random_model(tmp_path / "model.gguf", **change)
    if "general.architecture" in change.get("change", {}):
        path.write_bytes(path.read_bytes().replace(b"\5\0\0\0\0\0\0\0llama", b"\6\0\0\0\0\0\0\0falcon", 1))
    with pytest.raises(ModelError, match=message) as error:
        gguf_to_hf(path, tmp_path / "hf")
    assert "transformers folder" in str(error.value)
    assert not (tmp_path / "hf").exists()


def test_a_broken_gguf_and_a_full_folder_are_refused(folder: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.gguf"
    cut.write_bytes(hub.BUNDLED.read_bytes()[:100_000])
    with pytest.raises(ModelError, match="cut short"):
        gguf_to_hf(cut, tmp_path / "hf")
    with pytest.raises(UsageError, match=f"{folder} exists"):
        gguf_to_hf(hub.BUNDLED, folder)


def test_a_base_is_a_gguf_a_folder_or_nothing(folder: Path, random_path: Path) -> None:
    with base_folder(str(folder)) as found:
        assert found == folder
    with base_folder(str(random_path)) as found:
        assert (found / "tokenizer.json").exists()
    with pytest.raises(ModelError, match=r"nobody/nothing .*local cache"), base_folder("nobody/nothing"):
        pass
