"""The commands in the documentation have the options and arguments that genner has; nothing is run."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.core import TyperGroup

from genner_cli.commands import app

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
BLOCK = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.DOTALL | re.MULTILINE)
WRONG_USE = typer.BadParameter.__mro__[1]
"""What typer raises for any wrong use, which it does not export."""


def commands(page: Path) -> Iterator[str]:
    """The lines of code blocks that call genner, those of loops as well."""
    for block in BLOCK.findall(page.read_text("utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            yield from re.findall(r"(?:^|; do |&& |\| )(genner [^;&|>]+)", line)


def parse(line: str) -> None:
    """Raises what the terminal would say of options and arguments. `...` stands for more of the same, variables for
    numbers."""
    words = [word for word in shlex.split(re.sub(r"\$\w+", "1", line), comments=True)[1:] if word != "..."]
    command = typer.main.get_command(app)
    context = command.make_context("genner", [], resilient_parsing=True)
    while isinstance(command, TyperGroup):
        name, command, words = command.resolve_command(context, words)
        assert command is not None
    command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_of_a_page_can_be_parsed(page: Path) -> None:
    for line in commands(page):
        parse(line)


def test_the_commands_are_found() -> None:
    assert sum(len(list(commands(page))) for page in PAGES) > 40


@pytest.mark.parametrize("line", ["genner train a.jsonl -o tuned", "genner extract a.txt --type PER"])
def test_a_command_that_genner_does_not_have_is_refused(line: str) -> None:
    with pytest.raises(WRONG_USE):
        parse(line)
