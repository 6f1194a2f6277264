"""Imports run one way, and every third-party package has one home (DESIGN, ARCHITECTURE: the table)."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

LAYERS = (
    ("errors", "version", "plurals"),
    ("types", "options", "openmp"),
    ("locking", "registry", "expressions"),
    ("generation", "tokenizing", "data", "ledger"),
    ("constrained",),
    ("formats", "chunking", "merging", "pairing", "files", "provenance"),
    ("engine",),
    ("hub", "wordlists"),
    ("prompting", "scoring", "redaction"),
    ("calibration", "demonstrations", "patterns"),
    ("tasks",),
    ("extraction", "methods", "instructing", "assessment", "describing"),
    ("running",),
    ("training",),
    ("convert",),
    ("planning", "view", "plots"),
    ("probing", "cluster"),
    ("api",),
    ("integrations",),
    ("genner_cli",),
    ("commands",),
    ("__main__",),
)
"""A module may import from layers above its own in this list, and inside its own package."""

HOMES = {
    "typer": {"commands"},
    "rich": {"commands"},
    "orjson": {"files"},
    "portalocker": {"files"},
    "zstandard": {"files"},
    "yaml": {"files"},
    "pyarrow": {"files"},
    "spacy": {"files", "integrations"},
    "cassis": {"files"},
    "presidio_analyzer": {"integrations"},
    "fsspec": {"files"},
    "regex": {"expressions"},
    "stdnum": {"expressions"},
    "phonenumbers": {"expressions"},
    "llama_cpp": {"engine"},
    "numpy": {"engine", "convert"},
    "jinja2": {"engine"},
    "torch": {"training", "convert"},
    "transformers": {"training", "convert"},
    "tokenizers": {"training", "convert"},
    "peft": {"training", "convert"},
    "bitsandbytes": {"training"},
    "lm_eval": {"training"},
    "datasets": {"training"},
    "safetensors": {"training", "convert"},
    "gguf": {"convert"},
    "matplotlib": {"plots"},
    "huggingface_hub": {"hub"},
    "packaging": {"hub"},
    "ray": {"cluster"},
    "_typeshed": {"files"},
}

FREE = {"genner_cli.__version__"}
INJECTED = {("extraction", "engine"), ("methods", "engine")}
"""(importer, imported): these are handed what they need from the other, so that a fake can take its place."""

EXCEPTIONS = {("genner_cli/engine/chat.py", "prompting"), ("genner_cli/files/annotations/alpaca.py", "instructing")}
"""(file, part): a chat template is executed where its package is at home, and gives a prompt; alpaca files hold
prompts and completions."""

LAYER_OF = {part: number for number, parts in enumerate(LAYERS) for part in parts}


class Import(NamedTuple):
    """A dotted name that a file imports, and the line it stands in."""

    name: str
    line: int


def modules() -> list[Path]:
    """Every Python file of the two packages, relative to the root."""
    return sorted(
        path.relative_to(ROOT) for package in ("genner_cli", "convert") for path in (ROOT / package).rglob("*.py")
    )


def part_of(name: str) -> str:
    """The part of the project that a dotted name belongs to: `genner_cli.files.x` -> `files`."""
    head, *rest = name.split(".")
    if head != "genner_cli":
        return head
    return rest[0] if rest and (rest[0] in LAYER_OF or _exists(rest[0])) else "genner_cli"


def _exists(name: str) -> bool:
    return (ROOT / "genner_cli" / name).is_dir() or (ROOT / "genner_cli" / f"{name}.py").is_file()


def own_part(path: Path) -> str:
    """The part that a file belongs to, known or not."""
    inner = name_of(path).split(".")[1:] if path.parts[0] == "genner_cli" else []
    return inner[0] if inner else path.parts[0]


def name_of(path: Path) -> str:
    """The dotted name of a file: `genner_cli/files/__init__.py` -> `genner_cli.files`."""
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def imports(source: str, path: Path) -> Iterator[Import]:
    """All imports of a file, lazy ones and those for type checking included."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            whole = part_of(module) != "genner_cli"
            yield from (Import(module if whole else f"{module}.{alias.name}", node.lineno) for alias in node.names)


def imported_modules(source: str, path: Path, known: Collection[str]) -> set[str]:
    """The modules of the two packages that a file names in its imports, wherever they stand. That importing `a.b` runs
    `a` as well is left out: a package may well use its own modules."""
    package = name_of(path).split(".") if path.name == "__init__.py" else name_of(path).split(".")[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            inner = {f"{module}.{alias.name}" for alias in node.names} - FREE
            names |= inner if inner <= set(known) else {module, *inner}
    return (names & set(known)) - {name_of(path)}


def circles(graph: Mapping[str, Collection[str]]) -> list[list[str]]:
    """The sets of modules that reach each other."""
    reached = {name: reachable(graph, name) for name in graph}
    groups = {frozenset(other for other in reached[name] if name in reached[other]) for name in graph}
    return sorted(sorted(group) for group in groups if group)


def reachable(graph: Mapping[str, Collection[str]], start: str) -> set[str]:
    """All modules that importing one leads to, itself only in a circle."""
    waiting, found = list(graph[start]), set(graph[start])
    while waiting:
        new = set(graph[waiting.pop()]) - found
        found |= new
        waiting += new
    return found


def test_no_modules_import_each_other_not_even_inside_functions() -> None:
    paths = {name_of(path): path for path in modules()}
    graph = {name: imported_modules((ROOT / path).read_text(), path, paths) for name, path in paths.items()}
    assert circles(graph) == []


def test_a_circle_is_found() -> None:
    known = ("genner_cli.hub", "genner_cli.hub.pulling", "genner_cli.errors")
    there = imported_modules("def f():\n    from .pulling import pull", Path("genner_cli/hub/__init__.py"), known)
    back = imported_modules("from genner_cli import errors, hub", Path("genner_cli/hub/pulling.py"), known)
    graph = {"genner_cli.hub": there, "genner_cli.hub.pulling": back, "genner_cli.errors": set[str]()}
    assert circles(graph) == [["genner_cli.hub", "genner_cli.hub.pulling"]]


def objections(source: str, path: Path) -> list[str]:
    """What is wrong with the imports of a file."""
    own = own_part(path)
    found = []
    if own not in LAYER_OF:
        return [f"{path}: {own!r} has no place in LAYERS; give it one here and in ARCHITECTURE.md"]
    for name, line in imports(source, path):
        part = part_of(name)
        if (
            part == own
            or name in FREE
            or (path.as_posix(), part) in EXCEPTIONS
            or name.split(".")[0] in sys.stdlib_module_names
        ):
            continue
        if part in LAYER_OF:
            if LAYER_OF[part] >= LAYER_OF[own] or (own, part) in INJECTED:
                found.append(f"{path}:{line}: {own} may not import {name}")
        elif name.startswith("genner_cli."):
            found.append(f"{path}:{line}: {name} has no place in LAYERS")
        elif own not in HOMES.get(part, ()):
            found.append(
                f"{path}:{line}: {part} is at home in {', '.join(HOMES.get(part, ())) or 'nowhere'}, not in {own}"
            )
    return found


@pytest.mark.parametrize("path", modules(), ids=str)
def test_a_module_imports_from_the_left_and_third_parties_at_their_home(path: Path) -> None:
    assert objections((ROOT / path).read_text(), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("genner_cli/chunking.py", "from genner_cli.formats import xml"),
        ("genner_cli/errors.py", "import genner_cli.types"),
        ("genner_cli/types.py", "from genner_cli import locking"),
        ("genner_cli/locking.py", "from . import formats"),
        ("genner_cli/formats/xml.py", "from ..chunking import split"),
        ("genner_cli/formats/xml.py", "def f():\n    from genner_cli.prompting import Prompt"),
        ("genner_cli/extraction.py", "from genner_cli import engine"),
        ("genner_cli/extraction.py", "from genner_cli.commands.options import x"),
        ("genner_cli/methods/ensemble.py", "from genner_cli.training import loop"),
        ("genner_cli/engine/engine.py", "from genner_cli import extract"),
        ("genner_cli/files/reading.py", "import convert"),
        ("genner_cli/scoring.py", "import numpy as np"),
        ("genner_cli/extraction.py", "import typer"),
        ("genner_cli/engine/model.py", "import orjson"),
        ("genner_cli/hub.py", "from rich.progress import Progress"),
        ("genner_cli/training/loop.py", "from huggingface_hub import hf_hub_download"),
        ("genner_cli/training/loop.py", "import requests"),
        ("convert/quantize.py", "from genner_cli.commands import export"),
        ("genner_cli/training/loop.py", "from convert import quantize"),
        ("genner_cli/utils.py", ""),
    ],
)
def test_a_wrong_import_is_found(path: str, source: str) -> None:
    assert objections(source, Path(path)) != []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("genner_cli/types.py", "from genner_cli.errors import UsageError\nimport unicodedata"),
        (
            "genner_cli/formats/xml.py",
            "from . import shared\nfrom genner_cli.formats.shared import inline\nfrom .. import locking",
        ),
        (
            "genner_cli/extraction.py",
            "from genner_cli import chunking, merging, types\nfrom genner_cli.prompting import Prompt",
        ),
        (
            "genner_cli/commands/extract.py",
            "import typer\nimport rich.progress\nfrom genner_cli import __version__, extract",
        ),
        ("genner_cli/engine/model.py", "import numpy.typing\nimport llama_cpp\nfrom genner_cli import __version__"),
        ("convert/hf_to_gguf.py", "import torch, gguf\nfrom genner_cli.prompting import Instructions"),
        ("genner_cli/methods/ensemble.py", "from genner_cli.methods import cascade"),
    ],
)
def test_a_right_import_is_let_pass(path: str, source: str) -> None:
    assert objections(source, Path(path)) == []


def imported(path: Path) -> Iterator[tuple[str, str]]:
    """What a script takes from this project's packages: modules and names."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("genner_cli", "convert"):
            yield from ((node.module or "", alias.name) for alias in node.names)


def is_there(module: str, name: str) -> bool:
    """Whether a module has a name, or a package a module."""
    found = importlib.import_module(module)
    return hasattr(found, name) or (
        hasattr(found, "__path__") and importlib.util.find_spec(f"{module}.{name}") is not None
    )


@pytest.mark.parametrize("folder", ["benchmarks", "examples/bundled_model"])
def test_what_scripts_import_is_there(folder: str) -> None:
    wanted = {each for path in (ROOT / folder).glob("*.py") for each in imported(path)}
    assert wanted
    assert not [f"{module}.{name}" for module, name in sorted(wanted) if not is_there(module, name)]
