"""Makes the bundled model's tokenizer: byte-level BPE of 32,000 tokens.

Merges never join punctuation marks, so that a mention can begin or end at any of them. At run time the
pre-tokenizer is GPT-2's, which llama.cpp knows as `gpt-2`; on text split so it applies the same merges.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from pathlib import Path

import zstandard
from corpora import CORPORA, DEFINITIONS, NAMES, read
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from genner_cli.formats.inserted import MARKS
from genner_cli.prompting import Prompt

VOCABULARY = 32_000
END = "<|end|>"
PROMPT = Prompt(before_labels="<|labels|>", before_text="<|text|>", after_text="<|entities|>")
CONTROL = (END, PROMPT.before_labels, PROMPT.before_text, PROMPT.after_text)
TEXT_CHARACTERS = 60_000_000
LABEL_COPIES = 1_000


def texts(ner: Path, plain: Path) -> Iterator[str]:
    """The labels, the training texts of the corpora twice, then plain English up to TEXT_CHARACTERS."""
    names = {name for corpus in CORPORA for names in NAMES[corpus].values() for name in names or ()}
    for _ in range(LABEL_COPIES):
        yield "".join(f"{name}\n" for name in sorted(names)) + "".join(f": {text}\n" for text in DEFINITIONS.values())
    for name in CORPORA:
        for document in read(ner, name, "train"):
            yield document.text
            yield document.text
    left = TEXT_CHARACTERS
    for path in sorted(plain.glob("*.jsonl.zst")):
        with zstandard.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                text = json.loads(line)["text"][:4000]
                if random.Random(text).random() < 0.2 and left > 0:
                    left -= len(text)
                    yield text


def make_tokenizer(ner: Path, plain: Path) -> PreTrainedTokenizerFast:
    """Trains the tokenizer on the corpora in `ner` and on the plain texts in `plain`."""
    tokenizer = Tokenizer(models.BPE())
    at_run_time = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    single_marks = pre_tokenizers.Split(Regex(r"'(?:s|t|re|ve|m|ll|d)| ?[^\s\p{L}\p{N}]"), behavior="isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([single_marks, at_run_time])
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(CONTROL) - len(MARKS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(ner, plain), trainer)
    tokenizer.pre_tokenizer = at_run_time
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in CONTROL])
    tokenizer.add_tokens([AddedToken(mark, special=False, normalized=False) for mark in MARKS])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, pad_token=END)
