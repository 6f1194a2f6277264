"""The binding to llama.cpp: its layouts are those of llama-cpp-python, and whatever else is refused."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from asking import STORIES

from genner_cli.engine import llama
from genner_cli.errors import ModelError

STRUCTURES = [
    value for value in vars(llama).values() if isinstance(value, type) and issubclass(value, ctypes.Structure)
]
FUNCTIONS = [name for name, value in vars(llama).items() if name.startswith("llama_") and not isinstance(value, type)]


@pytest.fixture(scope="module")
def theirs() -> Any:
    """The package llama_cpp, where it is what genner uses."""
    if llama.PACKAGE != llama.SOURCE:
        pytest.skip("the layouts are those of another version")
    import llama_cpp

    return llama_cpp


def layout(structure: type[ctypes.Structure]) -> list[tuple[str, int, int]]:
    fields = [(name, getattr(structure, name)) for name, *_ in structure._fields_]
    return [(name, field.offset, field.size) for name, field in fields]


@pytest.mark.parametrize("name", [each.__name__ for each in STRUCTURES if each.__name__.startswith("llama_")])
def test_structures_are_laid_out_as_in_llama_cpp_python(name: str, theirs: Any) -> None:
    mine = getattr(llama, name)
    assert layout(mine) == layout(getattr(theirs, name))
    assert ctypes.sizeof(mine) == ctypes.sizeof(getattr(theirs, name))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters_and_results_have_the_sizes_of_llama_cpp_python(name: str, theirs: Any) -> None:
    mine = getattr(llama, name)
    other = getattr(theirs.llama_cpp._lib, name)

    def sizes(types: Any) -> list[int]:
        return [ctypes.sizeof(each) if each else 0 for each in types]

    assert sizes(mine.argtypes) == sizes(other.argtypes)
    assert sizes([mine.restype]) == sizes([other.restype])


def test_numbers_are_those_of_llama_cpp_python(theirs: Any) -> None:
    mine = {name: value for name, value in vars(llama).items() if name.startswith(("LLAMA_", "GGML_"))}
    assert len(mine) > 5
    assert mine == {name: getattr(theirs, name) for name in mine}


def moved(structure: type[ctypes.Structure], before: str, *, out: bool = False) -> type[ctypes.Structure]:
    """The structure with 8 bytes before a field, or without that field."""
    fields: list[Any] = []
    for field in structure._fields_:
        fields += [("moved", ctypes.c_int64)] if field[0] == before and not out else []
        fields += [] if field[0] == before and out else [field]
    return type("Moved", (ctypes.Structure,), {"_fields_": fields})


@pytest.mark.parametrize(
    ("name", "structure", "defaults", "field"),
    [
        (f"llama_{kind}_default_params", structure, defaults, field)
        for kind, structure, defaults, fields in (
            ("context", llama.llama_context_params, llama.CONTEXT_DEFAULTS, ("n_ctx", "flash_attn_type", "embeddings")),
            ("model", llama.llama_model_params, llama.MODEL_DEFAULTS, ("devices", "split_mode", "vocab_only")),
            ("model_quantize", llama.llama_model_quantize_params, llama.QUANTIZE_DEFAULTS, ("ftype", "imatrix")),
        )
        for field in fields
    ],
)
def test_a_field_that_moved_is_refused_with_the_remedy(
    name: str, structure: type[ctypes.Structure], defaults: dict[str, object], field: str
) -> None:
    llama.check_layout(name, structure, defaults)
    with pytest.raises(ModelError, match=f"pip install .*{llama.PACKAGE}=="):
        llama.check_layout(name, moved(structure, field), defaults)
    with pytest.raises(ModelError, match=f"pip install .*{llama.PACKAGE}=="):
        llama.check_layout(name, moved(structure, field, out=True), defaults)


def test_a_look_at_the_layout_leaves_the_functions_as_they_are() -> None:
    llama.check_layout("llama_model_default_params", llama.llama_model_params, llama.MODEL_DEFAULTS)
    assert isinstance(llama.llama_model_default_params(), llama.llama_model_params)


def test_the_first_package_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(llama.CHOICE, raising=False)
    for installed in (llama.SOURCE, llama.PREBUILT):
        versions = {installed: llama.PACKAGES[installed].version}
        monkeypatch.setattr(llama, "_installed", versions.get)
        assert llama._chosen() == installed
    both = {name: package.version for name, package in llama.PACKAGES.items()}
    monkeypatch.setattr(llama, "_installed", both.get)
    assert llama._chosen() == llama.SOURCE
    monkeypatch.setenv(llama.CHOICE, llama.PREBUILT)
    assert llama._chosen() == llama.PREBUILT
    monkeypatch.delenv(llama.CHOICE)
    monkeypatch.setattr(llama, "_installed", {llama.SOURCE: f"{both[llama.SOURCE]}+cu128"}.get)
    assert llama._chosen() == llama.SOURCE


@pytest.mark.parametrize(
    ("choice", "versions", "message"),
    [
        (None, {}, f"pip install {llama.SOURCE}==.* {llama.PREBUILT}==.*no compiler"),
        (None, {llama.SOURCE: "0.3.99"}, rf"0\.3\.99 .*pip install {llama.SOURCE}=="),
        (None, {llama.PREBUILT: "9"}, f"pip install {llama.PREBUILT}=="),
        (llama.PREBUILT, {}, f"pip install {llama.PREBUILT}=="),
        ("llama", {}, f"{llama.SOURCE}, {llama.PREBUILT}"),
    ],
)
def test_no_package_and_another_version_are_errors_with_the_remedy(
    choice: str | None, versions: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(llama, "_installed", versions.get)
    monkeypatch.setenv(llama.CHOICE, choice or "")
    with pytest.raises(ModelError, match=message):
        llama._chosen()


def test_a_function_that_llama_cpp_lacks_is_an_error() -> None:
    with pytest.raises(ModelError, match="llama_of_tomorrow"):
        llama.function("llama_of_tomorrow", None)


def extracted(package: str, path: Path) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "genner_cli", "extract", str(path), "--no-calibration", "--threads", "1"]
    done = subprocess.run(
        command, env={**os.environ, llama.CHOICE: package}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [orjson.loads(line) for line in done.stdout.splitlines()]


def test_the_wheel_finds_what_the_library_built_here_finds(tmp_path: Path) -> None:
    """But for the last digits of scores: its kernels are those of other processors."""
    for package in (llama.SOURCE, llama.PREBUILT):
        if not llama._installed(package):
            pytest.skip(f"{package} is not installed")
    path = tmp_path / "news.jsonl"
    path.write_bytes(b"\n".join(STORIES.read_bytes().splitlines()[:2]))
    for built, prebuilt in zip(extracted(llama.SOURCE, path), extracted(llama.PREBUILT, path), strict=True):
        scores = [
            {(e["start"], e["end"], e["label"]): e["score"] for e in record["entities"]} for record in (built, prebuilt)
        ]
        assert len(scores[0]) > 20
        assert scores[0] == pytest.approx(scores[1], abs=0.02)


def test_a_missing_llama_cpp_is_a_message_for_the_user(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "genner_cli", "extract", str(STORIES), "--types", "PER"]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out.jsonl")],
        env={**os.environ, llama.CHOICE: "other"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert llama.PREBUILT in done.stderr
