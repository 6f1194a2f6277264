"""What commands show on the terminal: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import typer

from genner_cli.errors import UsageError

if TYPE_CHECKING:
    from rich.table import Table as Drawn

    from genner_cli.scoring.tables import Table

T = TypeVar("T")


class _Printable(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))


def talk_on_stderr() -> None:
    """Lets the library's warnings be seen, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Printable("genner: %(message)s"))
    logging.getLogger("genner").handlers[:] = [handler]


@contextmanager
def needed_for(what: str, *, extra: str) -> Iterator[None]:
    """Raises UsageError where a package is not installed that this option or command needs, with how to install it."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(f"{what} needs {error.name}; run: pip install 'genner[{extra}]'") from error


@contextmanager
def status_line(first: str) -> Iterator[Callable[[str], None]]:
    """Shows on stderr, if that is a terminal, what is being done; gives a function that changes the text."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(first) as status:
        yield lambda text: status.update(text)


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Reports each step of a long run on stderr: in a changing line on a terminal, else line by line."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True)
        return
    with console.status("") as status:
        yield lambda text: status.update(Text(text))


@contextmanager
def byte_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar of bytes, if stderr is a terminal; gives a function of the current file, bytes done and bytes in all."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("connecting", total=None)
        yield lambda file, done, total: bar.update(task, description=file, completed=done, total=total)


def print_value(value: object, lines: Iterable[str], *, as_json: bool) -> None:
    """Prints a value as JSON, or the lines that describe it to people, on standard output."""
    from genner_cli.files.writing import encode_value

    if as_json:
        typer.echo(encode_value(value), nl=False)
    else:
        typer.echo("\n".join(map(printable, lines)))


def say_written(path: str, size: int) -> None:
    """Reports a page on stderr: its file and bytes; nothing for standard output."""
    if path != "-":
        sys.stderr.write(f"{path}: {size:,} bytes written\n")


@contextmanager
def document_bar(total: int) -> Iterator[Callable[[Iterable[T]], Iterator[T]]]:
    """A bar of documents, if stderr is a terminal; gives a function that counts the items it passes on."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def counted(items: Iterable[T]) -> Iterator[T]:
            for item in items:
                yield item
                bar.advance(task)

        yield counted


@contextmanager
def document_progress(total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A bar of the bytes of a run's input, if stderr is a terminal (`running.local.Progress`)."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (
        SpinnerColumn(),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("reading", total=total)
        yield lambda done, text: bar.update(task, completed=done, description=text)


def printable_lines(text: str) -> str:
    """Lines without what would steer the terminal."""
    return "\n".join(map(printable, text.split("\n")))


def printable(text: str) -> str:
    """Without what would steer the terminal: a file may say anything."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


_WIDE = 120


def show(parts: Iterable[Table | str]) -> None:
    """Prints on standard output; in a pipe, as wide as the tables need."""
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False, width=None if sys.stdout.isatty() else _WIDE)
    for part in parts:
        console.print(printable_lines(part) if isinstance(part, str) else _drawn(part))


def _drawn(table: Table) -> Drawn:
    from rich import box
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for at, heading in enumerate(table.headings):
        prose = table.prose and at == len(table.headings) - 1
        number = at > 0 and not prose
        drawn.add_column(heading, justify="right" if number else "left", no_wrap=number, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(printable_lines(cell)) for cell in row))
    return drawn
