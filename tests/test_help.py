"""Help: what it loads, what the lists of commands say, and options that are alike everywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import typer
from conftest import Run

from genner_cli.commands import app
from genner_cli.commands.lazy import LazyGroup
from genner_cli.training.options import TrainOptions

LOADED = """
import json, sys
from genner_cli.commands import main
sys.argv = ["genner", *sys.argv[1:]]
try:
    main()
except SystemExit:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def group() -> Any:
    return typer.main.get_command(app)


def groups() -> list[Any]:
    """The command line, and the groups in it."""
    context = typer.Context(group())
    found = [group().get_command(context, name) for name in group().list_commands(context)]
    return [group(), *(each for each in found if isinstance(each, LazyGroup))]


def loaded(*args: str) -> list[str]:
    """The modules that a call has loaded."""
    done = subprocess.run([sys.executable, "-c", LOADED, *args], capture_output=True, text=True, check=True)
    return list(json.loads(done.stderr))


def commands_in(modules: list[str]) -> set[str]:
    """The commands among modules, those of groups as `data.check`."""
    prefix = "genner_cli.commands."
    names = {name.removeprefix(prefix) for name in modules if name.startswith(prefix)}
    return names - {"lazy", "terminal", "options", "marking", "training", "predictions"}


@pytest.mark.parametrize(
    ("args", "commands"),
    [
        (["--help"], set()),
        (["extract", "--help"], {"extract"}),
        (["grammar", "--types", "PER"], {"grammar"}),
        (["data", "--help"], {"data"}),
        (["data", "merge", "--help"], {"data", "data.merge"}),
    ],
)
def test_a_call_loads_its_command_and_no_other_and_no_model_library(args: list[str], commands: set[str]) -> None:
    modules = loaded(*args)
    assert commands_in(modules) == commands
    assert not {"genner_cli.engine.llama", "numpy", "torch", "transformers", "ray", "pyarrow"} & set(modules)


def test_the_lists_of_commands_say_what_the_commands_say() -> None:
    for each in groups():
        context = typer.Context(each)
        for name, summary in each.summaries.items():
            command = each.get_command(context, name)
            assert command.name == name
            assert " ".join(command.help.split("\n\n")[0].split()) == summary


def test_an_unknown_command_is_refused() -> None:
    assert group().get_command(typer.Context(group()), "no-such") is None


@pytest.mark.parametrize(("given", "nearest"), [(["extrct"], "extract"), (["data", "splt"], "split")])
def test_an_unknown_command_is_refused_with_the_nearest(
    genner: Callable[..., Run], given: list[str], nearest: str
) -> None:
    run = genner(*given)
    assert (run.status, run.stdout) == (2, b"")
    assert f"'{nearest}'" in run.stderr


def test_switches_of_training_show_their_defaults() -> None:
    context = typer.Context(group())
    parameters = {each.name: each for each in group().get_command(context, "train").params}
    switches = [item for item in fields(TrainOptions) if isinstance(item.default, bool)]
    assert {item.name for item in switches} >= {"packing", "chat_template", "shuffle", "qlora"}
    for item in switches:
        assert parameters[item.name].show_default == ("on" if item.default else "off")


def test_an_argument_of_several_files_has_one_ellipsis() -> None:
    page = (Path(__file__).parents[1] / "docs" / "commands.md").read_text("utf-8")
    usages = [line for line in page.splitlines() if line.startswith("$ genner ")]
    assert any(line.endswith("}...") for line in usages)
    assert not [line for line in usages if "...}" in line]
