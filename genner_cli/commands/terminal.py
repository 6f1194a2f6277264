"""What commands say on stderr while they work."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def talk_on_stderr() -> None:
    """Lets the library's warnings be seen, one line each."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("genner: %(message)s"))
    logging.getLogger("genner").handlers[:] = [handler]


@contextmanager
def status_line(first: str) -> Iterator[Callable[[str], None]]:
    """A line that says what is being done, if stderr is a terminal; gives what changes it."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda text: None
        return
    with console.status(first) as status:
        yield lambda text: status.update(text)
