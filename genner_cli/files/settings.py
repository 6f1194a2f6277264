"""A YAML file of options -> their names and values. Knows nothing of what they mean."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, Any, TypeVar

import yaml

from genner_cli.errors import UsageError

_SHAPE = "write 'name: value', one line per option"
T = TypeVar("T")


def read_settings(path: str) -> dict[str, Any]:
    """The mapping in a file; dashes in names are read as underscores. Raises UsageError with file and line."""
    values = read_yaml(path, yaml.safe_load, _SHAPE)
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"{path}: is not a mapping of names to values; {_SHAPE}")
    return {name.replace("-", "_"): value for name, value in values.items()}


def read_yaml(path: str, load: Callable[[IO[bytes]], T], shape: str) -> T:
    """What `load` makes of a file. Raises UsageError with file, line and the `shape` that is expected."""
    try:
        with open(path, "rb") as file:
            return load(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not YAML ({error.problem}); {shape}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # the last two: a wrong character, nested too deep
        raise UsageError(f"{path}: not YAML ({str(error).splitlines()[0]}); {shape}") from error
