"""The roles of files and models in an ensemble, as JSON: written by `genner calibrate`, used by `genner judge`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson

from genner_cli.errors import UsageError

VERSION = 1
DECIDERS_OF = ("overlap",)
"""What deciders are asked; voters everything else."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Roles:
    """`extractors`: names of files whose entities are candidates; `voters`, `deciders`: names of models. `thresholds`:
    by model, the log-odds above which it says yes. Without deciders nobody is asked about overlaps. `measured`: for
    people, not read back."""

    extractors: tuple[str, ...]
    voters: tuple[str, ...]
    deciders: tuple[str, ...]
    thresholds: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, Any] = field(default_factory=dict)

    def value(self) -> dict[str, Any]:
        """As a JSON value."""
        return {"version": VERSION, **asdict(self)}

    def files_of(self, paths: Sequence[str], names: Sequence[str]) -> tuple[list[str], list[str]]:
        """The files of the extractors, and their names, in the order of the files. Raises UsageError."""
        self._refuse_missing(self.extractors, names, "file")
        kept = [(path, name) for path, name in zip(paths, names, strict=True) if name in self.extractors]
        return [path for path, _ in kept], [name for _, name in kept]

    def models_of(self, ask: str, known: Mapping[str, T]) -> list[T]:
        """The models that are asked this. Raises UsageError."""
        names = self.deciders if ask in DECIDERS_OF else self.voters
        self._refuse_missing(names, list(known), "model")
        return [known[name] for name in names]

    @staticmethod
    def _refuse_missing(wanted: Sequence[str], known: Sequence[str], kind: str) -> None:
        missing = sorted(set(wanted) - set(known))
        if missing:
            raise UsageError(
                f"--roles: the {kind} {missing[0]!r} has a role and is not among {', '.join(known)}; name it too, or"
                " calibrate again"
            )


def read_roles(path: str) -> Roles:
    """The roles of a file. Raises UsageError where there is none, or something else."""
    try:
        value = orjson.loads(Path(path).read_bytes())
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']!r}, read is {VERSION}")
        extractors, voters, deciders = (tuple(map(str, value[name])) for name in ("extractors", "voters", "deciders"))
        thresholds = {str(name): float(score) for name, score in value["thresholds"].items()}
        roles = Roles(extractors, voters, deciders, thresholds)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path}: is not a file of roles ({error}); let genner calibrate write it") from error
    if not roles.extractors or not roles.voters:
        raise UsageError(f"{path}: names no extractors or no voters; let genner calibrate write it")
    return roles
