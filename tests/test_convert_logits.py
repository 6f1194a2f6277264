"""convert.logits: llama.cpp's logits for token ids, whatever their number."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers_models import VOCABULARY, llama_logits, new_model, new_tokenizer, save, some_ids, transformers_logits

from convert.hf_to_gguf import hf_to_gguf
from convert.logits import BATCH, gguf_logits
from genner_cli.errors import ModelError


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save(new_model("gemma3", max_position_embeddings=1024), new_tokenizer(), tmp_path_factory.mktemp("model"))
    return hf_to_gguf(folder, folder / "model.gguf")


def test_logits_of_more_tokens_than_a_batch_are_those_of_transformers(gguf: Path) -> None:
    ids = some_ids(BATCH + 30)
    expected, found = (
        transformers_logits(new_model("gemma3", max_position_embeddings=1024), ids),
        llama_logits(gguf, ids),
    )
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-3 * expected.std()  # more than a thousandth: GELU is a table in F16


def test_sequences_know_nothing_of_each_other(gguf: Path) -> None:
    ids = some_ids()
    together = list(gguf_logits(gguf, [ids[:9], [], ids, ids[20:]]))
    assert [len(rows) for rows in together] == [9, 0, len(ids), len(ids) - 20]
    for rows, part in zip(together, [ids[:9], [], ids, ids[20:]], strict=True):
        assert np.abs(rows - llama_logits(gguf, part)).max(initial=0) < 1e-4


def test_no_tokens_have_no_logits(gguf: Path) -> None:
    assert llama_logits(gguf, []).shape == (0, VOCABULARY)


@pytest.mark.parametrize("id", [-1, VOCABULARY])
def test_an_id_beyond_the_vocabulary_is_named(gguf: Path, id: int) -> None:
    with pytest.raises(ModelError, match=rf"\bid {id} .*vocabulary of {VOCABULARY}"):
        llama_logits(gguf, [1, id])


def test_a_file_that_is_no_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    with pytest.raises(ModelError, match=r"model\.gguf"):
        llama_logits(tmp_path / "model.gguf", [1])
