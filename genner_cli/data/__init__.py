"""Labelled data in pure Python: offsets, tokens and tags; statistics, splitting, relabelling, checking.

Takes and gives the values of `genner_cli.types`. Knows nothing of files.
"""
