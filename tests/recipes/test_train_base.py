"""examples/bundled_model/train_base.py: an adapter that is trained further."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from adapters import adapted, save_adapter
from train_base import begin_with
from transformers_models import new_model, new_tokenizer, save

from convert.lora_to_gguf import lora_to_gguf
from genner_cli.errors import ModelError

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
