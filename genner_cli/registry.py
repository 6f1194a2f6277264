"""A package in which each module is one implementation -> a mapping of their names to them.

A module is found by its file and imported when its value is first needed, so that names cost nothing and adding an
implementation touches no other file. Subpackages and names with a leading underscore are left out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, MutableSequence
from importlib import import_module
from typing import TypeVar, cast

T = TypeVar("T")


class Registry(Mapping[str, T]):
    """The `FORMAT` of each module in a package, by the module's name with dashes for underscores, in order of names."""

    def __init__(self, package: str, folders: MutableSequence[str]) -> None:
        """`folders`: the package's `__path__`; files that appear there later are found too."""
        self._package, self._folders = package, folders
        self._loaded: dict[str, T] = {}

    def __iter__(self) -> Iterator[str]:
        files = {file for folder in self._folders for file in os.listdir(folder) if not file.startswith("_")}
        return iter(sorted(file.removesuffix(".py").replace("_", "-") for file in files if file.endswith(".py")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __getitem__(self, name: str) -> T:
        if name not in self._loaded:
            if name not in list(self):
                raise KeyError(name)
            module = import_module(f"{self._package}.{name.replace('-', '_')}")
            self._loaded[name] = cast(T, module.FORMAT)
        return self._loaded[name]
