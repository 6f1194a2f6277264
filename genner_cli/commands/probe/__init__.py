"""`genner probe`: the experiments of arXiv 2601.17898, on one's own data and models."""

from __future__ import annotations

from genner_cli.commands.lazy import LazyGroup, group


class _Commands(LazyGroup):
    package = __name__
    summaries = {  # noqa: RUF012
        "formats": "Train a base model once for each output format, and measure each with all three constraints.",
        "memorization": "Train with label names, symbols, and explained symbols; and swap entities for unseen ones.",
        "retention": "Ask a base model the same questions before and after an adapter.",
        "constraint": "Measure one model with constraint off, format and source on the same documents, in pairs.",
    }


probe = group(_Commands, "Repeat the experiments of the paper (arXiv 2601.17898) on your own data and models.")
