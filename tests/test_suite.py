"""The rules of this suite itself: what --quick leaves out, and what may be skipped in CI."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = """
import subprocess
import pytest

def test_pure(): pass
def test_import(): import genner_cli.engine.llama
def test_model(bundled): pass
def test_process(): subprocess.run(["true"])
def test_skip(): pytest.skip("no reason")

@pytest.mark.gpu
def test_gpu(): pytest.skip("no GPU")
"""
HEAVY = "import genner_cli.engine.llama\ndef test_anything(): pass"


def outcomes(folder: Path, *options: str, ci: str) -> dict[str, str]:
    """What became of the tests above, by name, in a pytest with this suite's conftest and settings."""
    (folder / "test_tests.py").write_text(TESTS)
    (folder / "test_heavy.py").write_text(HEAVY)
    command = (sys.executable, "-m", "pytest", "-v", "-p", "conftest", "-c", ROOT / "pyproject.toml", *options, folder)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "tests"), str(ROOT)]), "CI": ci}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    lines = [line.split() for line in done.stdout.splitlines() if "::test_" in line and line.endswith("%]")]
    return {line[0].rpartition("::")[2]: line[1] for line in lines}


@pytest.mark.parametrize("ci", ["", "1"])
def test_quick_tests_import_no_engine_and_start_no_process(tmp_path: Path, ci: str) -> None:
    kept = {name for name, outcome in outcomes(tmp_path, "--quick", ci=ci).items() if outcome == "PASSED"}
    assert kept == {"test_pure"}


@pytest.mark.parametrize(("ci", "skipped"), [("", "SKIPPED"), ("1", "FAILED")])
def test_in_ci_only_gpu_tests_are_skipped(tmp_path: Path, ci: str, skipped: str) -> None:
    found = outcomes(tmp_path, ci=ci)
    passed = dict.fromkeys(("test_anything", "test_pure", "test_import", "test_model", "test_process"), "PASSED")
    assert found == {**passed, "test_skip": skipped, "test_gpu": "SKIPPED"}
