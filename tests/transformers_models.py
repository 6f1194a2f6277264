"""Small models of every architecture that convert carries, in which every number counts, and their logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

from convert.logits import gguf_logits
from genner_cli.formats.inserted import MARKS

CONTROL = ("<|end|>", "<|labels|>", "<|text|>", "<|entities|>")
HOSTILE = (
    'Zoë O’Neill-Ōtani’s  "naïve" café — 北京市, Москва́, नमस्ते दुनिया, สวัสดี, 한국어, עִבְרִית, العَرَبِيَّة\n'
    "\t tabs\tand  \u00a0nbsp\u2003em\u3000wide\u200bzero\ufeffBOM\u0085NEL\u2028LS\x0b\x0c\x1c\x1f\x00NUL\x7f\r\n\n "
    "😀👩\u200d👧🏳\ufe0f🇩🇪 e\u0301 ﬁ½² Ⅷ٣১২𝟘 𐍈 \U0010ffff\ud7ff\ue000\u0378's ǅʰªº "
    "I'll we've THEY'RE 's'S x'll  'd !!!...$1,234.56 ⧵o   "
)
VOCABULARY = 360  # more than the tokenizer has
TOKENS = 48  # longer than the sliding windows below
# epsilon, theta, head_dim and multipliers are far from the defaults, so that forgetting one of them shows
SIZES = {
    "vocab_size": VOCABULARY, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 256, "rms_norm_eps": 0.02,
    "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
}  # fmt: skip
PLAIN = {"rope_type": "default", "rope_theta": 300.0}
LINEAR = {**PLAIN, "rope_type": "linear", "factor": 3.0}
YARN = {**PLAIN, "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = {
    **PLAIN, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
LONGROPE = {
    **PLAIN, "rope_type": "longrope", "partial_rotary_factor": 0.5,
    "short_factor": [1.0, 1.5, 2.5, 4.0], "long_factor": [3.0, 8.0, 20.0, 50.0],
}  # fmt: skip
GRANITE = {
    "attention_multiplier": 0.5, "embedding_multiplier": 4.0, "residual_multiplier": 0.6, "logits_scaling": 0.5,
}  # fmt: skip
GRANITE4 = {
    **GRANITE, "shared_intermediate_size": 96, "num_local_experts": 0, "layer_types": ["attention"] * 3,
    "mamba_n_heads": 4, "rope_parameters": PLAIN,
}  # fmt: skip
GEMMA = {"head_dim": 32, "query_pre_attn_scalar": 32, "sliding_window": 16}
GEMMA3 = {
    **GEMMA, "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    "rope_parameters": {
        "sliding_attention": {"rope_type": "default", "rope_theta": 50.0}, "full_attention": LINEAR,
    },
}  # fmt: skip
IMAGES = {
    "model_type": "siglip_vision_model", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1,
    "num_attention_heads": 2, "image_size": 28, "patch_size": 14,
}  # fmt: skip
CASES: Mapping[str, Mapping[str, Any]] = {
    "llama": {"model_type": "llama", "head_dim": 32, "rope_parameters": PLAIN},
    "llama, linear": {"model_type": "llama", "rope_parameters": LINEAR, "tie_word_embeddings": True},
    "llama, llama3": {"model_type": "llama", "rope_parameters": LLAMA3},
    "llama, yarn": {"model_type": "llama", "rope_parameters": {**YARN, "attention_factor": 1.0}},
    "llama, biases": {"model_type": "llama", "rope_parameters": PLAIN, "attention_bias": True, "mlp_bias": True},
    "mistral": {"model_type": "mistral", "head_dim": 32, "rope_parameters": PLAIN, "sliding_window": TOKENS},
    "qwen2": {"model_type": "qwen2", "rope_parameters": PLAIN},
    "qwen2, yarn": {"model_type": "qwen2", "rope_parameters": YARN, "tie_word_embeddings": True},
    "qwen3": {"model_type": "qwen3", "head_dim": 32, "rope_parameters": PLAIN},
    "gemma2": {
        "model_type": "gemma2", **GEMMA, "rope_parameters": PLAIN, "attn_logit_softcapping": 2.0,
        "final_logit_softcapping": 8.0, "layer_types": ["full_attention", "sliding_attention", "sliding_attention"],
    },
    "gemma3": {"model_type": "gemma3_text", **GEMMA3},
    "gemma3, cap": {
        "model_type": "gemma3_text", **GEMMA3, "final_logit_softcapping": 8.0, "tie_word_embeddings": False,
    },
    "gemma3, images": {
        "model_type": "gemma3", "text_config": {**SIZES, **GEMMA3}, "vision_config": IMAGES, "mm_tokens_per_image": 4,
        "image_token_index": 5,
    },
    "granite": {"model_type": "granite", **GRANITE, "rope_parameters": PLAIN},
    "granite, biases": {
        "model_type": "granite", **GRANITE, "rope_parameters": LLAMA3, "attention_bias": True, "mlp_bias": True,
    },
    "granite4": {
        "model_type": "granitemoehybrid", **GRANITE4, "position_embedding_type": "rope", "attention_bias": True,
    },
    "granite4, no rope": {"model_type": "granitemoehybrid", **GRANITE4},
    "phi3": {
        "model_type": "phi3", "rope_parameters": {**PLAIN, "partial_rotary_factor": 0.5}, "sliding_window": TOKENS,
    },
    # llama.cpp's context has 256 tokens: in the first it takes the long factors, in the second the short ones
    "phi3, longrope": {"model_type": "phi3", "rope_parameters": LONGROPE, "original_max_position_embeddings": 64},
    "phi3, longrope, short": {
        "model_type": "phi3", "rope_parameters": {**LONGROPE, "factor": 4.0}, "original_max_position_embeddings": 256,
    },
    "smollm3": {"model_type": "smollm3", "rope_parameters": PLAIN, "num_hidden_layers": 5},
    "smollm3, linear": {"model_type": "smollm3", "rope_parameters": LINEAR, "tie_word_embeddings": False},
}  # fmt: skip


def new_model(case: str, *, dtype: torch.dtype = torch.float32, **changes: Any) -> PreTrainedModel:
    """Every tensor random, norms and biases too, in numbers that `dtype` has; computes in F32."""
    fields = {**SIZES, **CASES[case], **changes}
    config = AutoConfig.for_model(fields.pop("model_type"), **fields)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    generator = torch.Generator().manual_seed(1)
    offset = 1.0 if "gemma" in case else 0.0
    with torch.no_grad():
        for name, value in model.named_parameters():
            if name.endswith("bias"):
                value.normal_(0, 0.5, generator=generator)
            elif value.dim() == 1:
                value.uniform_(0.5 - offset, 1.5 - offset, generator=generator)
            else:
                value.normal_(0, gain(name) / value.shape[1] ** 0.5, generator=generator)
            value.copy_(value.to(dtype))
    return model


def gain(name: str) -> float:
    """Sharp attention and wide logits, so that whatever is wrong shows."""
    return 3.0 if "lm_head" in name or "embed_tokens" in name else 2.0 if "q_proj" in name else 1.0


def new_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with control tokens and marks, trained on nearly nothing."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=340, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(["the cat and the other cats' weather, we've heard ", HOSTILE] * 5, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", pad_token="<|end|>")


def some_ids(count: int = TOKENS) -> list[int]:
    """Random token ids, but no image's."""
    return (torch.randint(VOCABULARY - 6, (count,), generator=torch.Generator().manual_seed(2)) + 6).tolist()


def transformers_logits(model: PreTrainedModel, ids: Sequence[int]) -> NDArray[np.float32]:
    """Logits [tokens, vocabulary]."""
    with torch.no_grad():
        rows: NDArray[np.float32] = model(torch.tensor([ids])).logits[0].float().numpy()
    assert rows.std() >= 2, "logits this flat would hide an error"
    return rows


def llama_logits(path: Path, ids: Sequence[int], **options: Any) -> NDArray[np.float32]:
    """The same from a GGUF."""
    [rows] = gguf_logits(path, [ids], **options)
    return rows


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, folder: Path, **options: Any) -> Path:
    model.save_pretrained(folder, **options)
    tokenizer.save_pretrained(folder)
    return folder
