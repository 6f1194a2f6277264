"""The data of docs/paper.md (samples to train and to measure on, tasks for what a model still knows), and its tables.

    python benchmarks/paper.py data --ner NER --text TEXT -o paper/
    python benchmarks/paper.py page paper/ docs/paper.md

The data are the same each time. The page has the commands that read them; the second command takes what these found in
paper/, and writes it below the line that names this script.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import write_below
from quality_tables import NONE, Rows

from genner_cli.files.streams import text_lines

SCRIPT = "benchmarks/paper.py"
PROBES = {
    "formats": "Formats (RQ1, RQ2)",
    "memorization": "Memorization (RQ3)",
    "retention": "Retention (RQ4): genner's own questions",
    "harness": "Retention (RQ4): by lm-evaluation-harness",
}
"""Folders of `genner probe`, and the titles of their tables."""
SET = "btc"
ACCURACY = ("accuracy", "acc")
"""Measures that are shown in percent."""
TRAIN, VALID = 1500, 300
"""Documents of the train split, and of the valid split; mentions to swap come from the rest of that."""
PASSAGES = {"novels": 150, "wikinews": 150}
"""How many each kind of text gives to each task."""
WORDS = 60
"""Of a passage, at least; the last one, of five letters and more, is to be found among four of the passage."""
LABELS = """\
PER: names of people, real or fictional
ORG: names of companies, institutions, teams and bands
LOC: names of countries, cities, rivers and other places
"""
OPTIONS = """\
loss: completion
rank: 32
alpha: 64
learning-rate: 0.0005
epochs: 1
batch-size: 16
dtype: bfloat16
"""
"""Of all trainings."""
CLOZE = """\
task: last_word
dataset_path: json
dataset_kwargs: {data_files: {test: last_word.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}]
"""
PROSE = """\
task: prose
dataset_path: json
dataset_kwargs: {data_files: {test: prose.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]
"""


def main() -> None:
    """Reads the command line and writes the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    data = commands.add_parser("data")
    data.add_argument("--ner", type=Path, required=True, metavar="DIR", help="sets, as quality.py reads them")
    data.add_argument("--text", type=Path, required=True, metavar="DIR", help="novels and wikinews, .jsonl.zst")
    data.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    page = commands.add_parser("page")
    page.add_argument("probes", type=Path, metavar="DIR", help="folder with those of PROBES that have been run")
    page.add_argument("page", type=Path, metavar="FILE")
    args = parser.parse_args()
    if args.command == "data":
        write_data(args.ner, args.text, args.output)
    else:
        write_below(args.page, SCRIPT, [table.markdown() for table in tables(args.probes)])


def write_data(ner: Path, text: Path, output: Path) -> None:
    """`output`: train.jsonl, valid.jsonl, pool.jsonl, labels.yaml, options.yaml and a folder tasks."""
    tasks = output / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    train, valid = (_shuffled(ner / SET / f"{split}.jsonl.gz") for split in ("train", "valid"))
    for name, rows in (("train", train[:TRAIN]), ("valid", valid[:VALID]), ("pool", valid[VALID:])):
        _write(output / f"{name}.jsonl", rows)
    (output / "labels.yaml").write_text(LABELS, encoding="utf-8")
    (output / "options.yaml").write_text(OPTIONS, encoding="utf-8")
    passages = [
        passage
        for name, count in PASSAGES.items()
        for passage in random.Random(0).sample(list(_passages(text / f"{name}.jsonl.zst")), count)
    ]
    _write(tasks / "prose.jsonl", [{"text": passage} for passage in passages])
    _write(tasks / "last_word.jsonl", [_question(passage, number) for number, passage in enumerate(passages)])
    (tasks / "last_word.yaml").write_text(CLOZE, encoding="utf-8")
    (tasks / "prose.yaml").write_text(PROSE, encoding="utf-8")


def tables(probes: Path) -> Iterator[Rows]:
    """Of the probes that have been run in these folders."""
    made = {"formats": _formats, "memorization": _memorization, "retention": _retention, "harness": _retention}
    for name, title in PROBES.items():
        results = probes / name / "results.json"
        if results.exists():
            yield made[name](title, json.loads(results.read_text("utf-8")))


def _formats(title: str, results: Mapping[str, Any]) -> Rows:
    columns = (
        "format",
        "constraint",
        "F1",
        "precision",
        "recall",
        "invalid documents",
        "invented",
        "tokens a document",
    )
    cells = (
        (format, constraint, *(_share(cell[rate]) for rate in ("f1", "precision", "recall")), *_wrong(cell))
        for format, row in results.items()
        for constraint, cell in row.items()
    )
    return Rows(title, columns, tuple(cells))


def _wrong(cell: Mapping[str, Any]) -> Iterator[str]:
    documents = cell["documents"]
    yield f"{100 * (cell['invalid'] + cell['failed']) / documents:.1f}"
    yield f"{100 * cell['invented'] / cell['claimed']:.1f}" if cell["claimed"] else NONE
    yield f"{cell['tokens'] / documents:.1f}"


def _memorization(title: str, results: Mapping[str, Any]) -> Rows:
    changes = results["changes"]
    cells = (
        (name, *(_share(cell[rate]) for rate in ("f1", "precision", "recall")),
         _share(changes[name]["f1"], sign="+") if name in changes else NONE)
        for name, cell in results["variants"].items()
    )  # fmt: skip
    return Rows(title, ("labels and entities", "F1", "precision", "recall", "F1 less that of named"), tuple(cells))


def _retention(title: str, results: Mapping[str, Any]) -> Rows:
    columns = ("task", "measure", "questions", "before", "after", "difference")
    tasks = ((name.removesuffix(f"/{each['measure']}"), *_retained(each)) for name, each in results.items())
    return Rows(title, columns, tuple(tasks))


def _retained(each: Mapping[str, Any]) -> Iterator[str]:
    shown = _share if each["measure"] in ACCURACY else _number
    yield each["measure"]
    yield str(each["questions"])
    yield from (shown(each[side]) for side in ("before", "after"))
    yield shown(each["difference"], sign="+")


def _share(estimate: Mapping[str, float], *, sign: str = "") -> str:
    """In percent."""
    return _number({name: 100 * value for name, value in estimate.items()}, sign=sign, digits=1)


def _number(estimate: Mapping[str, float], *, sign: str = "", digits: int = 3) -> str:
    value, low, high = (f"{estimate[name]:{sign}.{digits}f}" for name in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _shuffled(path: Path) -> list[Any]:
    rows = _rows(path)
    random.Random(0).shuffle(rows)
    return rows


def _rows(path: Path) -> list[Any]:
    return [json.loads(line) for _, line in text_lines(str(path))]


def _passages(path: Path) -> Iterator[str]:
    """The beginnings of paragraphs, up to the last word of WORDS, where that can be asked for."""
    for row in _rows(path):
        for paragraph in re.split(r"\n\s*\n", row["text"]):
            words = paragraph.split()
            if len(words) > WORDS and len(_others(words[:WORDS])) >= 3 and _is_plain(words[WORDS - 1]):
                yield " ".join(words[:WORDS])


def _is_plain(word: str) -> bool:
    return re.fullmatch("[a-z]{5,}", word) is not None


def _others(words: Sequence[str]) -> list[str]:
    """Words of the passage that may be confused with its last one, in the order of the text."""
    return [word for word in dict.fromkeys(words[:-1]) if _is_plain(word) and word != words[-1]]


def _question(passage: str, number: int) -> dict[str, Any]:
    words = passage.split()
    draw = random.Random(number)
    choices = [words[-1], *draw.sample(_others(words), 3)]
    draw.shuffle(choices)
    return {"question": " ".join(words[:-1]), "choices": choices, "answer": choices.index(words[-1])}


def _write(path: Path, rows: Sequence[Any]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
