"""The plan of synthetic data, as a YAML file that a person may edit: what sentences are about, and what they name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import yaml

from genner_cli.errors import UsageError
from genner_cli.files.settings import read_yaml
from genner_cli.files.whole import write_whole

NAMES_PER_SENTENCE = 1.5
_HEADER = "# What `genner synth` asks for. Edit it as you like, and run the same command again.\n"
_SHAPE = "write about, attributes (each with values and a share) and names (a list for each label)"
_KEYS = frozenset({"about", "names_per_sentence", "attributes", "names"})
_MOST_NAMES = 20


@dataclass(frozen=True, slots=True)
class Attribute:
    """A way in which sentences differ. `share`: how often one of the values stands in a request."""

    values: tuple[str, ...]
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What sentences are about. `names`: by label, those that sentences are asked to use, `names_per_sentence` of them
    on average."""

    about: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    names_per_sentence: float = NAMES_PER_SENTENCE

    def value(self) -> dict[str, Any]:
        """As a JSON value, in the shape of the file."""
        attributes = {
            name: {"share": each.share, "values": list(each.values)} for name, each in self.attributes.items()
        }
        names = {label: list(each) for label, each in self.names.items()}
        return {**asdict(self), "attributes": attributes, "names": names}


def write_plan(path: Path, plan: Plan) -> None:
    """Writes a plan, whole or not at all. Raises UsageError where it cannot be."""
    order = ("about", "names_per_sentence", "attributes", "names")
    value = {name: plan.value()[name] for name in order}
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=120)
    try:
        write_whole(path, _HEADER + text)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written ({error.strerror}); name another file") from error


def read_plan(path: str) -> Plan:
    """The plan of a file. Raises UsageError that names what is not as it should be."""
    value = read_yaml(path, yaml.safe_load, _SHAPE)
    if not isinstance(value, dict):
        raise UsageError(f"{path}: is not a plan; {_SHAPE}")
    unknown = [str(key) for key in value if key not in _KEYS]
    if unknown:
        raise UsageError(f"{path}: unknown key {unknown[0]!r}; the keys are {', '.join(sorted(_KEYS))}")
    about = value.get("about")
    if not isinstance(about, str) or not about.strip():
        raise UsageError(f"{path}: about is not a text; write there what the sentences are about")
    attributes = {name: _attribute(path, name, each) for name, each in _mapping(path, value, "attributes").items()}
    names = {label: _texts(path, each, f"names of {label}") for label, each in _mapping(path, value, "names").items()}
    per_sentence = _number(path, value.get("names_per_sentence", NAMES_PER_SENTENCE), "names_per_sentence", _MOST_NAMES)
    return Plan(" ".join(about.split()), attributes, names, per_sentence)


def _mapping(path: str, value: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key) or {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise UsageError(f"{path}: {key} is not a mapping of names; {_SHAPE}")
    return found


def _attribute(path: str, name: str, value: Any) -> Attribute:
    if not isinstance(value, dict) or value.keys() - {"share", "values"}:
        raise UsageError(f"{path}: attribute {name} is not of the form 'share: 0.5' and 'values: [...]'")
    values = _texts(path, value.get("values"), f"values of {name}")
    if not values:
        raise UsageError(f"{path}: attribute {name} has no values; list some, or remove it")
    return Attribute(values, _number(path, value.get("share", 1.0), f"the share of {name}", 1))


def _texts(path: str, value: Any, what: str) -> tuple[str, ...]:
    listed = value or []
    if not isinstance(listed, list) or not all(isinstance(each, str) and each.strip() for each in listed):
        raise UsageError(f"{path}: {what} are not a list of texts; put numbers, dates, yes and no in quotes")
    return tuple(dict.fromkeys(" ".join(each.split()) for each in listed))


def _number(path: str, value: Any, what: str, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
        raise UsageError(f"{path}: {what} is {value!r}, not a number from 0 to {most:g}")
    return float(value)
