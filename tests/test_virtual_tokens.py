"""Virtual tokens: embeddings at the end of the shared prefix, from training over export to extraction."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from asking import request, run
from conftest import ONE_THREAD, Run
from gguf import GGMLQuantizationType, GGUFReader, GGUFType, GGUFValueType, GGUFWriter
from numpy.typing import NDArray
from random_model import write_random_model
from safetensors.torch import load_file
from small_bases import RECORDS, write_jsonl, write_small_base
from transformers_models import llama_logits, new_model, new_tokenizer, save, some_ids

from convert.hf_to_gguf import hf_to_gguf
from convert.virtual_tokens import as_llama_takes_them
from genner_cli.engine.adapter import split_count, with_count
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.model import Model
from genner_cli.engine.virtual_tokens import KIND, TENSOR
from genner_cli.errors import ModelError
from genner_cli.training.examples import Decision, Example
from genner_cli.training.loop import Loop, read_log
from genner_cli.training.virtual_tokens import drawn, inputs, placed, set_virtual_tokens
from genner_cli.types import Piece

TEXTS = [str(record["text"]) for record in RECORDS[:6]]
SHOWN = Piece(" in the city of Paris and in other places of the world, near and far," * 3)


def write_tokens(path: Path, rows: NDArray[np.float32], model: str = "llama", said: Mapping[str, str] = {}) -> Path:
    writer = GGUFWriter(path, model)
    writer.add_type(GGUFType.ADAPTER)
    for key, value in {"adapter.type": KIND, **said}.items():
        writer.add_key_value(key, value, GGUFValueType.STRING)
    writer.add_tensor(TENSOR, np.ascontiguousarray(rows), raw_dtype=GGMLQuantizationType.F32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_model(tmp_path_factory.mktemp("model") / "base.gguf")


def embeddings(model: Path) -> NDArray[np.float32]:
    return np.array(next(tensor.data for tensor in GGUFReader(model).tensors if tensor.name == "token_embd.weight"))


def test_a_count_stands_behind_the_file() -> None:
    assert split_count("a/tokens.gguf:16") == ("a/tokens.gguf", 16)
    assert split_count("tokens.gguf") == ("tokens.gguf", None)
    assert split_count("me/repo:tokens.gguf") == ("me/repo:tokens.gguf", None)
    assert split_count("me/repo:tokens.gguf:0") == ("me/repo:tokens.gguf", 0)
    assert with_count("/cache/x.gguf", "me/repo:tokens.gguf:0") == "/cache/x.gguf:0"


@pytest.mark.parametrize("batch", [512, 32])
def test_the_rows_of_real_tokens_do_what_these_tokens_do(path: Path, tmp_path: Path, batch: int) -> None:
    options = replace(ONE_THREAD, batch_tokens=batch, slots=4)
    with Model(path, gpu_layers=0) as base:
        ids = base.prompt([SHOWN])
        without = [request(base, text) for text in TEXTS]
        shown = [replace(each, prefix=(*each.prefix, SHOWN)) for each in without]
        expected, plain = run(base, shown, options), run(base, without, options)
    assert len(ids) > 32
    assert expected != plain
    tokens = write_tokens(tmp_path / "tokens.gguf", embeddings(path)[ids])
    with Model(path, gpu_layers=0, adapter=tokens) as model:
        assert run(model, without, options) == expected
        assert model.prefix_length(without[0].prefix) == len(model.prefix_ids(shown[0].prefix))
    with Model(path, gpu_layers=0, adapter=tokens, tokens=0) as model:
        assert run(model, without, options) == plain
    few = write_tokens(tmp_path / "few.gguf", embeddings(path)[ids[:5]])
    with Model(path, gpu_layers=0, adapter=tokens, tokens=5) as model, Model(path, gpu_layers=0, adapter=few) as other:
        assert run(model, without, options) == run(other, without, options) != expected


@pytest.mark.parametrize("case", ["llama", "qwen2", "gemma2", "gemma3", "granite"])
def test_llama_cpp_takes_what_transformers_takes_as_inputs_embeds(case: str, tmp_path: Path) -> None:
    model, ids = new_model(case), some_ids(40)
    gguf = hf_to_gguf(save(model, new_tokenizer(), tmp_path / "base"), tmp_path / "base.gguf")
    with torch.no_grad():
        name = read_header(gguf).metadata["general.architecture"]
        rows = model.get_input_embeddings()(torch.tensor(ids[10:20]))
        path = write_tokens(tmp_path / "rows.gguf", as_llama_takes_them(rows, name).numpy(), name)
        mixed = [*ids[:10], *range(-1, -11, -1), *ids[20:]]
        real = llama_logits(gguf, ids)
        assert np.abs(llama_logits(gguf, mixed, adapter=path) - real).max() < 0.01 * real.std()
        changed = rows + rows.std() * torch.randn(rows.shape, generator=torch.Generator().manual_seed(5))
        set_virtual_tokens(model, changed)
        expected = model(**inputs(model, torch.tensor([mixed]))).logits[0].numpy()
    path = write_tokens(tmp_path / "new.gguf", as_llama_takes_them(changed, name).numpy(), name)
    found = llama_logits(gguf, mixed, adapter=path)
    assert np.abs(found - expected).max() < 0.01 * expected.std()
    assert np.abs(found - real).max() > 0.5 * real.std()


@pytest.mark.parametrize(
    ("rows", "model", "count"), [((3, 128), "qwen2", None), ((3, 64), "llama", None), ((3, 128), "llama", 4)]
)
def test_what_does_not_fit_is_refused(
    rows: tuple[int, int], model: str, count: int | None, path: Path, tmp_path: Path
) -> None:
    tokens = write_tokens(tmp_path / "tokens.gguf", np.ones(rows, np.float32), model)
    with pytest.raises(ModelError, match=r"tokens\.gguf"):
        Model(path, gpu_layers=0, adapter=tokens, tokens=count)


def test_embeddings_that_are_not_finite_are_refused(path: Path, tmp_path: Path) -> None:
    tokens = write_tokens(tmp_path / "tokens.gguf", np.full((3, 128), np.nan, np.float32))
    with pytest.raises(ModelError, match="finite"):
        Model(path, gpu_layers=0, adapter=tokens)


EXAMPLE = Example((1, 2, 3, 4, 5), prefix=2, completion_start=3, decisions=(Decision(3, (4, 9), True),), left_out=())


def test_virtual_tokens_stand_at_the_end_of_the_shared_prefix() -> None:
    found = placed(EXAMPLE, 2)
    assert found.ids == (1, 2, -1, -2, 3, 4, 5)
    assert (found.prefix, found.completion_start, found.decisions[0].position) == (4, 5, 5)
    assert placed(EXAMPLE, 0) is EXAMPLE


def test_every_number_of_them_is_drawn_and_the_same_again() -> None:
    counts = [drawn([EXAMPLE], 4, seed=7, step=step)[0].prefix - 2 for step in range(100)]
    assert set(counts) == {1, 2, 3, 4}
    assert counts == [drawn([EXAMPLE], 4, seed=7, step=step)[0].prefix - 2 for step in range(100)]
    assert counts != [drawn([EXAMPLE], 4, seed=8, step=step)[0].prefix - 2 for step in range(100)]
    assert drawn([EXAMPLE], 0, seed=7, step=0) == [EXAMPLE]


OPTIONS = ("--preset", "tiny", "--epochs", "2", "--batch-size", "8", "--method", "virtual-tokens", "--tokens", "6",
           "--learning-rate", "0.05", "--checkpoint-every", "2")  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base, and labelled documents."""
    place = tmp_path_factory.mktemp("training")
    write_small_base(place / "base")
    write_jsonl(place / "train.jsonl")
    return place


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_from_training_to_extraction(genner: Callable[..., Run], folder: Path, tmp_path: Path) -> None:
    base, adapter, tokens, data = (
        folder / "base",
        tmp_path / "adapter",
        tmp_path / "tokens.gguf",
        folder / "train.jsonl",
    )
    trained = genner("train", data, "--base", base, "-o", adapter, *OPTIONS, "--valid", data)
    assert trained.status == 0, trained.stderr
    assert {name: value.shape for name, value in load_file(adapter / "adapter_model.safetensors").items()} == {
        "prompt_embeddings": (6, 32)
    }
    losses = [line["valid_loss"] for line in read_log(adapter / "training_log.jsonl") if "valid_loss" in line]
    assert losses[-1] < losses[0]
    assert genner("export", adapter, "-o", tokens).status == 2
    exported = genner("export", adapter, "-o", tokens, "--adapter-only", "--dtype", "f32")
    assert exported.status == 0, exported.stderr
    assert list(read_header(tokens).tensors) == [TENSOR]
    assert read_header(tokens).metadata["genner.format"]
    gguf, few = hf_to_gguf(base, tmp_path / "base.gguf"), write_jsonl(tmp_path / "few.jsonl", RECORDS[:6])

    def extracted(*options: object) -> bytes:
        found = genner("extract", few, "--model", gguf, "--types", "PER,LOC", *options)
        assert found.status == 0, found.stderr
        return found.stdout

    assert extracted("--adapter", f"{tokens}:0") == extracted() != extracted("--adapter", tokens)
    assert extracted("--adapter", f"{tokens}:6") == extracted("--adapter", tokens)
    probed = genner("probe", "constraint", few, "--model", gguf, "--adapter", f"{tokens}:2", "-o", tmp_path / "probe")
    assert probed.status == 0, probed.stderr
    assert genner("extract", data, "--model", gguf, "--adapter", f"{tokens}:7").status != 0


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_embeddings_in_another_scale_fail_the_parity_check(
    genner: Callable[..., Run], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, adapter = folder / "train.jsonl", tmp_path / "adapter"
    assert genner("train", data, "--base", folder / "base", "-o", adapter, *OPTIONS).status == 0
    monkeypatch.setattr("convert.export.read_virtual_tokens", _tripled)
    exported = genner("export", adapter, "-o", tmp_path / "tokens.gguf", "--adapter-only", "--dtype", "f32")
    assert exported.status == 1
    assert not (tmp_path / "tokens.gguf").exists()


def _tripled(folder: Path) -> torch.Tensor:
    return load_file(folder / "adapter_model.safetensors")["prompt_embeddings"] * 3


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_an_interrupted_training_ends_with_the_same_embeddings(
    genner: Callable[..., Run], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(name: str, *options: object) -> Run:
        return genner(
            "train", folder / "train.jsonl", "--base", folder / "base", "-o", tmp_path / name, *OPTIONS, *options
        )

    assert train("whole").status == 0
    step, done = Loop._one, []

    def interrupted(loop: Loop, packs: object) -> None:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(packs)
        step(loop, packs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "_one", interrupted)
        assert train("cut").status == 130
    resumed = train("cut", "--resume")
    assert resumed.status == 0, resumed.stderr
    whole, cut = ((tmp_path / name / "adapter_model.safetensors").read_bytes() for name in ("whole", "cut"))
    assert whole == cut
