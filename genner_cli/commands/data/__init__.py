"""`genner data`: labelled data converted, counted, split, relabelled and checked; shards joined."""

from __future__ import annotations

from genner_cli.commands.lazy import LazyGroup, group


class _Commands(LazyGroup):
    package = __name__
    summaries = {  # noqa: RUF012
        "convert": "Convert labelled data from one annotation format to another.",
        "stats": "Count documents, characters and entities by label; lengths, nesting, and documents without entities.",
        "split": "Split documents into train, valid and test, by label, with near-duplicates in the same split.",
        "folds": "Predict labelled documents, each by a model trained on the others (cross-validation).",
        "relabel": "Rename labels, merge them, or drop them; or draw a label list for each document.",
        "check": "Look for wrong offsets, duplicates, leaks between files, and inconsistent annotations.",
        "sample": "Choose the documents to annotate next: the least certain ones, from all labels alike.",
        "preferences": "Pair better with worse answers, to train on with genner train.",
        "merge": "Join the outputs of all shards of a run into the output of the same run without shards.",
    }


data = group(_Commands, "Convert, count, split, relabel and check labelled data; join shards.")
