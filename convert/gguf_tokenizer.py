"""The tokenizer in a GGUF's metadata -> tokenizer.json and tokenizer_config.json, which give the same ids.

Text is cut as llama.cpp cuts it for `tokenizer.ggml.pre` (`genner_cli.training.pretokenizers`). Knows nothing of
weights.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import TokenType
from tokenizers import Tokenizer

from genner_cli.errors import ModelError
from genner_cli.training import pretokenizers

KINDS = ("gpt2", "llama")
"""`tokenizer.ggml.model` of what can be read: byte-level BPE with merges, SentencePiece's BPE with scores."""
SPECIAL = {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}
BLANK = "▁"
_TEMPLATE = "tokenizer.chat_template"


@dataclass(frozen=True, slots=True)
class _Parts:
    """What is told apart in tokenizer.json by how text is cut and merged; `plain`: user-defined tokens of blanks only,
    which text is made of like any other (`engine.model.Model.vocabulary`)."""

    vocab: Mapping[str, int]
    merges: Sequence[tuple[str, str]]
    normalizer: dict[str, Any] | None
    pre_tokenizer: dict[str, Any] | None
    decoder: dict[str, Any]
    options: Mapping[str, Any]
    plain: Collection[int] = ()


def tokenizer_json(pairs: Mapping[str, Any], remedy: str) -> dict[str, Any]:
    """tokenizer.json. Raises ModelError, which ends with `remedy`, for a tokenizer that cannot be carried or is
    broken, and KeyError with the key that is missing."""
    types = [TokenType(kind) for kind in pairs["tokenizer.ggml.token_type"]]
    table = list(zip(pairs["tokenizer.ggml.tokens"], types, strict=True))
    parts = (_byte_level if pairs["tokenizer.ggml.model"] == "gpt2" else _with_scores)(pairs, table, remedy)
    kinds = {id: kind for id, (_, kind) in enumerate(table) if kind in _ADDED and id not in parts.plain}
    spec = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            _added(id, table[id][0], special=kind is not TokenType.USER_DEFINED) for id, kind in kinds.items()
        ],
        "normalizer": parts.normalizer,
        "pre_tokenizer": parts.pre_tokenizer,
        "post_processor": _post_processor(pairs),
        "decoder": parts.decoder,
        "model": {"type": "BPE", "vocab": parts.vocab, "merges": parts.merges, **parts.options},
    }
    try:
        Tokenizer.from_str(json.dumps(spec))
    except Exception as error:  # the tokenizers package raises nothing narrower
        raise ModelError(f"the GGUF's tokenizer is broken ({error}); {remedy}") from error
    return spec


_ADDED = (TokenType.CONTROL, TokenType.USER_DEFINED, TokenType.UNKNOWN)
_Table = Sequence[tuple[str, TokenType]]


def _byte_level(pairs: Mapping[str, Any], table: _Table, remedy: str) -> _Parts:
    """Byte-level BPE, cut as `tokenizer.ggml.pre` says."""
    if any(kind is TokenType.BYTE for _, kind in table):
        raise ModelError(f"byte tokens have no place in a byte-level tokenizer.json; {remedy}")
    name = pairs["tokenizer.ggml.pre"]
    if (known := pretokenizers.described(name)) is None:
        raise ModelError(f"a tokenizer that cuts text as {name!r} is not supported; {remedy}")
    cutter, ignore_merges = known
    return _Parts(
        vocab={text: id for id, (text, kind) in enumerate(table) if kind is not TokenType.UNUSED},
        merges=[(left, right) for left, _, right in (m.partition(" ") for m in pairs["tokenizer.ggml.merges"])],
        normalizer=None,
        pre_tokenizer=cutter,
        decoder={"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        options={"ignore_merges": True} if ignore_merges else {},
    )


def _with_scores(pairs: Mapping[str, Any], table: _Table, remedy: str) -> _Parts:
    """SentencePiece's BPE, in which the pair is merged next whose whole has the highest score (llm_tokenizer_spm).

    Runs of blanks that are user-defined tokens are cut out before; merges of their own put each of them together.
    """
    defined = [text for text, kind in table if kind is TokenType.USER_DEFINED]
    if characters := [text for text in defined if len(text) == 1 and not text.isspace()]:
        raise ModelError(f"the user-defined token {characters[0]!r} would be read as a character; {remedy}")
    runs = {id: text for id, (text, kind) in enumerate(table) if kind is TokenType.USER_DEFINED and text.isspace()}
    spelled = {id: text.replace(" ", BLANK) for id, (text, _) in enumerate(table)}
    vocab = {spelled[id]: id for id, (_, kind) in enumerate(table) if kind is not TokenType.UNUSED}
    scores = pairs["tokenizer.ggml.scores"]
    isolated = tuple(run.replace(" ", BLANK) for run in runs.values())
    inside = tuple(run for run in isolated if not any(other in run for other in isolated if other != run))
    normal = [id for id, (_, kind) in enumerate(table) if kind is TokenType.NORMAL and not _cut(spelled[id], inside)]
    parts_of_text = {spelled[id] for id in (*normal, *runs)}
    ranked = [*sorted(runs, key=lambda id: len(runs[id])), *sorted(normal, key=lambda id: -scores[id])]
    return _Parts(
        vocab=vocab,
        merges=[pair for id in ranked for pair in _splits(spelled[id], parts_of_text)],
        normalizer=pretokenizers.BLANKS,
        pre_tokenizer=pretokenizers.isolating(isolated) if runs else None,
        decoder={"type": "Sequence", "decoders": [_FROM_BLANKS, {"type": "ByteFallback"}, {"type": "Fuse"}]},
        options={"byte_fallback": True, "fuse_unk": True},
        plain=runs.keys(),
    )


_FROM_BLANKS = {"type": "Replace", "pattern": {"String": BLANK}, "content": " "}


def _cut(text: str, runs: Sequence[str]) -> bool:
    return any(run in text for run in runs)


def _splits(text: str, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """All ways to put a token together from two."""
    for at in range(1, len(text)):
        if text[:at] in known and text[at:] in known:
            yield text[:at], text[at:]


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
    with_scores = pairs["tokenizer.ggml.model"] == "llama"
    usual = with_scores or pairs.get("tokenizer.ggml.pre") in pretokenizers.WITH_BOS
    return bool(pairs.get("tokenizer.ggml.add_bos_token", usual))


def tokenizer_config(pairs: Mapping[str, Any]) -> dict[str, Any]:
    """tokenizer_config.json: the class, the special tokens' texts and the chat template."""
    special = {
        f"{name}_token": pairs["tokenizer.ggml.tokens"][pairs[f"tokenizer.ggml.{key}_token_id"]]
        for name, key in SPECIAL.items()
        if f"tokenizer.ggml.{key}_token_id" in pairs
    }
    template = {"chat_template": pairs[_TEMPLATE]} if _TEMPLATE in pairs else {}
    return {"tokenizer_class": "PreTrainedTokenizerFast", **special, **template}
