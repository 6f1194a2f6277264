"""tokenizer.json -> how llama.cpp cuts text before it merges, and the same cuts for training.

A tokenizer is recognised by its structure: the patterns, behaviours and options that it is made of. What llama.cpp
has no name for is refused. Training cuts as llama.cpp does, not as tokenizer.json says, where the two differ:

- Text is not normalised (NFC), on neither side: offsets stay true, and every byte of a document can be written.
- No blank is put before a text that begins without one (`add_prefix_space`, `prepend_scheme`).
- Letters and numbers newer than Unicode 15.1, which llama.cpp does not know, are neither.
- An apostrophe and U+017F (long s) are no contraction.
- With "tekken", combining marks end a word, and only ASCII letters have case.
- Tokenizers like SentencePiece's do not merge over the boundaries of a run of line feeds.

Knows nothing of transformers, of GGUF files and of added tokens. Source of names and patterns: llama-vocab.cpp
(llm_tokenizer_bpe) and unicode.cpp of llama.cpp, conversion/base.py (get_vocab_base_pre).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from genner_cli.errors import ModelError

# letters and numbers of Unicode 16 to 18, rounded up over code points that are neither
_NEWER = (
    "558 58b-58c 88f c5c cdc 1c89-1c8a 208f 209d-209f a7cb-a7cf a7d2 a7d4 a7da-a7f1 ab6c-ab6d 105c0-105f3 107bb-107bf"
    " 10940-10959 10d40-10d85 10ec2-10eee 11380-113d3 116d0-116e3 11b0a-11bf9 11db0-11df1 1246f-1247f 12550-12686"
    " 13460-143fa 16100-16139 16d40-16d79 16ea0-16ed3 16ff2-16ff6 187f8-187ff 18cd6-18cff 18d09-191d2 1b123-1b128"
    " 1b168 1ccf0-1ccf9 1d6a6 1df1f-1df24 1df2b-1dfff 1e5d0-1e6ff 2b73a-2b73f 2b81e 2cea2-2cead 323b0-3fc3f"
)
_KNOWN = "[^" + "".join("-".join(rf"\x{{{end}}}" for end in part.split("-")) for part in _NEWER.split()) + "]"

_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_ASCII_ENDINGS = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_GPT_2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_LLAMA_3 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_QWEN_2 = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_TEKKEN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|"
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_TEKKEN_CUTS = (
    r"[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]*[\p{L}&&[^A-Z]]+|[^\r\n\p{L}\p{N}]?[\p{L}&&[^a-z]]+[\p{L}&&[^A-Z]]*|"
    r"\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_LINE_FEEDS = r"\n+"

_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
_BYTES_AND_GPT_2 = {**_BYTES, "use_regex": True}
_DIGITS = {"type": "Digits", "individual_digits": True}
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
_FIRST_BLANK = {"type": "Prepend", "prepend": "▁"}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _sequence(*parts: Mapping[str, Any], key: str = "pretokenizers") -> dict[str, Any]:
    return {"type": "Sequence", key: list(parts)}


@dataclass(frozen=True, slots=True)
class PreTokenizer:
    """How text is cut before merging.

    `name` is llama.cpp's (tokenizer.ggml.pre). `cuts` are applied one after the other. `byte_level`: tokens are
    spelled in GPT-2's characters for bytes; otherwise in those of the text, blanks as U+2581 and the rest of
    Unicode as tokens of one byte.
    """

    name: str
    cuts: tuple[str, ...]
    byte_level: bool = True

    def for_training(self) -> dict[str, Any]:
        """`normalizer` and `pre_tokenizer` of a tokenizer.json that cuts as llama.cpp does."""
        known = ((r"\p{L}", rf"[\p{{L}}&&{_KNOWN}]"), (r"\p{N}", rf"[\p{{N}}&&{_KNOWN}]"), (_ENDINGS, _ASCII_ENDINGS))
        parts = []
        for cut in self.cuts:
            for theirs, ours in known:
                cut = cut.replace(theirs, ours)
            parts.append(_split(cut))
        if self.byte_level:
            parts.append({**_BYTES, "trim_offsets": True})
        return {"normalizer": None if self.byte_level else BLANKS, "pre_tokenizer": _sequence(*parts)}


# what tokenizer.json says of cutting and ignore_merges -> what llama.cpp does so
_BYTE_LEVEL: tuple[tuple[dict[str, Any], bool, PreTokenizer], ...] = (
    (_BYTES_AND_GPT_2, False, PreTokenizer("gpt-2", (_GPT_2,))),
    (_sequence(_DIGITS, _BYTES_AND_GPT_2), False, PreTokenizer("smollm", (r"\p{N}", _GPT_2))),
    (_sequence(_split(_LLAMA_3), _BYTES), True, PreTokenizer("llama-bpe", (_LLAMA_3,))),
    (_sequence(_split(_LLAMA_3), _BYTES), False, PreTokenizer("dbrx", (_LLAMA_3,))),
    (_sequence(_split(_QWEN_2), _BYTES), False, PreTokenizer("qwen2", (_QWEN_2,))),
    (_sequence(_split(_TEKKEN), _BYTES), True, PreTokenizer("tekken", (_TEKKEN_CUTS,))),
)
_LIKE_SENTENCEPIECE = PreTokenizer("sarvam-moe", (_LINE_FEEDS,), byte_level=False)
# normalizer and pre_tokenizer: Gemma; Llama 2, Mistral and Phi-3 as saved before transformers 5, and since
_BLANK_CUTS: tuple[tuple[dict[str, Any] | None, dict[str, Any] | None], ...] = (
    (BLANKS, None),
    (BLANKS, {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}),
    (_sequence(_FIRST_BLANK, BLANKS, key="normalizers"), None),
    *(
        (None, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False})
        for scheme in ("always", "first", "never")
    ),
)
_ALIASES = {"llama3": "llama-bpe", "llama-v3": "llama-bpe", "deepseek-r1-qwen": "qwen2"}
"""Other names that GGUF files have for the same cuts (llama_vocab::impl::load)."""
WITH_BOS = ("llama-bpe", "llama3", "llama-v3", "tekken")
"""Names of `tokenizer.ggml.pre` for which llama.cpp puts BOS before a text unless the GGUF says otherwise."""
_RUNS = re.compile(r"(?:\\x\{[0-9a-f]+\}\{\d+,\d+\}\|?)+")
_NORMALIZERS = (None, {"type": "NFC"})
_OPTIONS = ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
_REMEDY = "train a base model with another tokenizer (the README lists those that genner can carry)"


def recognise(spec: Mapping[str, Any]) -> PreTokenizer:
    """What llama.cpp calls the tokenizer of a parsed tokenizer.json.

    Raises ModelError, with the part that is not known, where llama.cpp would give other ids.
    """
    model, normalizer = spec["model"], spec["normalizer"]
    cutter, ignores = _without_offsets(spec["pre_tokenizer"]), bool(model.get("ignore_merges"))
    runs = _isolates(cutter) if normalizer == BLANKS else None
    if runs or (normalizer, cutter) in _BLANK_CUTS:
        found, fallback = replace(_LIKE_SENTENCEPIECE, cuts=(runs or _LINE_FEEDS,)), True
        refused = {f"ignore_merges {_json(ignores)}": ignores}
    else:
        alike = {ignoring: known for form, ignoring, known in _BYTE_LEVEL if form == cutter}
        found, fallback = alike.get(ignores, _LIKE_SENTENCEPIECE), False
        refused = {
            f"normalizer {_json(normalizer)}": normalizer not in _NORMALIZERS,
            f"pre_tokenizer {_json(cutter)}": not alike,
            f"ignore_merges {_json(ignores)} with this pre_tokenizer": ignores not in (alike or [ignores]),
        }
    refused |= {
        f"model type {model['type']}": model["type"] != "BPE",
        f"byte_fallback {_json(model.get('byte_fallback'))}": bool(model.get("byte_fallback")) != fallback,
        **{f"model option {option} {model.get(option)!r}": bool(model.get(option)) for option in _OPTIONS},
    }
    if what := [part for part, present in refused.items() if present]:
        raise ModelError(f"tokenizer.json: llama.cpp has no such tokenizer: {', '.join(what)}; {_REMEDY}")
    return found


def described(name: str) -> tuple[dict[str, Any], bool] | None:
    """`pre_tokenizer` and `ignore_merges` of the tokenizer.json that llama.cpp's byte-level `tokenizer.ggml.pre` stands
    for, the inverse of `recognise`; None for a name that is not known."""
    wanted = _ALIASES.get(name, name)
    found = ((_with_offsets(form), ignores) for form, ignores, known in _BYTE_LEVEL if known.name == wanted)
    return next(found, None)


def _without_offsets(part: Any) -> Any:
    """Without `trim_offsets`, which changes no ids."""
    if isinstance(part, list):
        return [_without_offsets(item) for item in part]
    if isinstance(part, dict):
        return {key: _without_offsets(value) for key, value in part.items() if key != "trim_offsets"}
    return part


def isolating(runs: Iterable[str]) -> dict[str, Any]:
    """`pre_tokenizer` that cuts out these runs of one character each, the longest first: tokens that llama.cpp looks
    for in a text before it merges anything (llama-vocab.cpp: tokenizer_st_partition).

    Raises ModelError for runs of several characters, and where lengths between the least and the greatest are missing.
    """
    lengths: dict[str, set[int]] = {}
    for run in runs:
        lengths.setdefault(run[0], set()).add(len(run))
        if set(run) != {run[0]}:
            raise ModelError(f"a user-defined token of blanks of several kinds, {run!r}, is not supported; {_REMEDY}")
    for char, found in lengths.items():
        if found != {*range(min(found), max(found) + 1)}:
            raise ModelError(
                f"user-defined tokens of {char!r} in the lengths {sorted(found)} are not supported; {_REMEDY}"
            )
    return _split("|".join(rf"\x{{{ord(char):x}}}{{{min(of)},{max(of)}}}" for char, of in sorted(lengths.items())))


def _isolates(cutter: Any) -> str | None:
    """The pattern of `isolating`; None for any other pre_tokenizer."""
    pattern = str(cutter["pattern"].get("Regex")) if isinstance(cutter, dict) and cutter["type"] == "Split" else ""
    return pattern if _RUNS.fullmatch(pattern) and cutter == _split(pattern) else None


def _with_offsets(part: Any) -> Any:
    """The reverse of `_without_offsets`: the tokenizers package does not read byte-level parts without them."""
    if isinstance(part, list):
        return [_with_offsets(item) for item in part]
    if isinstance(part, dict):
        more = {"trim_offsets": True} if part.get("type") == "ByteLevel" else {}
        return {**{key: _with_offsets(value) for key, value in part.items()}, **more}
    return part


def _json(part: Any) -> str:
    return json.dumps(part, ensure_ascii=False)
