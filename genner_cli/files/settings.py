"""A YAML file of options -> their names and values. Knows nothing of what they mean."""

from __future__ import annotations

from typing import Any

import yaml

from genner_cli.errors import UsageError

_SHAPE = "write 'name: value', one line per option"


def read_settings(path: str) -> dict[str, Any]:
    """The mapping in a file; dashes in names are read as underscores. Raises UsageError with file and line."""
    try:
        with open(path, "rb") as file:
            values = yaml.safe_load(file)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UsageError(f"{path}{line}: not YAML ({error.problem}); {_SHAPE}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not YAML ({str(error).splitlines()[0]}); {_SHAPE}") from error
    if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
        raise UsageError(f"{path}: is not a mapping of names to values; {_SHAPE}")
    return {name.replace("-", "_"): value for name, value in values.items()}
