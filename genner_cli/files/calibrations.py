"""A calibration as JSON, in a file beside its model or in the model's own metadata: used by `genner extract`.

`genner calibrate` writes the file. It says which model it is for and how that was asked, and is refused for any other.
The metadata's is left out, with a warning, where the model is asked in another way.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson

from genner_cli.errors import ModelError, UsageError
from genner_cli.options import option_name
from genner_cli.types import Calibration, Knot, ScoreMap

log = logging.getLogger("genner")
VERSION = 1
KEY = "genner.calibration"
"""The GGUF metadata of a model's own calibration."""
SUFFIX = ".calibration.json"
ASKED = (
    *("format", "constraint", "whole_words", "examples", "shots", "nearest", "hints", "example_hints"),
    *("instruction", "no_chat_template"),
)
"""Options that scores depend on beside the model; those that are not in a file were not used."""
_UNSET = "unset"


def calibration_path(files: Sequence[Path]) -> Path:
    """Where the calibration of a model is: beside its file, or its adapter's, which is the last of `files`."""
    return files[-1].with_name(files[-1].name + SUFFIX)


def calibration_value(
    calibration: Calibration,
    files: Sequence[Path],
    digest: str,
    *,
    asked: Mapping[str, str],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of the file, as a JSON value.

    files: the model's and its adapter's; digest: their fingerprint; asked: values of ASKED; more: other facts for
    people, not read back.
    """
    return {
        "model": {"files": [path.name for path in files], "fingerprint": digest},
        **own_calibration_value(calibration, asked),
        **more,
    }


def own_calibration_value(calibration: Calibration, asked: Mapping[str, str]) -> dict[str, Any]:
    """The value under KEY, as a JSON value; `asked`: values of ASKED."""
    return {
        "version": VERSION,
        **asked,
        "map": [list(knot) for knot in calibration.map.knots],
        "thresholds": dict(calibration.thresholds),
        "labels": list(calibration.labels),
    }


def read_calibration(path: Path, files: Sequence[Path], digest: str, asked: Mapping[str, str]) -> Calibration:
    """The calibration in a file, for the model in `files`, whose fingerprint is `digest`; `asked`: values of ASKED.

    Raises UsageError if there is no such file, ModelError where it is broken or made for another model, or for a model
    that was asked in another way.
    """
    value = read_value(path)
    try:
        _check(path, value, files, digest, asked)
    except (KeyError, TypeError) as error:
        raise _broken(path, repr(error)) from error
    return calibration_of(value)


def read_value(path: Path) -> Mapping[str, Any]:
    """The value in a file. Raises UsageError if there is no such file, ModelError where it is broken, or of another
    version."""
    try:
        value = orjson.loads(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); check the path, or leave it out") from error
    except orjson.JSONDecodeError as error:
        raise _broken(path, str(error)) from error
    if not isinstance(value, Mapping):
        raise _broken(path, "it holds no object")
    if value.get("version") != VERSION:
        raise ModelError(
            f"{path}: has version {value.get('version')!r}, read is {VERSION}; run `genner calibrate` again"
        )
    try:
        calibration_of(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise _broken(path, repr(error)) from error
    return value


def own_calibration(metadata: Mapping[str, str], asked: Mapping[str, str]) -> Calibration | None:
    """The calibration in a model's metadata; None where there is none, or where the model is asked in another way than
    it was made for (`asked`: values of ASKED). Raises ModelError where it is broken."""
    value = read_own_value(metadata)
    others = _others(value, asked) if value else []
    if others:
        name, made_for, given = others[0]
        log.warning("scores are raw: the model's calibration is for %s %s, not %s", option_name(name), made_for, given)
    return calibration_of(value) if value and not others else None


def read_own_value(metadata: Mapping[str, str]) -> Mapping[str, Any] | None:
    """The value under KEY; None where there is none. Raises ModelError where it is broken."""
    if KEY not in metadata:
        return None
    try:
        value: Mapping[str, Any] = orjson.loads(metadata[KEY])
        if value["version"] != VERSION:
            raise ValueError(f"version {value['version']!r}, read is {VERSION}")
        calibration_of(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"the model's own calibration is broken ({error!r}); add --no-calibration") from error
    return value


def calibration_of(value: Mapping[str, Any]) -> Calibration:
    """The calibration in a JSON value. Raises KeyError, TypeError, ValueError and AttributeError where it is broken."""
    knots = tuple(Knot(float(score), float(probability)) for score, probability in value["map"])
    rising = all(one.score < other.score and one.probability <= other.probability for one, other in pairwise(knots))
    if not (knots and rising and knots[0].probability >= 0 and knots[-1].probability <= 1):
        raise ValueError("its map does not rise from 0 to 1")
    thresholds = {str(label): float(score) for label, score in value["thresholds"].items()}
    return Calibration(ScoreMap(knots), thresholds, tuple(map(str, value.get("labels", ()))))


def _check(path: Path, value: Mapping[str, Any], files: Sequence[Path], digest: str, asked: Mapping[str, str]) -> None:
    if value["model"]["fingerprint"] != digest:
        made_for, given = " with ".join(value["model"]["files"]), " with ".join(path.name for path in files)
        raise ModelError(f"{path}: was made for another model ({made_for}) than {given}; {_REMEDY}")
    for name, made_for, given in _others(value, asked):
        raise ModelError(f"{path}: was made for {option_name(name)} {made_for}, not {given}; {_REMEDY}")


def _others(value: Mapping[str, Any], asked: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """The options in which a calibration was made otherwise: name, its value there, and here."""
    both = ((name, str(value.get(name, _UNSET)), asked.get(name, _UNSET)) for name in ASKED)
    return [(name, made_for, given) for name, made_for, given in both if made_for != given]


_REMEDY = "run `genner calibrate` for this one, or add --no-calibration"


def _broken(path: Path, what: str) -> ModelError:
    return ModelError(f"{path}: is not a calibration ({what}); run `genner calibrate` again, or remove it")
