"""The architecture that speed is measured against, with random weights, on which speed does not depend.

`gliner_small` is urchade/gliner_small-v2.1 as the gliner package builds it: DeBERTa-v3-small (6 layers of width 768),
a bidirectional LSTM and span heads of width 512, spans of up to 12 words. Its tokenizer is made here: one token for
each word, which is fewer than its own makes, so the original is slower. Gives a function from texts to nothing;
nothing is fetched.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable, Sequence

os.environ["HF_HUB_OFFLINE"] = "1"  # read when huggingface_hub is imported

import torch
from gliner.model import UniEncoderSpanGLiNER
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

Finder = Callable[[Sequence[str]], None]
VOCABULARY = 128_001
SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")
DEBERTA_V3_SMALL = {
    "model_type": "deberta-v2",
    "vocab_size": VOCABULARY + 3,  # with the three marks that GLiNER adds
    "hidden_size": 768,
    "num_hidden_layers": 6,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "max_position_embeddings": 512,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
    "relative_attention": True,
    "max_relative_positions": -1,
    "position_buckets": 256,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
}
GLINER_SMALL = {
    "name": "span level gliner",
    "span_mode": "markerV0",
    "max_width": 12,
    "hidden_size": 512,
    "num_rnn_layers": 1,
    "subtoken_pooling": "first",
    "max_len": 384,
    "encoder_config": DEBERTA_V3_SMALL,
}
NOTHING = 1.0
"""A threshold that no span reaches, so that nothing of the time goes to what random weights find."""


def gliner_small(labels: Sequence[str], *, threads: int, batch: int = 8) -> Finder:
    """`batch` texts at a time, as is the package's default."""
    torch.manual_seed(0)
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings(action="ignore"):
        _one_token_a_word().save_pretrained(folder)
        model = UniEncoderSpanGLiNER.load_from_config(
            {**GLINER_SMALL, "model_name": folder}, backbone_from_pretrained=False
        )

    def find(texts: Sequence[str]) -> None:
        model.inference(list(texts), list(labels), threshold=NOTHING, batch_size=batch)

    return find


def _one_token_a_word() -> PreTrainedTokenizerFast:
    vocabulary = {name: number for number, name in enumerate(SPECIAL)}
    vocabulary |= {f"word{number}": number for number in range(len(SPECIAL), VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = WhitespaceSplit()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names)
