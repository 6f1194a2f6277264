"""Makes a large model that computes exactly what a small one does, so that speed can be measured at its size.

    python benchmarks/inflate.py [--model FILE] [-o OUT] [--layers 24] [--width 896] [--heads 14] [--kv-heads 2]
        [--feed-forward 4864] [--vocabulary 151936]

Takes a GGUF of architecture llama, by default the bundled one, and writes one of architecture qwen2; the default sizes
are those of Qwen2.5-0.5B. Matrices are copied byte by byte and padded with zeros, added layers add nothing to the
stream, added tokens are never the most probable: completions stay, and every token costs what it costs in the
large model. Prints file, parameters and size.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFWriter, TokenType
from numpy.typing import NDArray

from genner_cli import hub
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import GennerError, ModelError, UsageError
from genner_cli.files.whole import whole

ROOT = Path(__file__).parents[1]
NEWS = ROOT / "examples" / "news.jsonl"
BLOCK = 32
"""Values that Q8_0 and its kin store together; padding is added in whole blocks, whose zero bytes are zeros."""
NEVER = -1e4
"""The logit of added tokens."""
SHORT_TOKEN = re.compile(r"Ġ?[!-~]{1,3}")
LIKE_CONTROL = re.compile(r"[<\[]")
"""llama.cpp takes some texts, such as <|end|> and [EOS], for control tokens whatever the file says."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Sizes of a model; the defaults are Qwen2.5-0.5B's."""

    layers: int = 24
    width: int = 896
    heads: int = 14
    kv_heads: int = 2
    feed_forward: int = 4864
    vocabulary: int = 151936

    @property
    def head(self) -> int:
        """The width of one head."""
        return self.width // self.heads

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Name and sizes of every tensor that qwen2 has, in the order of the file."""
        wide, keys = self.width, self.kv_heads * self.head
        parts = {
            "attn_norm.weight": (wide,),
            "attn_q.weight": (wide, wide),
            "attn_q.bias": (wide,),
            "attn_k.weight": (keys, wide),
            "attn_k.bias": (keys,),
            "attn_v.weight": (keys, wide),
            "attn_v.bias": (keys,),
            "attn_output.weight": (wide, wide),
            "ffn_norm.weight": (wide,),
            "ffn_gate.weight": (self.feed_forward, wide),
            "ffn_up.weight": (self.feed_forward, wide),
            "ffn_down.weight": (wide, self.feed_forward),
        }
        outer = {
            "token_embd.weight": (self.vocabulary, wide),
            "output_norm.weight": (wide,),
            "output.weight": (self.vocabulary, wide),
            "output.bias": (self.vocabulary,),
        }
        return outer | {f"blk.{layer}.{part}": size for layer in range(self.layers) for part, size in parts.items()}


class Source:
    """The tensors and metadata of the model to inflate; raises ModelError where it is not a plain Llama."""

    def __init__(self, path: Path, shape: Shape) -> None:
        self.shape = shape
        reader = GGUFReader(path)
        self.fields = {key: field for key, field in reader.fields.items() if not key.startswith("GGUF.")}
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self._tensors.setdefault("output.weight", self._tensors["token_embd.weight"])
        self._check(path)

    def _check(self, path: Path) -> None:
        sizes = {name: tuple(int(size) for size in tensor.shape[::-1]) for name, tensor in self._tensors.items()}
        if sizes != {name: size for name, size in self.shape.tensors.items() if not name.endswith(".bias")}:
            raise ModelError(f"{path} has other tensors than a plain Llama; give a model made by genner")
        blocks = {GGML_QUANT_SIZES[tensor.tensor_type][0] for tensor in self._tensors.values()}
        if not blocks <= {1, BLOCK}:
            raise ModelError(f"{path} stores {max(blocks)} values in a block, not {BLOCK}; quantize it to Q8_0")

    def kind(self, name: str) -> GGMLQuantizationType:
        """How the numbers of a tensor are stored."""
        return GGMLQuantizationType(self._tensors[name].tensor_type)

    def vector(self, name: str) -> NDArray[np.float32]:
        """A norm's weights."""
        return np.asarray(self._tensors[name].data)

    def matrix(self, name: str) -> NDArray[np.uint8]:
        """The bytes of a matrix, a row each."""
        tensor = self._tensors[name]
        rows: NDArray[np.uint8] = tensor.data.view(np.uint8).reshape(int(tensor.shape[1]), -1)
        return rows


def inflate(source: Path, target: Path, shape: Shape) -> None:
    """Writes `target`, the model `source` in a larger shape.

    Raises ModelError for a source that is not a plain Llama, UsageError for a shape that cannot hold it.
    """
    old = _shape_of(source)
    _check_shape(old, shape)
    small = Source(source, old)
    with whole(target) as partial, closing(GGUFWriter(partial, "qwen2")) as writer:
        _add_metadata(writer, small, shape)
        _write_tensors(writer, small, shape)


def _shape_of(path: Path) -> Shape:
    found = read_header(path).metadata
    if (found.get("general.architecture"), found.get("tokenizer.ggml.model")) != ("llama", "gpt2"):
        raise ModelError(f"{path} is not a Llama with byte-level BPE; give a model made by genner")
    return Shape(
        layers=found["llama.block_count"],
        width=found["llama.embedding_length"],
        heads=found["llama.attention.head_count"],
        kv_heads=found["llama.attention.head_count_kv"],
        feed_forward=found["llama.feed_forward_length"],
        vocabulary=found["tokenizer.ggml.tokens"],
    )


def _check_shape(old: Shape, new: Shape) -> None:
    sizes = asdict(old)
    problems = [f"{name} {size} is below {sizes[name]}" for name, size in asdict(new).items() if size < sizes[name]]
    rows = {"width": new.width, "feed_forward": new.feed_forward}
    problems += [f"{name} {size} is not a multiple of {BLOCK}" for name, size in rows.items() if size % BLOCK]
    if new.kv_heads != old.kv_heads:
        problems.append(f"kv_heads must stay {old.kv_heads}")
    if new.heads % old.kv_heads:
        problems.append(f"heads {new.heads} is not a multiple of {old.kv_heads} kv_heads")
    if new.width != new.heads * old.head:
        problems.append(f"width {new.width} is not {new.heads} heads of {old.head}, as qwen2 asks")
    if problems:
        raise UsageError(f"the model cannot be inflated: {'; '.join(problems)}")


def _add_metadata(writer: GGUFWriter, small: Source, shape: Shape) -> None:
    name = small.fields["general.name"].contents() if "general.name" in small.fields else "model"
    changed: dict[str, Any] = {
        "llama.vocab_size": shape.vocabulary,
        "llama.block_count": shape.layers,
        "llama.embedding_length": shape.width,
        "llama.feed_forward_length": shape.feed_forward,
        "llama.attention.head_count": shape.heads,
        "general.name": f"{name}-inflated",
        "general.description": f"computes what {name} does, at the cost of {shape.layers} layers of {shape.width}",
    }
    for key, field in small.fields.items():
        if key not in ("general.architecture", "general.alignment"):  # the writer's own
            value = changed.get(key, field.contents())
            items = field.types[1] if len(field.types) > 1 else None
            renamed = re.sub(r"^llama\.", "qwen2.", key)
            writer.add_key_value(renamed, _grown_value(key, value, small.shape, shape), field.types[0], items)


def _grown_value(key: str, value: Any, old: Shape, new: Shape) -> Any:
    """The value of a pair that depends on the value it had; all others as they are."""
    added = new.vocabulary - old.vocabulary
    if key == "llama.attention.layer_norm_rms_epsilon":
        return value * old.width / new.width
    if key == "tokenizer.ggml.tokens":
        return value + list(islice(_new_texts(value), added))
    if key == "tokenizer.ggml.token_type":
        return value + [int(TokenType.NORMAL)] * added
    return value


def _new_texts(tokens: Sequence[str]) -> Iterator[str]:
    """Endlessly, texts that are not tokens yet, as byte-level BPE spells them: runs of words of the news, then short
    tokens put together. With them tokens have 7.1 characters on average, Qwen2.5's have 6.4."""
    known = set(tokens)
    for text in _texts(tokens):
        if text not in known and not LIKE_CONTROL.search(text):
            known.add(text)
            yield text


def _texts(tokens: Sequence[str]) -> Iterator[str]:
    stories = [json.loads(line)["text"] for line in NEWS.read_text(encoding="utf-8").splitlines()]
    for story in stories:
        words = re.findall(r" ?[!-~]+", story)
        for length in (1, 2, 3):
            for at in range(len(words) - length + 1):
                yield "".join(words[at : at + length]).replace(" ", "Ġ")
    starts = [token for token in tokens if SHORT_TOKEN.fullmatch(token)]
    rest = [token for token in starts if token[0] != "Ġ"]
    draw = random.Random(0)
    while True:
        yield draw.choice(starts) + "".join(draw.choices(rest, k=draw.randint(1, 2)))


def _write_tensors(writer: GGUFWriter, small: Source, shape: Shape) -> None:
    for name, size in shape.tensors.items():
        kind = GGMLQuantizationType.F32 if len(size) == 1 else small.kind(_origin(name, small.shape))
        stored = math.prod((*size[:-1], _row_bytes(size[-1], kind)))
        writer.add_tensor_info(name, size, np.dtype(np.float32), stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for name in shape.tensors:
        writer.write_tensor_data(_vector(name, small, shape) if _is_vector(name) else _matrix(name, small, shape))


def _row_bytes(columns: int, kind: GGMLQuantizationType) -> int:
    values, stored = GGML_QUANT_SIZES[kind]
    return columns // int(values) * int(stored)


def _is_vector(name: str) -> bool:
    return name.endswith((".bias", "norm.weight"))


def _origin(name: str, old: Shape) -> str:
    """The tensor of the source that a tensor is made of; layers beyond the source's are its own once more."""
    return re.sub(r"^blk\.(\d+)", lambda match: f"blk.{int(match[1]) % old.layers}", name)


def _padded(values: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """The values, and zeros behind them in every dimension."""
    grown = np.zeros(shape, values.dtype)
    grown[tuple(slice(size) for size in values.shape)] = values
    return grown


def _vector(name: str, small: Source, shape: Shape) -> NDArray[np.float32]:
    """A norm or a bias. The mean square of the wider vector is smaller by the ratio of the widths, and so is epsilon:
    the norm divides by too little, its weights make up for it."""
    size = shape.tensors[name]
    if name == "output.bias":
        return np.where(np.arange(shape.vocabulary) < small.shape.vocabulary, 0, NEVER).astype(np.float32)
    if name.endswith(".bias"):
        return np.zeros(size, np.float32)
    scale = math.sqrt(small.shape.width / shape.width)
    return _padded(small.vector(_origin(name, small.shape)) * np.float32(scale), size)


def _matrix(name: str, small: Source, shape: Shape) -> NDArray[np.uint8]:
    """The rows of the larger matrix, as bytes."""
    old = small.shape
    rows, columns = shape.tensors[name]
    origin = _origin(name, old)
    size = (rows, _row_bytes(columns, small.kind(origin)))
    values = small.matrix(origin)
    if name.endswith(("attn_output.weight", "ffn_down.weight")) and origin != name:
        return np.zeros(size, np.uint8)  # this layer adds nothing
    if name.endswith(("attn_q.weight", "attn_k.weight")):
        values = _halves(values, old.head)
    if name.endswith("attn_q.weight"):
        grouped = values.reshape(old.kv_heads, -1, values.shape[1])
        return _padded(grouped, (old.kv_heads, rows // old.kv_heads, size[1])).reshape(size)
    if name.endswith("attn_output.weight"):
        grouped = values.reshape(old.width, old.kv_heads, -1)
        return _padded(grouped, (rows, old.kv_heads, size[1] // old.kv_heads)).reshape(size)
    return _padded(values, size)


def _halves(rows: NDArray[np.uint8], head: int) -> NDArray[np.uint8]:
    """The rows of each head in the order of qwen2's RoPE, which turns row i with row i + head / 2, where llama's turns
    neighbours 2i and 2i + 1 (LLAMA_ROPE_TYPE_NEOX and NORM)."""
    return rows.reshape(-1, head // 2, 2, rows.shape[1]).transpose(0, 2, 1, 3).reshape(rows.shape)


def main() -> None:
    """Reads the command line, writes the model, prints what it has become."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model")
    parser.add_argument("-o", dest="out", type=Path, default=ROOT / "runs" / "inflated.gguf")
    for name, size in asdict(Shape()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=size)
    args = parser.parse_args()
    shape = Shape(**{name: getattr(args, name) for name in asdict(Shape())})
    try:
        inflate(hub.resolve(args.model), args.out, shape)
    except GennerError as error:
        parser.error(str(error))
    parameters = sum(math.prod(size) for size in shape.tensors.values())
    print(f"{args.out}: {parameters / 1e6:.1f} million parameters, {args.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
