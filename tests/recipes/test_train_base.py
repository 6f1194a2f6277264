"""examples/bundled_model/train_base.py: an adapter that is trained further."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapters import adapted, save_adapter
from train_base import OPTIONS, begin_with
from train_base import save as save_trained
from transformers_models import new_model, new_tokenizer, save

from convert.lora_to_gguf import lora_to_gguf
from genner_cli.errors import ModelError
from genner_cli.provenance import Provenance
from genner_cli.training.base import find_base

LINEAR = "all-linear"


def adapter(folder: Path) -> tuple[Path, dict[str, torch.Tensor]]:
    """The GGUF of an adapter of random numbers on a small Llama, and its matrices."""
    model = new_model("llama")
    base = save(model, new_tokenizer(), folder / "base")
    changed = adapted(model, target_modules=LINEAR)
    saved = save_adapter(changed, new_tokenizer(), base, folder / "adapter")
    matrices = {name: value for name, value in changed.named_parameters() if "lora_" in name}
    return lora_to_gguf(saved, base, folder / "adapter.gguf"), matrices


def test_the_matrices_are_those_that_the_adapter_was_made_of(tmp_path: Path) -> None:
    path, matrices = adapter(tmp_path)
    fresh = adapted(new_model("llama"), target_modules=LINEAR, size=0.1)
    begin_with(fresh, path)
    found = {name: value for name, value in fresh.named_parameters() if "lora_" in name}
    assert found.keys() == matrices.keys()
    assert all(torch.equal(found[name], value) for name, value in matrices.items())


@pytest.mark.parametrize("options", [{"r": 3}, {"lora_alpha": 7}, {"target_modules": ["q_proj"]}], ids=str)
def test_another_lora_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    path, _ = adapter(tmp_path)
    other = adapted(new_model("llama"), **{"target_modules": LINEAR, **options})
    with pytest.raises(ModelError, match="its matrices or its alpha are others"):
        begin_with(other, path)


def test_the_folder_says_what_it_was_trained_with(tmp_path: Path) -> None:
    base = save(new_model("llama"), new_tokenizer(), tmp_path / "base")
    (tmp_path / "btc").mkdir()
    with gzip.open(tmp_path / "btc" / "train.jsonl.gz", "wt") as lines:
        lines.write(json.dumps({"id": "1", "text": "Ann left.", "entities": [{"start": 0, "end": 3, "label": "PER"}]}))
    options = replace(OPTIONS, learning_rate=1e-3)
    model = adapted(new_model("llama"), target_modules=LINEAR)
    save_trained(model, find_base(base, "my/base"), options, tmp_path, tmp_path / "adapter")
    words = json.loads((tmp_path / "adapter" / "genner.json").read_text("utf-8"))
    found = Provenance.from_metadata(words)
    assert found
    assert (found.base, found.options["learning_rate"], len(found.data_files)) == ("my/base", 1e-3, 1)
    assert json.loads((tmp_path / "adapter" / "verify.jsonl").read_text("utf-8"))["entities"][0]["text"] == "Ann"
