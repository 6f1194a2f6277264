"""Named entity recognition with generative language models, offline, in batch, on one's own machine."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["Extractor", "extract", "run"]


def __getattr__(name: str) -> Any:
    """The names are loaded when they are first asked for: importing the package loads no model library."""
    if name in __all__:
        from genner_cli import api

        return getattr(api, name)
    raise AttributeError(name)
