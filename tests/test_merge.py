"""merge_lora: the merged model is the adapted one, or there is no merged model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import adapted, save_adapter
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast
from transformers_models import new_model, new_tokenizer, save, some_ids, transformers_logits

from convert.merge_lora import merge_lora
from genner_cli.errors import ModelError, UsageError

IDS = some_ids()
SAID = {"genner.format": "xml", "genner.labels": '{"Zoë": ""}'}


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    return new_tokenizer()


@pytest.fixture(scope="module")
def model() -> PreTrainedModel:
    return new_model("llama")


@pytest.fixture(scope="module")
def base(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path_factory: Any) -> Path:
    return save(model, tokenizer, tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, base: Path, tmp_path_factory: Any) -> Path:
    return save_adapter(adapted(model), tokenizer, base, tmp_path_factory.mktemp("adapter"), SAID)


def torch_model(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager").eval()


def assert_same(merged: Path, changed: Any, model: PreTrainedModel) -> None:
    """The merged model's logits are the adapted one's, and far from those of the base."""
    expected, found = (transformers_logits(each, IDS) for each in (changed, torch_model(merged)))
    assert abs(found - expected).max() < 1e-4 * expected.std()
    assert abs(transformers_logits(model, IDS) - expected).max() > expected.std()


ADAPTERS: dict[str, dict[str, Any]] = {
    "plain": {},
    "rank-stabilised": {"use_rslora": True},
    "ranks and alphas by layer": {
        "rank_pattern": {"layers.1.self_attn.q_proj": 2, r".*\.down_proj": 7}, "alpha_pattern": {"q_proj": 11},
    },
    "output matrix and embeddings": {"target_modules": ["lm_head", "embed_tokens", "v_proj"]},
    "a new output matrix": {"modules_to_save": ["lm_head"]},
    "a new norm": {"modules_to_save": ["norm"]},
}  # fmt: skip


@pytest.mark.parametrize("options", ADAPTERS.values(), ids=list(ADAPTERS))
@pytest.mark.filterwarnings("ignore:.*save_embedding_layers")
def test_merged_is_applied_as_it_runs(
    options: dict[str, Any],
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    base: Path,
    tmp_path: Path,
) -> None:
    changed = adapted(model, **options)
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    assert_same(merge_lora(base, adapter, tmp_path / "merged"), changed, model)


def test_biases_that_were_trained_are_kept(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = new_model("llama, biases")
    changed = adapted(model, bias="all")
    base = save(model, tokenizer, tmp_path / "base")
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    assert_same(merge_lora(base, adapter, tmp_path / "merged"), changed, model)


def test_names_of_a_model_for_text_and_images_are_found(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = new_model("gemma3, images")
    changed = adapted(model, target_modules=r".*language_model.*\.(q|down)_proj")
    base = save(model, tokenizer, tmp_path / "base")
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    assert_same(merge_lora(base, adapter, tmp_path / "merged"), changed, model)


def test_a_wrong_scale_would_show(adapter: Path, base: Path, model: PreTrainedModel, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(copy, "adapter_config.json", lora_alpha=7)
    with pytest.raises(AssertionError):
        assert_same(merge_lora(base, copy, tmp_path / "merged"), adapted(model), model)


def edit(folder: Path, name: str, **values: Any) -> None:
    found = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**found, **values}), encoding="utf-8")


def test_number_types_are_kept_and_numbers_rounded_once(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = new_model("llama", dtype=torch.bfloat16)
    changed = adapted(model)
    base = save(model.bfloat16(), tokenizer, tmp_path / "base")
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    merged = load_file(merge_lora(base, adapter, tmp_path / "merged") / "model.safetensors")
    exact = changed.merge_and_unload().state_dict()
    assert {value.dtype for value in merged.values()} == {torch.bfloat16}
    for name, value in merged.items():
        half_a_step = torch.exp2(torch.floor(torch.log2(exact[name].abs())) - 8)
        assert ((value.float() - exact[name]).abs() <= 1.001 * half_a_step).all(), name


def test_the_folder_is_the_bases_with_the_adapters_words(adapter: Path, base: Path, tmp_path: Path) -> None:
    merged = merge_lora(base, adapter, tmp_path / "merged")
    assert (merged / "config.json").read_bytes() == (base / "config.json").read_bytes()
    assert (merged / "tokenizer.json").read_bytes() == (adapter / "tokenizer.json").read_bytes()
    assert (merged / "genner.json").read_bytes() == (adapter / "genner.json").read_bytes()
    assert not (merged / "adapter_config.json").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["merged"]


def test_files_of_the_base_stay_files(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    changed = adapted(model)
    base = save(model, tokenizer, tmp_path / "base", max_shard_size="200KB")
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    merged = merge_lora(base, adapter, tmp_path / "merged")
    files = sorted(path.name for path in base.glob("*.safetensors*"))
    assert len(files) > 3
    assert files == sorted(path.name for path in merged.glob("*.safetensors*"))
    assert_same(merged, changed, model)


def test_another_base_is_refused(
    adapter: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    with torch.no_grad():
        (other := new_model("llama")).model.norm.weight[0] += 0.01
    base = save(other, tokenizer, tmp_path / "other")
    with pytest.raises(ModelError, match=r"'my/base' \(SHA-256 \w{12}\)"):
        merge_lora(base, adapter, tmp_path / "merged")
    with pytest.raises(ModelError, match=r"layers\.\S+ \(.*\), .* base .* \("):
        merge_lora(save(new_model("qwen2"), tokenizer, tmp_path / "qwen"), adapter, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


CONFIGS: dict[str, dict[str, Any]] = {
    "use_dora": {"use_dora": True},
    "fan_in_fan_out": {"fan_in_fan_out": True},
    "init_lora_weights 'pissa_niter_4'": {"init_lora_weights": "pissa_niter_4"},
    "target_parameters": {"target_parameters": ["experts.down"]},
    "peft_type 'VERA'": {"peft_type": "VERA"},
    "an_option_of_tomorrow": {"an_option_of_tomorrow": 3},
}


@pytest.mark.parametrize(("message", "values"), CONFIGS.items())
def test_an_adapter_that_is_more_than_lora_is_refused(
    message: str, values: dict[str, Any], adapter: Path, base: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(copy, "adapter_config.json", **values)
    with pytest.raises(ModelError, match=rf"{message}.*plain LoRA"):
        merge_lora(base, copy, tmp_path / "merged")


def test_an_adapter_without_a_scale_is_refused(adapter: Path, base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    edit(copy, "adapter_config.json", lora_alpha=None)
    with pytest.raises(ModelError, match=r"lora_alpha is None"):
        merge_lora(base, copy, tmp_path / "merged")


def test_an_adapter_that_is_not_whole_is_refused(adapter: Path, base: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(adapter, tmp_path / "copy"))
    values = load_file(copy / "adapter_model.safetensors")
    lost = min(values)
    save_file({name: value for name, value in values.items() if name != lost}, copy / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="pair of matrices"):
        merge_lora(base, copy, tmp_path / "merged")
    (copy / "adapter_model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors cannot be read"):
        merge_lora(base, copy, tmp_path / "merged")
    (copy / "genner.json").unlink()
    with pytest.raises(ModelError, match="genner train --resume"):
        merge_lora(base, copy, tmp_path / "merged")


@pytest.mark.filterwarnings("ignore:.*tie_word_embeddings", "ignore:.*save_embedding_layers")
def test_one_matrix_for_two_ends_is_not_changed_at_one(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = new_model("llama, linear")
    base = save(model, tokenizer, tmp_path / "base")
    adapter = save_adapter(adapted(model, target_modules=["lm_head"]), tokenizer, base, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"lm_head\.weight, .*embeddings"):
        merge_lora(base, adapter, tmp_path / "merged")


def test_numbers_too_large_for_their_type_are_refused(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    model = new_model("llama", dtype=torch.float16)
    changed = adapted(model, size=900.0)
    base = save(model.half(), tokenizer, tmp_path / "base")
    adapter = save_adapter(changed, tokenizer, base, tmp_path / "adapter")
    with pytest.raises(ModelError, match=r"\S+_proj\.weight .*finite .*F16"):
        merge_lora(base, adapter, tmp_path / "merged")
    assert not list(tmp_path.glob("merged*"))


def test_a_folder_with_something_in_it_is_left_alone(adapter: Path, base: Path) -> None:
    with pytest.raises(UsageError, match=f"{base} exists"):
        merge_lora(base, adapter, base)


BIG = """
import json, os, resource, signal, sys
from pathlib import Path
import torch
from safetensors.torch import save_file
from convert import merge_lora as module
from genner_cli.files.hashing import hash_files, weight_files
from genner_cli.provenance import Provenance

here, shards, rows = Path(sys.argv[1]), 8, 3 << 10
base, adapter, merged = here / "base", here / "adapter", here / "merged"
def prepare():
    base.mkdir(), adapter.mkdir()
    names = [f"model.layers.{number}.mlp.up_proj.weight" for number in range(shards)]
    weight_map = {name: f"model-{number}.safetensors" for number, name in enumerate(names)}
    for name, file in weight_map.items():
        save_file({name: torch.ones(rows, 2048)}, base / file)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    (base / "config.json").write_text("{}")
    halves = {"lora_A": torch.ones(4, 2048), "lora_B": torch.ones(rows, 4)}
    pairs = {f"base_model.model.{name[:-7]}.{half}.weight": halves[half].clone() for name in names for half in halves}
    save_file(pairs, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 4}')
    base_hash = hash_files(weight_files(base))
    (adapter / "genner.json").write_text(json.dumps(Provenance("", base_hash, "", {}, {}).to_metadata()))
write, files = module.write_safetensors, []
def killed(path, *rest):
    if len(files) == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    files.append(path)
    write(path, *rest)
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
if not os.fork():
    prepare()
    module.write_safetensors = killed
    module.merge_lora(base, adapter, merged)
    os._exit(0)
status = os.wait()[1]
print(os.WTERMSIG(status), merged.exists(), len(list((here / "merged.partial").iterdir())))
torch.ones(rows, 2048) @ torch.ones(2048, 4)
before = most()
module.merge_lora(base, adapter, merged)
print(most() - before)
"""


def test_memory_is_that_of_one_file_and_a_killed_run_leaves_nothing_under_the_name(tmp_path: Path) -> None:
    """8 files of 24 MiB in a process of its own, which prints what a run killed before left and by how much its memory
    grew."""
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    call = [sys.executable, "-c", BIG, str(tmp_path)]
    run = subprocess.run(call, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    killed, grown = run.stdout.splitlines()
    assert killed == f"{int(signal.SIGKILL)} False 3"
    assert not (tmp_path / "merged.partial").exists()
    assert (load_file(tmp_path / "merged" / "model-7.safetensors")["model.layers.7.mlp.up_proj.weight"] == 5).all()
    assert int(grown) < 3 * 24 * 2**20, "of 8 files"
