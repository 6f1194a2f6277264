"""The tokenizer of a transformers folder -> the tokenizer part of a GGUF.

Carries it as training used it (`genner_cli.training.tokens`), which refuses what llama.cpp would tokenize otherwise.
Knows nothing of tensors and architectures.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from gguf import GGUFWriter, TokenType

from genner_cli.errors import ModelError
from genner_cli.training.tokens import Kind, Token, Tokens, load_tokenizer

TYPES: Mapping[Kind, TokenType] = {
    "normal": TokenType.NORMAL,
    "byte": TokenType.BYTE,
    "control": TokenType.CONTROL,
    "user-defined": TokenType.USER_DEFINED,
    "unused": TokenType.UNUSED,
}


def add_tokenizer(writer: GGUFWriter, model_dir: Path, vocabulary: int) -> None:
    """Adds the tokenizer of `model_dir` for a model with `vocabulary` rows of embeddings, its chat template too.

    Every kind becomes llama.cpp's byte-pair encoding ("gpt2") with explicit merges. So do tokenizers like
    SentencePiece's: llama.cpp's own kind for them ("llama") merges by score and would order some merges otherwise.
    Raises ModelError where the folder holds no tokenizer, or one that cannot be carried exactly.
    """
    tokenizer = load_tokenizer(model_dir)
    tokens = Tokens(tokenizer)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(tokens.pre_tokenizer.name)
    rows = _rows(tokens.table, vocabulary)
    writer.add_token_list([row.text for row in rows])
    writer.add_token_types([TYPES[row.kind] for row in rows])
    writer.add_token_merges([" ".join(pair) for pair in tokens.merges])
    bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    writer.add_add_bos_token(bool(tokens.begins))
    for add, id in ((writer.add_bos_token_id, bos), (writer.add_eos_token_id, eos), (writer.add_pad_token_id, pad)):
        if id is not None:
            add(id)
    template = tokenizer.chat_template
    if template := template.get("default") if isinstance(template, dict) else template:
        writer.add_chat_template(template)


def _rows(table: Mapping[int, Token], vocabulary: int) -> list[Token]:
    """The token of each id below `vocabulary`; ids without one are unused."""
    if max(table) >= vocabulary:
        raise ModelError(f"token id {max(table)} is beyond the model's {vocabulary} rows; resize its embeddings")
    rows = [Token(f"<|unused {id}|>", "unused") for id in range(vocabulary)]
    for id, token in table.items():
        if token.kind != "unused":
            rows[id] = token
    texts = [row.text for row in rows]
    if "" in texts or len(set(texts)) < len(texts):
        twice = next(text for text in texts if not text or texts.count(text) > 1)
        raise ModelError(f"token {twice!r} is empty or there twice; repair the tokenizer's vocabulary")
    return rows
