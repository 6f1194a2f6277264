"""The table of methods: for each, a figure with it, without it, and with a control, over three seeds.

    python benchmarks/methods.py                             planted models: seconds
    python benchmarks/methods.py --ensemble DIR --ner DIR    three fine-tunes of the bundled model on wikigold as well

The second fine-tunes, exports, extracts and judges in DIR, and takes what is there already from there.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import methods_planted
from methods_rows import table


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ensemble", type=Path, help="folder for three fine-tunes and what they extract")
    parser.add_argument("--ner", type=Path, help="folder of the data sets")
    options = parser.parse_args()
    sys.stdout.write(table(methods_planted.ROWS))
    if options.ensemble:
        if not options.ner:
            parser.error("--ensemble needs --ner DIR, the folder of the data sets")
        import methods_ensemble

        sys.stdout.write(f"\n{methods_ensemble.report(options.ensemble, options.ner)}")


if __name__ == "__main__":
    main()
