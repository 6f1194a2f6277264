"""convert: llama.cpp computes what transformers computes, for every architecture; each mapping matters."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, LlamaConfig, PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
from transformers_models import (
    CASES,
    LINEAR,
    LLAMA3,
    PLAIN,
    SIZES,
    TOKENS,
    YARN,
    llama_logits,
    new_model,
    new_tokenizer,
    save,
    some_ids,
    transformers_logits,
)

from convert.architectures import FAMILIES, Architecture, architecture
from convert.hf_to_gguf import hf_to_gguf
from convert.parity import check_logits
from convert.probe import Example, Probe
from convert.rope import Rotation
from convert.tensors import Tensor
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError
from genner_cli.prompting import GENERAL_PROMPT
from genner_cli.tasks import Task
from genner_cli.training.tokens import Tokens

# Greatest difference of any logit in standard deviations. In F16 and BF16 llama.cpp rounds not only the matrices
# (here they are round already) but also what is multiplied by them; in F32 its GELU is a table in half precision.
LIMITS = {"f32": 1e-3, "f16": 0.03, "bf16": 0.1}
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
# With these wrong llama.cpp does not load the model or aborts; nothing is computed.
SIZE_KEYS = {
    "vocab_size", "context_length", "block_count", "embedding_length", "feed_forward_length", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "rope.dimension_count",
}  # fmt: skip
NEUTRAL = {  # config fields that change nothing that is computed for text, or nothing by themselves
    "attention_dropout", "resid_pdrop", "embd_pdrop", "initializer_range", "use_cache", "pretraining_tp",
    "pad_token_id", "bos_token_id", "eos_token_id",
    "use_sliding_window", "max_window_layers", "no_rope_layer_interval",  # in layer_types, no_rope_layers
    "original_max_position_embeddings",  # in rope_parameters
    "vision_config", "mm_tokens_per_image", "boi_token_index", "eoi_token_index", "image_token_index",
    "num_experts_per_tok", "output_router_logits", "router_aux_loss_coef", "intermediate_size",
    "mamba_n_heads", "mamba_n_groups", "mamba_d_state", "mamba_d_head", "mamba_d_conv", "mamba_expand",
    "mamba_chunk_size", "mamba_conv_bias", "mamba_proj_bias", "time_step_limit",
}  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A saved model and the logits that transformers computes with it."""

    folder: Path
    logits: NDArray[np.float32]


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Known]:
    tokenizer = new_tokenizer()

    @cache
    def make(case: str, dtype: str = "f32") -> Known:
        model = new_model(case, dtype=DTYPES[dtype])
        logits = transformers_logits(model, some_ids())
        return Known(save(model.to(DTYPES[dtype]), tokenizer, tmp_path_factory.mktemp("model")), logits)

    return make


@pytest.fixture(scope="module")
def probe() -> Probe:
    """Random ids to compute logits of; the gate's check of them takes no text."""
    tokens, task = Tokens(new_tokenizer()), Task((), GENERAL_PROMPT, "xml")
    return Probe(task, tokens, (), (Example("ids", tuple(some_ids())),))


def differences(known: Known, out: Path, dtype: Any = "f32") -> NDArray[np.float32]:
    """Of every logit, in standard deviations."""
    found = llama_logits(hf_to_gguf(known.folder, out, dtype=dtype), some_ids())
    return np.abs(found - known.logits) / known.logits.std()


@pytest.mark.parametrize(
    ("case", "dtype"),
    # how a number is written does not depend on the variant of an architecture
    [(case, dtype) for case in CASES for dtype in LIMITS if dtype == "f32" or "," not in case],
)
def test_logits_are_those_of_transformers_and_the_gate_lets_them_pass(
    case: str, dtype: Literal["f32", "f16", "bf16"], known: Any, probe: Probe, tmp_path: Path
) -> None:
    expected = known(case, dtype).logits
    path = hf_to_gguf(known(case, dtype).folder, tmp_path / "model.gguf", dtype=dtype)
    found = llama_logits(path, some_ids())
    assert np.abs(found - expected).max() < LIMITS[dtype] * expected.std()
    chosen = np.take_along_axis(expected, found.argmax(1)[:, None], 1)[:, 0]
    if dtype == "bf16":  # the best two may be nearer to each other than rounding moves them
        assert (expected.max(1) - chosen).max() < LIMITS[dtype] * expected.std()
    else:
        assert (chosen == expected.max(1)).all()
    finding = check_logits(probe, known(case, dtype).folder, path, dtype=dtype, threads=1)
    assert finding.passed, finding.message


def config_of(case: str, **changes: Any) -> dict[str, Any]:
    given = {**SIZES, **CASES[case], **changes}
    return dict(AutoConfig.for_model(given.pop("model_type"), **given).to_dict())


def mutations(model: Architecture) -> Iterator[tuple[str, Architecture]]:
    """Every mapping of the model, one at a time, done wrongly."""
    for key, value in model.pairs.items():
        short = key.split(".", 1)[1]
        partial = short == "rope.dimension_count" and value < model.pairs[f"{model.name}.attention.key_length"]
        if short not in SIZE_KEYS or (partial and not model.factors):
            yield f"wrong {short}", replace(model, pairs={**model.pairs, key: other(value)})
    if model.factors:
        yield "no factors", replace(model, factors={name: np.ones_like(old) for name, old in model.factors.items()})
    for what, tensors in {**untransformed(model), **exchanged(model)}.items():
        yield what, replace(model, tensors=tensors)


def other(value: Any) -> Any:
    match value:
        case bool():
            return not value
        case list():
            return [not item for item in value]
        case str():
            return "none"
    return value * 2


def kind(name: str) -> str:
    """The name without the layer's number."""
    return name.split(".", 2)[2] if name.startswith("blk.") else name


def untransformed(model: Architecture) -> dict[str, tuple[Tensor, ...]]:
    plain = {"heads": 0, "offset": 0.0}
    return {
        f"{kind(changed.name)} without {field}": tuple(
            replace(tensor, **{field: default}) if kind(tensor.name) == kind(changed.name) else tensor
            for tensor in model.tensors
        )
        for changed in model.tensors
        for field, default in plain.items()
        if getattr(changed, field) != default
    }


def exchanged(model: Architecture) -> dict[str, tuple[Tensor, ...]]:
    """Tensors of one shape made of each other's sources."""
    groups: dict[Any, list[Tensor]] = {}
    for tensor in model.tensors:
        layer = tensor.name.removesuffix(kind(tensor.name))
        groups.setdefault((layer, tensor.stored_shape), []).append(tensor)
    found = {}
    for group in groups.values():
        names = [kind(tensor.name) for tensor in group]
        if len(group) > 1:
            found[f"{' and '.join(names)} exchanged"] = tuple(
                exchange(tensor, model.tensors, names) if kind(tensor.name) in names else tensor
                for tensor in model.tensors
            )
    return found


def exchange(tensor: Tensor, tensors: tuple[Tensor, ...], names: list[str]) -> Tensor:
    layer = tensor.name.removesuffix(kind(tensor.name))
    wrong = layer + names[(names.index(kind(tensor.name)) + 1) % len(names)]
    of = next(each for each in tensors if each.name == wrong)
    return replace(tensor, source=of.source, rows=of.rows)


MAPPINGS = {case: dict(mutations(architecture(config_of(case)))) for case in CASES}
MUTATIONS = {  # of a variant, those that its architecture has not
    f"{case}: {what}": (case, mutated)
    for case, mutated_ones in MAPPINGS.items()
    for what, mutated in mutated_ones.items()
    if "," not in case or what not in MAPPINGS[case.partition(",")[0]]
}
# the residual multiplier makes little of it: less than BF16 does
TOO_SMALL = {f"{case}: wrong attention.layer_norm_rms_epsilon" for case in ("granite", "granite4")}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_with_one_mapping_wrong_the_gate_fails(
    mutation: str, known: Any, probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, mutated = MUTATIONS[mutation]
    monkeypatch.setattr("convert.hf_to_gguf.architecture", lambda config: mutated)
    for dtype in ("f32", "bf16") if "," not in case and mutation not in TOO_SMALL else ("f32",):
        right = known(case, dtype)
        monkeypatch.setattr(
            "convert.parity.reference_logits", lambda *_, right=right, **__: ([right.logits], "float32")
        )
        path = hf_to_gguf(right.folder, tmp_path / "model.gguf", dtype=dtype)
        finding = check_logits(probe, right.folder, path, dtype=dtype, threads=1)
        assert not finding.passed, (dtype, finding.measured)
        assert "ids: " in finding.message


REFUSED = {
    "llama": {
        "hidden_act 'gelu'": {"hidden_act": "gelu"},
        "rope type 'dynamic'": {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 9.0, "factor": 2.0}},
        "rope type 'longrope'": {"rope_parameters": {"rope_type": "longrope", "rope_theta": 9.0}},
        "partial_rotary_factor 0.5": {"rope_parameters": {"rope_theta": 9.0, "partial_rotary_factor": 0.5}},
        "beta_fast 16 of rope type 'yarn'": {"rope_parameters": {**YARN, "beta_fast": 16}},
        "beta_slow 2 of rope type 'yarn'": {"rope_parameters": {**YARN, "beta_slow": 2}},
        "truncate False of": {"rope_parameters": {**YARN, "truncate": False}},
        "mscale 1.0 of": {"rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 0.5}},
        "quantization_config": {"quantization_config": {"bits": 4}},
        "config.json is broken": {"num_attention_heads": None},
        "model_type 'gpt2' .* llama, mistral,": {"model_type": "gpt2"},
        "model_type 'None'": {"model_type": None},
    },
    "qwen2": {"rope type 'llama3'": {"rope_parameters": LLAMA3}, "head_dim 32": {"head_dim": 32}},
    "qwen3": {"attention_bias True": {"attention_bias": True}, "rope type 'llama3'": {"rope_parameters": LLAMA3}},
    "gemma2": {
        "attn_logit_softcapping None": {"attn_logit_softcapping": None},
        "final_logit_softcapping None": {"final_logit_softcapping": None},
        "query_pre_attn_scalar 16": {"query_pre_attn_scalar": 16},
        "attention_bias True, use_bidirectional_attention True": {
            "attention_bias": True, "use_bidirectional_attention": True,
        },
        "hidden_activation 'gelu'": {"hidden_activation": "gelu"},
        "tie_word_embeddings False": {"tie_word_embeddings": False},
        "rope type 'linear'": {"rope_parameters": LINEAR},
    },
    "gemma3": {
        "attn_logit_softcapping 50.0": {"attn_logit_softcapping": 50.0},
        "query_pre_attn_scalar 16": {"query_pre_attn_scalar": 16},
        "rope type 'yarn'": {"rope_parameters": {"full_attention": YARN, "sliding_attention": PLAIN}},
        "rope type 'linear'": {"rope_parameters": {"full_attention": PLAIN, "sliding_attention": LINEAR}},
    },
    "granite": {"residual_multiplier 0": {"residual_multiplier": 0.0}},
    "granite4": {
        "num_local_experts 8": {"num_local_experts": 8},
        "layers of type 'mamba'": {"layer_types": ["attention", "mamba", "attention"]},
    },
    "phi3": {"head_dim 32": {"head_dim": 32}},
    "smollm3": {
        "no_rope_layers": {"no_rope_layers": [1, 1, 0, 1, 1]},
        "attention_bias True, mlp_bias True": {"attention_bias": True, "mlp_bias": True},
    },
}  # fmt: skip


@pytest.mark.parametrize(("case", "message"), [(case, message) for case in REFUSED for message in REFUSED[case]])
def test_what_llama_cpp_would_compute_otherwise_is_refused_with_a_remedy(case: str, message: str) -> None:
    config = {**config_of(case), **REFUSED[case][message]}
    with pytest.raises(ModelError, match=rf"{message}.*; "):
        architecture(config)


class Read(dict[str, Any]):
    """Knows which of its keys were asked for."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> Any:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)


@pytest.mark.parametrize("case", [case for case in CASES if "," not in case or case == "gemma3, images"])
def test_every_field_of_the_config_class_is_carried_or_refused_or_changes_nothing(case: str) -> None:
    config = Read(config_of(case))
    architecture(config)
    own = {field.name for field in fields(type(AutoConfig.for_model(config["model_type"])))}
    general = {field.name for field in fields(PreTrainedConfig)}
    assert own - general - NEUTRAL <= config.asked


def test_every_architecture_is_compared() -> None:
    assert {case["model_type"] for case in CASES.values()} == set(FAMILIES)


SHORTENED = {
    "mistral": {"sliding_window": 16},
    "phi3": {"sliding_window": 16},
    "qwen2": {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1},
    "qwen3": {"sliding_window": 16, "use_sliding_window": True, "max_window_layers": 1},
    "smollm3": {"sliding_window": 16, "use_sliding_window": True},
    "phi3, longrope": {"original_max_position_embeddings": 16},
}


@pytest.mark.parametrize("case", SHORTENED)
def test_the_context_ends_where_llama_cpp_would_begin_to_differ(case: str, tmp_path: Path) -> None:
    model = new_model(case, **SHORTENED[case])
    short, long = (transformers_logits(model, some_ids()[:length]) for length in (16, TOKENS))
    path = hf_to_gguf(save(model, new_tokenizer(), tmp_path), tmp_path / "model.gguf")
    assert read_header(path).metadata[f"{model.config.model_type.replace('mistral', 'llama')}.context_length"] == 16
    found = llama_logits(path, some_ids())
    assert np.abs(found[:16] - short).max() < LIMITS["f32"] * short.std()
    assert np.abs(found[16:] - long[16:]).max() > 10 * LIMITS["f32"] * long.std()


@pytest.mark.parametrize(("case", "layers"), [("gemma2", 46), ("gemma3", 62)])
def test_the_queries_of_a_gemma_27b_are_scaled_by_the_width(case: str, layers: int, tmp_path: Path) -> None:
    types = ["sliding_attention", "full_attention"] * (layers // 2)
    model = new_model(
        case, num_hidden_layers=layers, layer_types=types, query_pre_attn_scalar=16, num_attention_heads=4
    )
    known = Known(save(model, new_tokenizer(), tmp_path), transformers_logits(model, some_ids()))
    assert differences(known, tmp_path / "model.gguf").max() < 0.01  # the table of GELU is used so many times
    with pytest.raises(ModelError, match="query_pre_attn_scalar 32"):
        architecture({**model.config.to_dict(), "query_pre_attn_scalar": 32})


def test_the_language_model_of_an_older_file_with_images_is_found(known: Any, tmp_path: Path) -> None:
    old = Known(copied(known("gemma3, images").folder, tmp_path), known("gemma3, images").logits)
    path = old.folder / "model.safetensors"
    renamed = {name.replace("model.language_model.", "language_model.model."): t for name, t in load_file(path).items()}
    assert any("vision_tower" in name for name in renamed)
    save_file(renamed, path)
    assert differences(old, tmp_path / "model.gguf").max() < LIMITS["f32"]


def copied(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


@pytest.mark.parametrize("change", [0.0, 1.0])
def test_an_output_matrix_beside_tied_embeddings_must_be_the_same(change: float, known: Any, tmp_path: Path) -> None:
    tied = Known(copied(known("llama, linear").folder, tmp_path), known("llama, linear").logits)
    path = tied.folder / "model.safetensors"
    tensors = load_file(path)
    save_file({**tensors, "lm_head.weight": tensors["model.embed_tokens.weight"] + change}, path)
    if change:
        with pytest.raises(ModelError, match="tie_word_embeddings"):
            hf_to_gguf(tied.folder, tmp_path / "model.gguf")
    else:
        assert differences(tied, tmp_path / "model.gguf").max() < LIMITS["f32"]


def test_rope_at_real_sizes_turns_by_transformers_angles() -> None:
    """Llama 3.1's rotation; the factors are what transformers' inverse frequencies are divided by."""
    parameters = {**LLAMA3, "rope_theta": 500_000.0, "original_max_position_embeddings": 8192}
    config = LlamaConfig(head_dim=128, max_position_embeddings=131_072, rope_parameters=dict(parameters))
    plain = 500_000.0 ** -(torch.arange(0, 128, 2) / 128)
    scaled, _ = ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    factors = Rotation(config.rope_parameters, 128, 131_072).carried().factors["rope_freqs.weight"]
    np.testing.assert_allclose(factors, (plain / scaled).numpy(), rtol=1e-5)


@pytest.mark.parametrize("case", ["llama, biases", "granite4", "phi3"])
def test_a_lora_pair_on_a_weight_is_arranged_like_the_weight(case: str) -> None:
    for tensor in architecture(config_of(case)).tensors:
        if len(tensor.shape) == 2:
            a, b = torch.randn(3, tensor.shape[1]), torch.randn(tensor.shape[0], 3)
            torch.testing.assert_close(tensor.arranged(b) @ a, tensor.arranged(b @ a))
