"""examples/bundled_model/train_base.py and export_base.py: an adapter trained further, and what it says of itself."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from adapters import adapted, save_adapter
from export_base import export
from gguf_metadata import with_pairs
from train_base import OPTIONS, Run, begin_with
from train_base import save as save_trained
from transformers_models import new_model, new_tokenizer, save

from convert.lora_to_gguf import lora_to_gguf
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError, UsageError
from genner_cli.provenance import BASE_FILE, GGUF_SOURCE, Provenance
from genner_cli.training import checkpoints
from genner_cli.training.base import Base, find_base, open_model, with_lora
from genner_cli.training.loop import STATE

LINEAR = "all-linear"
RUN = Run("my/base", start="1" * 64, silver="2" * 64, learning_rate=1e-3)


def adapter(folder: Path) -> tuple[Path, Base, dict[str, torch.Tensor]]:
    """The GGUF of an adapter of random numbers on a small Llama, that base, and the adapter's matrices."""
    model = new_model("llama")
    base = save(model, new_tokenizer(), folder / "base")
    changed = adapted(model, target_modules=LINEAR)
    saved = save_adapter(changed, new_tokenizer(), base, folder / "adapter")
    matrices = {name: value for name, value in changed.named_parameters() if "lora_" in name}
    return lora_to_gguf(saved, base, folder / "adapter.gguf"), find_base(base, "my/base"), matrices


def test_the_matrices_are_those_that_the_adapter_was_made_of(tmp_path: Path) -> None:
    path, base, matrices = adapter(tmp_path)
    fresh = adapted(new_model("llama"), target_modules=LINEAR, size=0.1)
    begin_with(fresh, path, base)
    found = {name: value for name, value in fresh.named_parameters() if "lora_" in name}
    assert found.keys() == matrices.keys()
    assert all(torch.equal(found[name], value) for name, value in matrices.items())


@pytest.mark.parametrize("options", [{"r": 3}, {"lora_alpha": 7}, {"target_modules": ["q_proj"]}], ids=str)
def test_another_lora_is_refused(options: dict[str, object], tmp_path: Path) -> None:
    path, base, _ = adapter(tmp_path)
    other = adapted(new_model("llama"), **{"target_modules": LINEAR, **options})
    with pytest.raises(ModelError, match="its matrices or its alpha are others"):
        begin_with(other, path, base)


def test_an_adapter_of_another_base_file_is_refused(tmp_path: Path) -> None:
    path, base, _ = adapter(tmp_path)
    (base.folder / GGUF_SOURCE).write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(ModelError, match="was not trained on my/base"):
        begin_with(adapted(new_model("llama"), target_modules=LINEAR), path, base)
    with_pairs(path, {BASE_FILE: "0" * 64})
    begin_with(adapted(new_model("llama"), target_modules=LINEAR), path, base)


def test_a_run_goes_on_only_with_what_it_was_begun_with(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="holds no run"):
        Run.of(tmp_path)
    replace(RUN, base="other").begin(tmp_path)
    RUN.begin(tmp_path)  # nothing was trained yet
    (tmp_path / "checkpoint").mkdir()
    RUN.begin(tmp_path)
    assert Run.of(tmp_path) == RUN
    with pytest.raises(UsageError, match=r"begun with .*0\.001.* not .*0\.002"):
        replace(RUN, learning_rate=2e-3).begin(tmp_path)
    assert Run.of(tmp_path) == RUN
    (tmp_path / "run.json").unlink()
    with pytest.raises(ModelError, match="holds no run"):
        RUN.begin(tmp_path)


@pytest.fixture
def ner(tmp_path: Path) -> Path:
    """A folder of corpora with one text to verify an export with."""
    (tmp_path / "btc").mkdir()
    with gzip.open(tmp_path / "btc" / "train.jsonl.gz", "wt") as lines:
        entities = [{"start": 0, "end": 3, "label": "PER"}]
        lines.write(json.dumps({"id": "1", "text": "Ann left.", "entities": entities}))
    return tmp_path


def test_the_folder_says_what_it_was_trained_with(tmp_path: Path, ner: Path) -> None:
    base = save(new_model("llama"), new_tokenizer(), tmp_path / "base")
    model = adapted(new_model("llama"), target_modules=LINEAR)
    save_trained(model, find_base(base, "my/base"), RUN.said(40), ner, tmp_path / "adapter")
    found = Provenance.from_metadata(json.loads((tmp_path / "adapter" / "genner.json").read_text("utf-8")))
    assert found
    assert (found.base, len(found.data_files)) == ("my/base", 1)
    assert found.options | {"learning_rate": 1e-3, "steps": 40, "start": "1" * 64, "rank": 32} == found.options
    assert not {"epochs", "batch_size", "warm_up"} & found.options.keys()  # the recipe has none of them
    assert json.loads((tmp_path / "adapter" / "verify.jsonl").read_text("utf-8"))["entities"][0]["text"] == "Ann"


def test_a_checkpoint_is_exported_with_what_its_run_was_begun_with(tmp_path: Path, ner: Path) -> None:
    base = save(new_model("llama"), new_tokenizer(), tmp_path / "base")
    opened = open_model(find_base(base, str(base)), OPTIONS, torch.device("cpu"))
    model = with_lora(opened, OPTIONS).get_base_model()
    matrices = {name: value for name, value in model.named_parameters() if "lora_" in name}
    with torch.no_grad():
        for value in matrices.values():
            value.normal_(0, 0.05)
    run = tmp_path / "run"
    run.mkdir()
    replace(RUN, base=str(base)).begin(run)
    (run / "checkpoint").mkdir()
    checkpoints.save(run / "checkpoint" / STATE, model, {"step": 7})
    header = read_header(export(run, ner, tmp_path / "adapter.gguf"))
    found = Provenance.from_metadata(header.metadata)
    assert found
    assert (found.options["learning_rate"], found.options["steps"], header.metadata["general.name"]) == (
        1e-3,
        7,
        "genner-base",
    )
    assert len([name for name in header.tensors if ".lora_" in name]) == len(matrices)
