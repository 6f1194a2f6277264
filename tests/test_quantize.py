"""convert.quantize: every type that llama.cpp makes, with and without an importance matrix."""

from __future__ import annotations

from pathlib import Path

import llama_cpp
import numpy as np
import pytest
from imatrices import some_sums, write_imatrix
from random_model import write_random_model
from transformers_models import llama_logits, new_model, new_tokenizer, save, some_ids

from convert.degradation import check_tensors
from convert.gguf_numbers import numbers_of
from convert.hf_to_gguf import hf_to_gguf
from convert.quantize import NUMBERS, quantize, takes_back
from genner_cli.engine.gguf_header import read_header
from genner_cli.errors import ModelError, UsageError
from genner_cli.provenance import BASE_TYPE

METADATA = {"genner.format": "inserted"}
NEED_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "Q2_K_S", "IQ3_XXS", "IQ3_XS"}
TABLES = {"IQ1_S", "IQ1_M", "IQ2_XS", "IQ2_S", "IQ3_XXS", "IQ3_XS"}
"""Types for which llama.cpp first computes tables, for seconds."""
UNRELATED = 1.4
NOISE = {
    "F": 0.003, "BF": 0.02, "Q8": 0.05, "MX": 0.05, "Q6": 0.1, "Q5": 0.2, "Q4": 0.4, "IQ4": 0.4, "Q3": 0.7, "IQ3": 0.8,
}  # fmt: skip
"""Root mean square difference of the logits, in their standard deviation, that the types with these first letters may
make; that of models with nothing in common is UNRELATED."""


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose rows are as long as the blocks of all types need."""
    model = new_model("llama", hidden_size=256, intermediate_size=256, num_hidden_layers=1, head_dim=64)
    folder = save(model, new_tokenizer(), tmp_path_factory.mktemp("model"))
    return hf_to_gguf(folder, folder / "model.gguf", metadata=METADATA)


@pytest.fixture(scope="module")
def imatrix(gguf: Path) -> Path:
    shapes = {name: tensor.shape for name, tensor in read_header(gguf).tensors.items()}
    return write_imatrix(gguf.with_name("imatrix.gguf"), some_sums(shapes))


def noise(path: Path, whole: Path) -> float:
    found, expected = (llama_logits(each, some_ids()) for each in (path, whole))
    return float((found - expected).std() / expected.std())


@pytest.mark.parametrize("type", [pytest.param(t, marks=pytest.mark.slow) if t in TABLES else t for t in NUMBERS])
def test_a_model_of_each_type_is_what_it_says_and_computes_nearly_the_same(
    type: str, gguf: Path, imatrix: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = quantize(gguf, tmp_path / "small.gguf", type.lower(), imatrix=imatrix if type in NEED_IMPORTANCE else None)
    assert "".join(capfd.readouterr()) == ""
    header = read_header(made)
    assert header.quantization == type
    assert header.metadata["genner.format"] == "inserted"
    limit = next((NOISE[start] for start in sorted(NOISE, reverse=True) if type.startswith(start)), UNRELATED)
    assert noise(made, gguf) < limit
    assert check_tensors(type, gguf, made).passed


@pytest.mark.parametrize("type", sorted(NEED_IMPORTANCE))
def test_a_type_that_needs_an_importance_matrix_says_so(type: str, gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=rf"to {type}: .*--imatrix"):
        quantize(gguf, tmp_path / "small.gguf", type)
    assert not list(tmp_path.iterdir())


def test_the_types_are_all_that_llama_cpp_knows_but_for_one_that_it_only_reads(gguf: Path, tmp_path: Path) -> None:
    known = {name for name in vars(llama_cpp) if name.startswith("LLAMA_FTYPE_") and name != "LLAMA_FTYPE_GUESSED"}
    short = {name.removeprefix("LLAMA_FTYPE_").removeprefix("MOSTLY_").removeprefix("ALL_") for name in known}
    assert short - NUMBERS.keys() <= {"NVFP4"}
    assert NUMBERS.keys() - short <= {"Q2_0", "Q1_0"}
    with pytest.raises(UsageError, match=r"'NVFP4'; .*Q4_K_M, .*Q8_0"):
        quantize(gguf, tmp_path / "small.gguf", "NVFP4")


def test_columns_that_matter_are_kept_more_exactly(gguf: Path, tmp_path: Path) -> None:
    name = "blk.0.ffn_up.weight"
    sums = np.where(np.arange(256) % 8 == 0, 1000.0, 0.1).astype(np.float32)[None]
    imatrix = write_imatrix(tmp_path / "imatrix.gguf", {name: sums})
    errors = []
    original = numbers_of(gguf, read_header(gguf).tensors[name])
    assert original is not None
    for matrix in (None, imatrix):
        made = quantize(gguf, tmp_path / "small.gguf", "Q4_K_S", imatrix=matrix)
        found = numbers_of(made, read_header(made).tensors[name])
        assert found is not None
        errors.append(np.square(found - original)[:, ::8].mean())
    assert errors[1] < 0.5 * errors[0]


def test_a_matrix_of_another_model_is_refused(gguf: Path, tmp_path: Path) -> None:
    def refused(sums: dict[str, np.ndarray]) -> str:
        with pytest.raises(ModelError) as error:
            quantize(gguf, tmp_path / "small.gguf", imatrix=write_imatrix(tmp_path / "imatrix", sums))
        return str(error.value)

    assert "blk.9.attn_q.weight, " in refused({"blk.9.attn_q.weight": np.ones((1, 256), "f4")})
    assert "blk.0.attn_q.weight has 64 columns" in refused({"blk.0.attn_q.weight": np.ones((1, 64), "f4")})
    assert not list(tmp_path.glob("small*"))


@pytest.mark.parametrize("kept", [None, 0, 3000, 100_000])
def test_a_missing_or_cut_source_is_not_quantized(
    gguf: Path, tmp_path: Path, kept: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    if kept is not None:
        source.write_bytes(gguf.read_bytes()[:kept])
    with pytest.raises(ModelError, match=r"source.* (GGUF|fetch or export it again)"):
        quantize(source, tmp_path / "small.gguf")
    assert "".join(capfd.readouterr()) == ""
    assert not list(tmp_path.glob("small*"))


@pytest.mark.parametrize(
    ("of_base", "type", "refused"),
    [
        ("Q4_1", "Q4_1", True), ("Q4_1", "q4_1", True), ("Q4_K_M", "Q4_K_S", True), ("Q4_1", "Q4_0", False),
        ("Q4_0", "IQ4_NL", False), ("Q8_0", "Q8_0", False), ("", "Q4_1", False),
    ],
)  # fmt: skip
def test_the_coarse_type_of_a_trained_models_base_is_refused(
    of_base: str, type: str, refused: bool, tmp_path: Path
) -> None:
    source = write_random_model(tmp_path / "source.gguf", change={BASE_TYPE: of_base})
    assert takes_back(type, read_header(source).metadata) is refused
    if refused:
        with pytest.raises(UsageError, match=of_base):
            quantize(source, tmp_path / "small.gguf", type)
        assert not list(tmp_path.glob("small*"))


def test_what_is_quantized_already_is_refused(gguf: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"requantizing .*F32, F16 or BF16"):
        quantize(quantize(gguf, tmp_path / "once.gguf", "Q8_0"), tmp_path / "twice.gguf", "Q4_K_M")
