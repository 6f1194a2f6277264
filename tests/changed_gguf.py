"""A copy of a GGUF in which some metadata are others, as files have them that another program wrote."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gguf import GGUFReader, GGUFValueType, GGUFWriter, TokenType

NEW = {float: GGUFValueType.FLOAT32, bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32, str: GGUFValueType.STRING}

LONGEST_RUN = 8


def changed(source: Path, out: Path, pairs: Mapping[str, Any]) -> Path:
    """`pairs`: new values by key; None leaves a key out."""
    reader = GGUFReader(source)
    architecture = reader.fields["general.architecture"].contents()
    writer = GGUFWriter(out, str(pairs.get("general.architecture", architecture)))
    fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
    for key in dict.fromkeys([*fields, *pairs]):
        value = pairs.get(key, fields[key].contents() if key in fields else None)
        if key == "general.architecture" or (key in pairs and pairs[key] is None):
            continue
        if isinstance(value, list):
            kind, items = GGUFValueType.ARRAY, fields[key].types[1] if key in fields else NEW[type(value[0])]
        else:
            kind, items = fields[key].types[0] if key in fields else NEW[type(value)], None
        writer.add_key_value(key, value, kind, items)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    finish(writer)
    return out


def finish(writer: GGUFWriter) -> None:
    """Writes all that the writer was given, and closes the file."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def with_scores(source: Path, out: Path) -> Path:
    """The same vocabulary as a SentencePiece tokenizer with scores, as Google's and Meta's models have it: what merges
    first has the highest score; runs of blanks are user-defined tokens."""
    fields = GGUFReader(source).fields
    tokens, types, merges = (fields[f"tokenizer.ggml.{key}"].contents() for key in ("tokens", "token_type", "merges"))
    scores = [0.0 if kind == TokenType.BYTE else -1000.0 for kind in types]
    ids = {token: id for id, token in enumerate(tokens)}
    for rank, merge in enumerate(merges):
        id = ids[merge.replace(" ", "")]
        scores[id] = max(scores[id], float(-rank)) if scores[id] != -1000.0 else float(-rank)
    for id, (token, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind == TokenType.NORMAL and 1 < len(token) <= LONGEST_RUN and token[0] in "\n▁" and len({*token}) == 1:
            tokens[id], types[id] = token.replace("▁", " "), int(TokenType.USER_DEFINED)
        elif token == "\n":
            types[id] = int(TokenType.USER_DEFINED)
        elif kind == TokenType.USER_DEFINED and len(token) == 1:
            tokens[id], types[id] = f"<|unused {id}|>", int(TokenType.UNUSED)
    pairs = {
        "model": "llama",
        "pre": "default",
        "tokens": tokens,
        "token_type": types,
        "scores": scores,
        "merges": None,
    }
    return changed(source, out, {f"tokenizer.ggml.{key}": value for key, value in pairs.items()})
