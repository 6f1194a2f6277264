"""Measurements that are kept in a file as they are made, so that a long benchmark can be run in parts."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from genner_cli.files.whole import write_whole


class Kept:
    """JSON values by name. Without a path nothing is kept; without `seconds` nothing is put off."""

    def __init__(self, path: Path | None, seconds: float | None, settings: dict[str, Any]) -> None:
        """`seconds`: after so long the program ends before the next measurement. Ends it where the file holds
        measurements with other settings."""
        self._path = path
        self._until = time.monotonic() + (seconds or float("inf"))
        self._values: dict[str, Any] = {"settings": settings}
        if path and path.exists():
            self._values = json.loads(path.read_text(encoding="utf-8"))
            if self._values["settings"] != settings:
                sys.exit(f"{path} was measured with other settings: {self._values['settings']}; remove it")

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str, measure: Callable[[], Any], *, expected: float = 0.0) -> Any:
        """The value of this name, measured now if it never was; `expected`: seconds that this will take."""
        if name not in self._values:
            if time.monotonic() + expected > self._until:
                sys.exit(f"{len(self._values) - 1} measurements are kept in {self._path}; the same command continues")
            self._values[name] = json.loads(json.dumps(measure()))
            self._write()
        return self._values[name]

    def _write(self) -> None:
        if self._path:
            write_whole(self._path, json.dumps(self._values))
