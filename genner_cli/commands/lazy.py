"""A group of commands each of which is loaded when it is called; the group's own help loads none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from genner_cli.errors import ModelError

MARKUP: Literal["markdown"] = "markdown"


class _Command(TyperCommand):
    """Says of a model that cannot be used whether the environment named it, for the command line shows no name then."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ModelError as error:
            for parameter in self.params:
                source = ctx.get_parameter_source(parameter.name)
                if source and source.name == "ENVIRONMENT":
                    error.add_note(f"{parameter.opts[0]} is from the environment variable {parameter.envvar}")
            raise


class LazyGroup(TyperGroup):
    """A subclass names its commands. `package`: where each one stands, in a module of its name, as a function or a
    typer.Typer of that name; `summaries`: what the help says of each, in this order (the start of its own help)."""

    package: str
    summaries: Mapping[str, str]
    _listed = False

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=summary) for name, summary in self.summaries.items()}

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, which is loaded unless it is only to be listed; None if there is none of this name."""
        if self._listed or cmd_name not in self.commands:
            return self.commands.get(cmd_name)
        found = getattr(import_module(f"{self.package}.{cmd_name}"), cmd_name)
        if not isinstance(found, typer.Typer):
            app = typer.Typer(add_completion=False, rich_markup_mode=MARKUP)
            app.command(cmd_name, cls=_Command)(found)
            found = app
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Lists the commands."""
        with self._listing():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> Any:
        """Lists the commands."""
        with self._listing():
            return super().shell_complete(ctx, incomplete)

    @contextmanager
    def _listing(self) -> Iterator[None]:
        self._listed = True
        try:
            yield
        finally:
            self._listed = False


def group(commands: type[LazyGroup], help: str) -> typer.Typer:
    """A group of these commands, which shows its help where none is named."""
    found = typer.Typer(cls=commands, help=help, no_args_is_help=True, add_completion=False, rich_markup_mode=MARKUP)
    found.callback()(lambda: None)  # or typer would take it for a single command
    return found
