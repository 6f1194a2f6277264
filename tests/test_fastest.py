"""Another type of a GGUF's weights: a named one, or the one that is fastest here; never switched without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ONE_THREAD, Run
from random_model import write_random_model

from convert import fastest as module
from convert.fastest import CANDIDATES, FASTEST, requantize
from convert.quantize import quantize
from genner_cli.engine.gguf_header import read_header
from genner_cli.engine.type_speeds import keep_speeds, read_speeds, report
from genner_cli.errors import ModelError, UsageError
from genner_cli.provenance import BASE_TYPE

Genner = Callable[..., Run]


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def silent(text: str) -> None:
    pass


def test_a_quantized_model_gets_another_type_and_keeps_its_metadata(random_path: Path, tmp_path: Path) -> None:
    source = quantize(random_path, tmp_path / "source.gguf", "Q8_0")
    made = requantize(source, tmp_path / "out.gguf", "q4_0", ONE_THREAD, imatrix=None, say=silent)
    assert (made.type, made.speeds) == ("Q4_0", {})
    assert 0 < made.noise < 1
    before, after = read_header(source), read_header(made.path)
    assert after.quantization == "Q4_0"
    assert before.metadata["genner.format"] == after.metadata["genner.format"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf", "source.gguf"]


def test_the_fastest_type_is_that_of_the_highest_speed_and_speeds_are_measured_once(
    random_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed: list[str] = []
    measure = module.tokens_per_second
    monkeypatch.setattr(
        module, "tokens_per_second", lambda path, engine: timed.append(path.name) or measure(path, engine)
    )
    source = quantize(random_path, own_cache / "source.gguf", "Q5_1")
    for _ in range(2):
        made = requantize(source, own_cache / "out.gguf", FASTEST, ONE_THREAD, imatrix=None, say=silent)
        assert made.speeds.keys() == {"Q5_1", *CANDIDATES}
        assert min(made.speeds.values()) > 0
        assert made.speeds[made.type] >= 0.97 * max(made.speeds.values())
    assert len(timed) == 1 + len(CANDIDATES)
    assert read_speeds(read_header(source), ONE_THREAD) == made.speeds


def test_the_type_of_a_trained_models_base_is_never_the_fastest(tmp_path: Path, own_cache: Path) -> None:
    source = write_random_model(tmp_path / "source.gguf", change={BASE_TYPE: "Q4_0"})
    speeds = {"F32": 1.0, **dict.fromkeys(CANDIDATES, 2.0), "Q4_0": 9.0}
    keep_speeds(read_header(source), ONE_THREAD, speeds)
    made = requantize(source, tmp_path / "out.gguf", FASTEST, ONE_THREAD, imatrix=None, say=silent)
    assert made.type == "Q8_0"
    with pytest.raises(UsageError, match="Q4_0"):
        requantize(source, tmp_path / "out.gguf", "Q4_0", ONE_THREAD, imatrix=None, say=silent)


def test_of_equally_fast_types_the_more_exact_one_is_taken() -> None:
    assert module.fastest({"Q4_0": 100.0, "Q8_0": 98.0, "Q5_1": 90.0}) == "Q8_0"
    assert module.fastest({"Q4_0": 100.0, "Q8_0": 80.0, "Q5_1": 90.0}) == "Q4_0"
    assert module.fastest({"Q4_0": 100.0, "Q8_0": 80.0, "Q5_1": 190.0}) == "Q5_1"


def test_a_model_that_is_the_fastest_already_is_left_alone(random_path: Path, own_cache: Path) -> None:
    source = quantize(random_path, own_cache / "source.gguf", "Q8_0")
    keep_speeds(read_header(source), ONE_THREAD, {"Q8_0": 9.0, **dict.fromkeys(CANDIDATES[1:], 1.0)})
    with pytest.raises(UsageError, match="Q8_0"):
        requantize(source, own_cache / "out.gguf", FASTEST, ONE_THREAD, imatrix=None, say=silent)
    assert not (own_cache / "out.gguf").exists()


@pytest.mark.parametrize(("out", "error"), [("out.bin", UsageError), ("none/out.gguf", ModelError)])
def test_a_name_that_cannot_be_written_is_refused(
    out: str, error: type[Exception], random_path: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=out.split("/")[0]):
        requantize(random_path, tmp_path / out, "Q8_0", ONE_THREAD, imatrix=None, say=silent)


def test_a_faster_type_is_named_once_it_was_measured(random_path: Path, own_cache: Path) -> None:
    source = quantize(random_path, own_cache / "source.gguf", "Q5_1")
    header = read_header(source)
    assert report(header, ONE_THREAD) == {"weights": "Q5_1"}
    keep_speeds(header, ONE_THREAD, {"Q5_1": 100.0, "Q4_0": 260.0, "Q8_0": 200.0})
    assert "Q4_0 is 2.6 times" in report(header, ONE_THREAD)["weights"]
    keep_speeds(header, ONE_THREAD, {"Q5_1": 100.0, "Q4_0": 105.0})
    assert "none is much faster" in report(header, ONE_THREAD)["weights"]


def test_the_command_makes_a_type_and_refuses_what_needs_a_trained_folder(
    genner: Genner, random_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.gguf"
    made = genner("export", random_path, "-o", out, "--quantize", "Q8_0", "--threads", 1)
    assert made.status == 0
    assert b"Q8_0" in made.stdout
    assert read_header(out).quantization == "Q8_0"
    for more in (["--no-verify"], ["--adapter-only"], ["--base", "x"], ["--quantize", "Q4_0"]):
        assert genner("export", random_path, "-o", out, "--quantize", "Q8_0", *more).status == 2
