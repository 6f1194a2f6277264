"""`PATH.run.json`: the settings that a run was started with, and the state of its documents so far.

Takes and gives JSON values. Knows nothing of what the settings mean.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from hashlib import blake2b
from pathlib import Path
from typing import Any

import orjson

from genner_cli.errors import UsageError
from genner_cli.files.journal import refused
from genner_cli.files.whole import write_whole
from genner_cli.version import __version__

_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was started with.

    `options`: all that shapes a record; the documents, whose hashes stand in the index, are not among them. `share`:
    which documents of the input there are to be records of. `way`: how missing records are made, which counts only
    until the output is complete. `model`: to be read only.
    """

    options: dict[str, Any]
    share: dict[str, Any] = field(default_factory=dict)
    way: dict[str, Any] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> bytes:
        """A hash of all that shapes a record."""
        return blake2b(orjson.dumps(self.options), digest_size=32).digest()


@dataclass(frozen=True, slots=True)
class Manifest:
    """`process`: who works on it, None when nobody does; `ledger`: as of then."""

    settings: Settings
    state: str
    process: int | None
    ledger: dict[str, Any]
    genner: str = __version__

    def write(self, path: str) -> None:
        """Puts it there whole, or not at all. Raises GennerError where the disk refuses."""
        value = asdict(self)
        data = orjson.dumps({**value.pop("settings"), **value}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        try:
            write_whole(Path(path), data)
        except OSError as error:
            raise refused(path, error) from error

    @classmethod
    def read(cls, path: str) -> Manifest | None:
        """What stands there, None if nothing does. Raises UsageError for something else."""
        try:
            with open(path, "rb") as file:
                value = orjson.loads(file.read())
            settings = Settings(*(value.pop(item.name) for item in fields(Settings)))
            if not all(isinstance(getattr(settings, item.name), dict) for item in fields(settings)):
                raise TypeError("its settings are not objects")
            return cls(settings, **value)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
            raise UsageError(
                f"{path}: is not the manifest of a run ({error}); restore it, or start over with --restart"
            ) from error

    def differences(self, other: Settings, genner: str = __version__, *, share: bool = True, way: bool = True) -> str:
        """For people, in which options other settings differ; `share`, `way`: whether these count.

        What follows from an option that differs is left out: `labels of each pass` where `labels` differ.
        """
        before, now = self._compared(self.settings, self.genner, share, way), self._compared(other, genner, share, way)
        different = [name for name in now | before if now.get(name) != before.get(name)]
        return "; ".join(
            _difference(name, before.get(name), now.get(name))
            for name in different
            if not any(name.startswith(f"{option} ") for option in different)
        )

    @staticmethod
    def _compared(settings: Settings, genner: str, share: bool, way: bool) -> dict[str, Any]:
        return {
            "genner version": genner,
            **settings.options,
            **(settings.share if share else {}),
            **(settings.way if way else {}),
        }

    def refuse_other(self, path: str, settings: Settings, *, complete: bool = False) -> None:
        """Raises UsageError that names the options in which other settings differ; `complete`: no record is missing."""
        different = self.differences(settings, way=not complete)
        if different:
            raise UsageError(
                f"{path}: was started with other options ({different}); use the same ones, name another file after -o,"
                " or start over with --restart"
            )


def _difference(name: str, before: Any, now: Any) -> str:
    then, here = _shown(before), _shown(now)
    if then == here or max(len(then), len(here)) > _SHOWN:
        return f"{name} changed"
    return f"{name}: {then} -> {here}"


def _shown(value: Any) -> str:
    """An object by its keys, a list by its elements, None and nothing at all alike."""
    if isinstance(value, dict | list):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else value if isinstance(value, str) and value else orjson.dumps(value).decode()
