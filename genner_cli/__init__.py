"""Named entity recognition with generative language models, offline, in batch, on one's own machine."""

from __future__ import annotations

from typing import Any

from genner_cli.version import __version__ as __version__

__all__ = ["Extractor", "Label", "extract", "run"]


def __getattr__(name: str) -> Any:
    """The names are loaded when they are first asked for: importing the package loads no model library."""
    if name in __all__:
        from genner_cli import api

        return getattr(api, name)
    raise AttributeError(name)
