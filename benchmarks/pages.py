"""Tables of a benchmark within a page of docs/: they stand below a line that names the script."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from genner_cli.files.whole import write_whole


def write_below(page: Path, script: str, tables: Iterable[str]) -> None:
    """Replaces what stands below the line of `script`. Raises ValueError where the page has no such line."""
    line = f"<!-- Below this line: {script} -->"
    above, found, _ = page.read_text("utf-8").partition(line)
    if not found:
        raise ValueError(f"{page} has no line {line}")
    write_whole(page, "\n".join([f"{above}{line}\n", *tables]))
