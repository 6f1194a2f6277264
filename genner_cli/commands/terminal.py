"""What commands show on the terminal: results on stdout, progress and warnings on stderr."""

from __future__ import annotations

import logging
import sys
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import typer

from genner_cli.errors import UsageError
from genner_cli.plurals import counted

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table as Drawn

    from genner_cli.running.on_gold import Counted
    from genner_cli.running.rewriting import Done
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
def status_line(first: str = "", *, lines: bool = False) -> Iterator[Callable[[str], None]]:
    """Shows on stderr, if that is a terminal, what is being done, else nothing or, with `lines`, a line for each step;
    gives a function that changes the text."""
    from rich.console import Console
    from rich.text import Text

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: print(text, file=sys.stderr, flush=True) if lines else None
        return
    with console.status(Text(first)) as status:
        yield lambda text: status.update(Text(text))


@contextmanager
def bar(*columns: ProgressColumn) -> Iterator[Progress]:
    """A bar of these columns, if stderr is a terminal; it is gone at the end."""
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        yield shown


@contextmanager
def byte_bar() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar of bytes; gives a function of the current file, bytes done and bytes in all."""
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    name, size = TextColumn("{task.description}", markup=False), DownloadColumn(binary_units=True)
    with bar(name, BarColumn(), size, TransferSpeedColumn(), TimeRemainingColumn()) as shown:
        task = shown.add_task("connecting", total=None)
        yield lambda file, done, total: shown.update(task, description=file, completed=done, total=total)


@contextmanager
def document_progress(total: int | None) -> Iterator[Callable[[int, str], None]]:
    """A bar of the bytes of a run's input (`running.local.Progress`)."""
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    text = TextColumn("{task.description}")
    with bar(SpinnerColumn(), BarColumn(), text, TimeElapsedColumn(), TimeRemainingColumn()) as shown:
        task = shown.add_task("reading", total=total)
        yield lambda done, text: shown.update(task, completed=done, description=text)


@contextmanager
def document_bar(total: int) -> Iterator[Counted]:
    """A bar of documents; gives a function that counts the items it passes on."""
    with document_progress(total) as show_progress:
        numbers = count(1)

        def passed_on(items: Iterable[T]) -> Iterator[T]:
            for item in items:
                yield item
                show_progress(number := next(numbers), f"{number:,} of {counted(total, 'document')}")

        yield passed_on


def fail_if_any(done: Done) -> None:
    """Reports the failed documents on stderr, and exits with 1 if there are any."""
    warn(*done.messages)
    if done.ledger.failed:
        warn(f"{counted(done.ledger.failed, 'record')} with an error and without a text")
        raise typer.Exit(1)


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
        say(f"{path}: {size:,} bytes written")


def say(*lines: str) -> None:
    """Writes lines on stderr."""
    sys.stderr.writelines(f"{line}\n" for line in lines)


def warn(*messages: str) -> None:
    """Writes messages on stderr, each a line that begins with `genner:`."""
    say(*(f"genner: {printable(message)}" for message in messages))


def printable_lines(text: str) -> str:
    """Lines without what would steer the terminal."""
    return "\n".join(map(printable, text.split("\n")))


def printable(text: str, keep: str = "") -> str:
    """Without what would steer the terminal or turn the text around: a file may say anything. `keep`: what may stay."""
    return "".join(repr(c)[1:-1] if _steers(c) and c not in keep else c for c in text)


_TURNING = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def _steers(c: str) -> bool:
    return c in _TURNING or unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")


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
