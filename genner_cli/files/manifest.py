"""`PATH.run.json`: with what a run was begun, and what became of its documents so far.

Takes and gives JSON values. Knows nothing of what the options mean.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson

from genner_cli import __version__
from genner_cli.errors import UsageError
from genner_cli.files.journal import refused
from genner_cli.files.whole import write_whole

NAMES_ONLY = ("model",)
"""Options that are there to be read: what shapes a record is the model's content, wherever it lies."""
SHARES = ("shard", "input")
"""Options that say which documents a run is to make records of."""
WAYS = ("cluster",)
"""Options that say how records are made that are not there yet: a whole output may be gone on with in another way."""
NOT_SHAPING = (*NAMES_ONLY, *SHARES, *WAYS)
"""The record of a document is the same whatever they are."""
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Manifest:
    """`options`: all that shapes a record; `process`: who works on it, None when nobody does; `ledger`: as of then."""

    options: dict[str, Any]
    state: str
    process: int | None
    ledger: dict[str, Any]
    genner: str = __version__

    def write(self, path: str) -> None:
        """Puts it there whole, or not at all. Raises GennerError where the disk refuses."""
        data = orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        try:
            write_whole(Path(path), data)
        except OSError as error:
            raise refused(path, error) from error

    @classmethod
    def read(cls, path: str) -> Manifest | None:
        """What stands there, None if nothing does. Raises UsageError for something else."""
        try:
            with open(path, "rb") as file:
                found = cls(**orjson.loads(file.read()))
            if not isinstance(found.options, dict):
                raise TypeError("its options are no object")
            return found
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            raise UsageError(
                f"{path}: is no manifest of a run ({error}); restore it, or begin anew by --restart"
            ) from (error)

    def differences(self, options: dict[str, Any], *, besides: Collection[str] = NAMES_ONLY) -> str:
        """Tells for people what differs from these options; `besides`: names that may differ."""
        now = {"genner version": __version__, **options}
        before = {"genner version": self.genner, **self.options}
        names = [name for name in now | before if name not in besides]
        return "; ".join(
            _difference(name, before.get(name), now.get(name)) for name in names if now.get(name) != before.get(name)
        )

    def refuse_other(self, path: str, options: dict[str, Any], *, whole: bool = False) -> None:
        """Raises UsageError that says which option differs from those it was begun with; `whole`: no record lacks."""
        told = self.differences(options, besides=(*NAMES_ONLY, *WAYS) if whole else NAMES_ONLY)
        if told:
            raise UsageError(
                f"{path}: was begun with other options ({told}); use the same ones, name another file after -o,"
                " or begin anew by --restart"
            )


def _difference(name: str, before: Any, now: Any) -> str:
    then, here = (orjson.dumps(value).decode() for value in (before, now))
    if max(len(then), len(here)) > _SHOWN:
        return f"{name} differs"
    return f"{name}: {then} then, {here} now"
