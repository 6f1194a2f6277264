"""genner-base as it ships: its adapter, the model that `genner pull base` makes of it, and what that finds offline.

Without network, and without the base in the local cache, these tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import orjson
import pytest
from test_real import REFERENCE, SHA256, started

from convert.bundled import TYPES
from genner_cli.engine.gguf_header import read_header
from genner_cli.files.calibrations import KEY
from genner_cli.hub.own import BASE_ADAPTER

pytestmark = [pytest.mark.real, pytest.mark.slow]
TEXT = "Angela Merkel met Barack Obama in Berlin."
OFFLINE = {"PIP_NO_INDEX": "1", "HF_HUB_OFFLINE": "1"}


@pytest.fixture(scope="module")
def base() -> Path:
    """genner-base in the local cache."""
    done = started("pull", "base")
    if done.returncode and "cannot be reached" in done.stderr:
        pytest.skip(f"no real model: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


def test_the_adapter_is_small_and_says_what_it_was_trained_on() -> None:
    header = read_header(BASE_ADAPTER)
    assert BASE_ADAPTER.stat().st_size <= 20_000_000
    assert header.metadata["genner.base.reference"] == REFERENCE
    assert header.metadata["genner.base.file.hash"] == SHA256
    assert {tensor.kind_name for tensor in header.tensors.values()} == {"F16"}
    assert {"PER", "ORG", "LOC"} >= orjson.loads(header.metadata[KEY])["thresholds"].keys()


def test_it_finds_names_offline_by_every_way(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in OFFLINE.items():
        monkeypatch.setitem(os.environ, name, value)
    assert read_header(base).quantization in TYPES
    assert started("pull", "base").stdout == f"{base}\n"
    data = tmp_path / "docs.jsonl"
    spans = [(0, 13, "PER"), (18, 30, "PER"), (34, 40, "LOC")]
    gold = {"text": TEXT, "entities": [{"start": a, "end": b, "label": label} for a, b, label in spans]}
    data.write_bytes(orjson.dumps(gold) + b"\n")
    asked = ("--model", "base", "--threads", 1)
    (record,) = map(orjson.loads, started("extract", data, *asked).stdout.splitlines())
    assert [(e["start"], e["end"], e["label"]) for e in record["entities"]] == spans
    assert all(0 < entity["score"] < 1 for entity in record["entities"])
    found = tmp_path / "found.jsonl"
    found.write_bytes(orjson.dumps(record) + b"\n")
    judged = tmp_path / "judged.jsonl"
    assert started("judge", found, *asked, "-o", judged).returncode == 0
    # One token writes `]` and the full stop behind it.
    assert len(orjson.loads(judged.read_bytes())["entities"]) == len(spans)
    assert orjson.loads(started("evaluate", data, *asked, "--json").stdout)["micro"]["f1"]["value"] == 1
    assert orjson.loads(started("info", "base", "--json").stdout)["file"] == str(base)
    assert started("plan", data, *asked).returncode == 0
