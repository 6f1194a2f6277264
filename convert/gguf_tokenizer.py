"""The tokenizer in a GGUF's metadata -> tokenizer.json and tokenizer_config.json, which give the same ids.

Text is cut as llama.cpp cuts it for `tokenizer.ggml.pre` (`genner_cli.training.pretokenizers`). Knows nothing of
weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer

from genner_cli.errors import ModelError
from genner_cli.training import pretokenizers

SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
_ADDED = (TokenType.CONTROL, TokenType.USER_DEFINED)
_CARRIED = {TokenType.NORMAL, TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNUSED}
_TEMPLATE = "tokenizer.chat_template"


def tokenizer_json(pairs: Mapping[str, Any], remedy: str) -> dict[str, Any]:
    """tokenizer.json. Raises ModelError, which ends with `remedy`, for a tokenizer that cannot be carried or is
    broken, and KeyError with the key that is missing."""
    types = [TokenType(kind) for kind in pairs["tokenizer.ggml.token_type"]]
    table = list(zip(pairs["tokenizer.ggml.tokens"], types, strict=True))
    if strangers := {kind.name for kind in types if kind not in _CARRIED}:
        raise ModelError(f"tokens of the type {', '.join(sorted(strangers))} have no place in tokenizer.json; {remedy}")
    cutter, ignore_merges = pretokenizers.described(pairs["tokenizer.ggml.pre"])
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(id, text, special=kind is TokenType.CONTROL)
            for id, (text, kind) in enumerate(table)
            if kind in _ADDED
        ],
        "normalizer": None,
        "pre_tokenizer": cutter,
        "post_processor": _post_processor(pairs),
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "vocab": {text: id for id, (text, kind) in enumerate(table) if kind is not TokenType.UNUSED},
            "merges": [merge.split(" ") for merge in pairs["tokenizer.ggml.merges"]],
            **({"ignore_merges": True} if ignore_merges else {}),
        },
    }
    try:
        Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"the GGUF's tokenizer is broken ({error}); {remedy}") from error
    return spec


def _added(id: int, text: str, *, special: bool) -> dict[str, Any]:
    options = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": id, "content": text, **options, "special": special}


def _post_processor(pairs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Puts BOS before every text, if the model wants it."""
    if not begins(pairs):
        return None
    id = pairs["tokenizer.ggml.bos_token_id"]
    text = pairs["tokenizer.ggml.tokens"][id]
    begin = {"SpecialToken": {"id": text, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": number}} for number, name in enumerate("AB"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first],
        "pair": [begin, first, second],
        "special_tokens": {text: {"id": text, "ids": [id], "tokens": [text]}},
    }


def begins(pairs: Mapping[str, Any]) -> bool:
    """Whether llama.cpp puts BOS before a text; where the GGUF does not say, that depends on how text is cut
    (llama_vocab::impl::load)."""
    return bool(pairs.get("tokenizer.ggml.add_bos_token", pairs["tokenizer.ggml.pre"] in pretokenizers.WITH_BOS))


def tokenizer_config(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json: the class, the special tokens' texts and the chat template."""
    special = {
        f"{name}_token": pairs["tokenizer.ggml.tokens"][pairs[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in SPECIAL.items()
        if f"tokenizer.ggml.{key}_token_id" in pairs
    }
    template = {"chat_template": pairs[_TEMPLATE]} if _TEMPLATE in pairs else {}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **special, **template}
