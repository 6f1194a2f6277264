"""Tokenizers of every kind that genner carries, made here: their real patterns around small made-up merges.

The merges go over all borders between words, scripts, digits and blanks, so that a text that is cut differently has
other ids. Each is saved as transformers saves it and exported to a GGUF of a tiny model.
"""

from __future__ import annotations

import json
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from convert.hf_to_gguf import hf_to_gguf
from genner_cli.formats.inserted import MARKS

SCRIPTS = (
    "The quick-brown fox's 3 jumps; they'RE I'LL we've 'tis O'Neill-Smith's rock'n'roll, x'd!",
    "Zoë, Łódź, Việt Nam, Ōtani’s naïve façade — ÉCOLE Straße",
    "Москва́ и Санкт-Петербург; ЁЛКА",
    "Η Αθήνα, ΕΛΛΆΔΑ του 1821",
    "עִבְרִית שָׁלוֹם ירושלים",
    "العَرَبِيَّة مُحَمَّد ١٢٣٤",
    "فارسی ۱۲۳ می‌خواهم",
    "नमस्ते दुनिया १२३४",
    "বাংলাদেশ ১৯৭১",
    "தமிழ் நாடு ௧௨௩",
    "తెలుగు ౧౨౩",
    "ಕನ್ನಡ മലയാളം ਪੰਜਾਬੀ ગુજરાતી",
    "ภาษาไทย กรุงเทพฯ ๑๒๓",
    "ພາສາລາວ ភាសាខ្មែរ မြန်မာ",
    "ქართული ენა ᲗᲑᲘᲚᲘᲡᲘ",
    "Հայերեն Երևան",
    "አዲስ አበባ ፩፪፫",
    "北京市海淀区１２３，香港！東京都カナひらがな。",
    "대한민국 서울특별시 한글",
    "𐍈𐌹𐌺 ᚠᚢᚦᚨᚱᚲ 𐀀𐀁 ᠮᠣᠩᠭᠣᠯ བོད་ཡིག ᏣᎳᎩ ⵜⵉⴼⵉⵏⴰⵖ",
)
"""A line or more in each of two dozen scripts."""

HOSTILE = (
    *SCRIPTS,
    "digits 1 12 123 1234567 3.14 1,000 ½² Ⅷ٣১২𝟘 ０１２ ⑤ ㊿ 12a34 x1",
    "e\u0301 n\u0303\u0323 \u0301start a\u0300\u0301\u0302 ﬁ ﬃ ǅ ʰªº İstanbul ıi ß ẞ ſ 'ſ it'ſ K Å",
    "각 각 \u1100\u1161\u11a8 が か\u3099 \u0344 \u212b \u2126 \u1e9b\u0323",
    "👩\u200d👩\u200d👧 🏳\ufe0f\u200d🌈 👍🏽 🇩🇪🇫🇷 ❤️ ⌚️ 1️⃣ 😀😀",
    "tabs\tand\t\ttabs \r\n\r\n CR\rLF\n\n\n\n  indent\n \n\t\n x",
    "   leading, inner    blanks and trailing   ",
    " " * 37 + "x" + " " * 64 + "\n" * 33 + "\t" * 9 + "-" * 70 + "=" * 5 + "a" * 50,
    "nbsp\u00a0\u00a0x \u00a0 em\u2003y\u3000wide\u1680z\u202f1\u205f\u2028\u2029\x85 \x0b\x0c\x1c\x1d\x1e\x1f",
    "zero\u200bwidth\u200c\u200d\u2060\ufeff rtl\u200f\u202eabc\u202c\u2067x\u2069 soft\u00adhyphen",
    "NUL\0\0 \0 x\0y \x01\x08\x1b\x7f\x80\x9f",
    "▁ ▁▁ a▁b \u2581x ▁▁▁▁ <0x41> <0x0A> Ġ Ċ ĠĠ Ā",
    "\ufffd \ufffe \uffff \U0001fffe \U0010ffff \u0378 \u0558 \u1c8a \ua7cb",
    "\U00010d40 \U00010d4a \U000116d0 \U0003fffd",
    "\ue000 \uf8ff \U000f0000 \U00100000 \U000e0001 \U000e0041 \ud7ff",
    "<|end|> <s> </s> <|im_end|><|im_end|>x <bos> <eos> <unk> <|fim_prefix|> ⟦⦂⟧ ⟦⟦ <|tool|> <unused3>",
    "!!! ... ?! ([{<>}]) // \\\\ a/b\r\n/ $1,234.56 100% #tag @user http://x.y/z?a=b&c=d __init__ --flag ''' \"\"\"",
    "'s 't 're 've 'm 'll 'd 'S 'T 'RE 'VE 'M 'LL 'D 's'S ''s '’s s' 'sx 'lls ' s",
    "camelCase HTMLParser iOS McDonald ΑβΓ ЖжЖ ǄǅǆÉCole aÉ ÀÀÀààà",
)
"""A page on which tokenizers and libraries go apart, over two dozen scripts."""

CONTROL = ("<s>", "<|end|>", "<|im_end|>")
LETTERS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
SMALL = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA_3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + REST
QWEN_2 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + REST
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{LETTERS}*{SMALL}+|[^\r\n\p{{L}}\p{{N}}]?{LETTERS}+{SMALL}*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BLANKS = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
GEMMA_SPLIT = {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False}


def byte_level(**options: Any) -> dict[str, Any]:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True, **options}


def split(pattern: str) -> dict[str, Any]:
    parts = [{"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}]
    return {"type": "Sequence", "pretokenizers": [*parts, byte_level(use_regex=False)]}


def metaspace(scheme: str) -> dict[str, Any]:
    return {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": False}


DIGITS = {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level()]}
LLAMA_2 = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, BLANKS]}

BYTE_LEVEL: dict[str, dict[str, Any]] = {
    "gpt-2": {"pre_tokenizer": byte_level()},
    "smollm, granite 3": {"pre_tokenizer": DIGITS},
    "llama 3, smollm3": {"pre_tokenizer": split(LLAMA_3), "ignore_merges": True},
    "granite 4": {"pre_tokenizer": split(LLAMA_3)},
    "qwen": {"pre_tokenizer": split(QWEN_2), "normalizer": {"type": "NFC"}},
    "mistral-nemo": {"pre_tokenizer": split(TEKKEN), "ignore_merges": True},
}
LIKE_SENTENCEPIECE: dict[str, dict[str, Any]] = {
    "gemma": {"pre_tokenizer": GEMMA_SPLIT, "normalizer": BLANKS},
    "llama 2, mistral, phi-3": {"pre_tokenizer": None, "normalizer": LLAMA_2},
    "llama 2 of transformers 5": {"pre_tokenizer": metaspace("first"), "normalizer": None},
}
NAMES = {
    "gpt-2": "gpt-2",
    "smollm, granite 3": "smollm",
    "llama 3, smollm3": "llama-bpe",
    "granite 4": "dbrx",
    "qwen": "qwen2",
    "mistral-nemo": "tekken",
    **dict.fromkeys(LIKE_SENTENCEPIECE, "sarvam-moe"),
}
"""What llama.cpp calls each."""
KINDS = {**BYTE_LEVEL, **LIKE_SENTENCEPIECE}


@cache
def _trained(byte_level: bool) -> str:
    """Merges over everything that stands side by side in the page."""
    made = Tokenizer(models.BPE(byte_fallback=not byte_level))
    if byte_level:
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        alphabet, first = pre_tokenizers.ByteLevel.alphabet(), []
    else:
        made.normalizer = normalizers.Replace(" ", "▁")
        made.pre_tokenizer = pre_tokenizers.Split("\n", "isolated")
        alphabet, first = ["\n", "▁"], ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=2600, initial_alphabet=alphabet, limit_alphabet=300, special_tokens=first, show_progress=False
    )
    left_out = str.maketrans("", "", "".join(["\0", *MARKS]))
    page = [line.translate(left_out) for line in HOSTILE]
    made.train_from_iterator([*page, *("".join(pair) for pair in pairwise(page)), *page], trainer)
    return made.to_str()


def specification(kind: str, *, added: tuple[tuple[str, bool], ...] = (), **changes: Any) -> dict[str, Any]:
    """The tokenizer.json of a kind; `added`: further tokens, and whether they are special."""
    options = {"normalizer": None, **KINDS[kind], **changes}
    spec: dict[str, Any] = json.loads(_trained(kind in BYTE_LEVEL))
    spec["pre_tokenizer"], spec["normalizer"] = options["pre_tokenizer"], options["normalizer"]
    spec["model"]["ignore_merges"] = options.get("ignore_merges", False)
    spec["model"].update(options.get("model", {}))
    vocab, merges = spec["model"]["vocab"], spec["model"]["merges"]
    vocab.setdefault("ĠHTMLParser" if kind in BYTE_LEVEL else "▁HTMLParser", len(vocab))  # which no merges make
    if kind == "gemma":
        runs = {char * length for char in "\n▁" for length in range(2, 9)}
        for run in sorted(runs, key=lambda run: (run[0], len(run))):
            merges += [[run[:at], run[at:]] for at in range(1, len(run))]
            vocab.setdefault(run, len(vocab))
        added = (*added, *((run, False) for run in sorted(runs)), ("\n", False))
    contents = [*((token, True) for token in CONTROL), *((mark, False) for mark in MARKS), *added]
    spec["added_tokens"], top = [], len(vocab)
    for content, special in contents:
        id = vocab.get(content, top)
        top += id == top
        flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        spec["added_tokens"].append({"id": id, "content": content, **flags, "special": special})
    return spec


def tokenizer(spec: dict[str, Any], **special: str) -> PreTrainedTokenizerFast:
    """As transformers wraps it."""
    made = Tokenizer.from_str(json.dumps(spec))
    made.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=made, **{"bos_token": "<s>", "eos_token": "<|end|>", **special})


def save(tokenizer: PreTrainedTokenizerFast, folder: Path, spare: int = 3) -> Path:
    """The tokenizer and a tiny model with some rows to spare, as transformers saves them."""
    config = LlamaConfig(
        vocab_size=len(tokenizer) + spare, hidden_size=32, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=1, num_key_value_heads=1, max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(1)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def export(tokenizer: PreTrainedTokenizerFast, folder: Path) -> Path:
    """The GGUF of it."""
    return hf_to_gguf(save(tokenizer, folder), folder / "model.gguf")
