"""Named entity recognition with generative language models, offline, in batch, on one's own machine."""

from __future__ import annotations

from typing import Any

__version__ = "0.1.0"
__all__ = ["extract"]


def __getattr__(name: str) -> Any:
    """`extract` is loaded when it is first asked for: importing the package loads no model library."""
    if name == "extract":
        from genner_cli.api import extract

        return extract
    raise AttributeError(name)
