"""`genner info`: any GGUF is shown, whatever it holds; a broken one is an error in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from changed_gguf import finish
from conftest import Run
from gguf import GGUFWriter
from random_model import write_random_model

from genner_cli import hub
from genner_cli.files.calibrations import KEY, own_calibration_value
from genner_cli.prompting import Instructions
from genner_cli.provenance import Provenance
from genner_cli.types import Calibration, Knot, ScoreMap

Genner = Callable[..., Run]
PROVENANCE = Provenance(
    "own/name@main", "a" * 64, "b" * 64, {"rank": 8, "lr": 2e-5, "format": None}, {"genner": "1", "torch": "2"}
)


def write(path: Path, pairs: dict[str, str | int | float], tensors: dict[str, tuple[int, ...]]) -> Path:
    writer = GGUFWriter(path, "mamba")
    for key, value in pairs.items():
        add = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(key, value)
    for name, shape in tensors.items():
        writer.add_tensor(name, np.zeros(shape, dtype=np.float16))
    finish(writer)
    return path


def value_of(genner: Genner, *args: object) -> dict[str, Any]:
    run = genner("info", *args, "--json")
    assert (run.status, run.stderr) == (0, "")
    found: dict[str, Any] = orjson.loads(run.stdout)
    return found


def test_without_a_name_it_is_the_bundled_model(genner: Genner) -> None:
    found = value_of(genner)
    assert found["file"] == str(hub.BUNDLED)
    assert found["bytes"] == hub.BUNDLED.stat().st_size
    assert (found["architecture"], found["quantization"], found["layers"], found["context"]) == (
        "llama", "Q8_0", 4, 4096,
    )  # fmt: skip
    assert found["vocabulary"] == 32000
    assert found["provenance"] is found["problem"] is found["lora"] is None


def test_all_that_the_model_says_of_itself_is_shown(genner: Genner, random_model: Any, tmp_path: Path) -> None:
    instructions = Instructions.from_metadata(random_model.metadata)
    assert instructions
    calibration = own_calibration_value(Calibration(ScoreMap((Knot(0.5, 0.4),)), {"PER": 0.3}), {"format": "inserted"})
    said = {**PROVENANCE.to_metadata(), KEY: json.dumps(calibration)}
    path = write_random_model(tmp_path / "model.gguf", change=said)
    found = value_of(genner, path)
    told = found["instructions"]
    assert told["labels"] == {label.name: label.definition for label in instructions.labels}
    assert told["default_labels"] == list(instructions.default_labels)
    assert (told["format"], told["depth"], told["chunk_bytes"]) == ("inserted", 4, 1000)
    assert told["prompt"]["before_text"] == "<|text|>"
    assert told["calibration"] == calibration
    assert found["provenance"] == {
        "base": "own/name@main", "base_hash": "a" * 64, "data_hash": "b" * 64, "options": PROVENANCE.options,
        "versions": PROVENANCE.versions, "base_file": "", "base_type": "", "data_files": [], "teachers": {},
    }  # fmt: skip
    shown = genner("info", path).stdout.decode()
    for label in instructions.labels:
        assert f"  {label.name:<12} {label.definition}" in shown
    for part in (
        "own/name@main",
        "a" * 64,
        "b" * 64,
        "rank=8",
        "torch 2",
        "inserted, nested up to 4",
        "F32",
        "PER from 0.40",
    ):
        assert part in shown
    assert "None" not in shown


def test_a_model_that_genner_did_not_make_is_shown_too(genner: Genner, tmp_path: Path) -> None:
    path = write(tmp_path / "foreign.gguf", {"general.name": "[red]M\x1b[31m\n", "mamba.block_count": 3}, {"a": (4, 5)})
    assert value_of(genner, path)["parameters"] == 20
    run = genner("info", path)
    assert run.status == 0
    assert "name           [red]M\\x1b[31m\\n\n" in run.stdout.decode()
    assert "mamba, model, 20 parameters" in run.stdout.decode()
    assert "F16 100.0%" in run.stdout.decode()
    assert "not made by genner" in run.stdout.decode()


def test_an_adapter_shows_rank_and_alpha(genner: Genner, tmp_path: Path) -> None:
    pairs = {"general.type": "adapter", "adapter.type": "lora", "adapter.lora.alpha": 32.0}
    shapes = {"blk.0.attn_q.weight.lora_a": (8, 64), "blk.0.attn_q.weight.lora_b": (64, 8)}
    path = write(tmp_path / "adapter.gguf", pairs, shapes)
    found = value_of(genner, path)
    assert (found["type"], found["lora"]) == ("adapter", {"ranks": [8], "alpha": 32.0})
    assert "rank 8, alpha 32.0\n" in genner("info", path).stdout.decode()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"genner.prompt.version": "99"}, "prompt version 99"),
        ({"genner.labels": "{"}, "metadata is broken"),
        ({KEY: "{"}, "calibration is broken"),
    ],
)
def test_instructions_that_this_genner_cannot_use_are_a_line_and_the_rest_is_shown(
    genner: Genner, tmp_path: Path, change: dict[str, str], said: str
) -> None:
    path = write_random_model(tmp_path / "model.gguf", change=change)
    assert said in value_of(genner, path)["problem"]
    run = genner("info", path)
    assert (run.status, run.stderr) == (0, "")
    assert said in run.stdout.decode()
    assert "architecture   llama" in run.stdout.decode()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no model", "GGUF"), (hub.BUNDLED.read_bytes()[:-1], "cut short"), (None, "does not exist")],
)
def test_a_broken_or_missing_file_is_one_line(genner: Genner, tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "broken.gguf"
    if content is not None:
        path.write_bytes(content)
    run = genner("info", path)
    assert (run.status, run.stdout) == (2 if content is None else 1, b"")
    assert str(path) in run.stderr
    assert said in run.stderr
    assert run.stderr.count("\n") == 1
