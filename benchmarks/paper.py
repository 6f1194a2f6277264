"""The data of docs/paper.md: samples to train and to measure on, and tasks for what a model still knows.

    python benchmarks/paper.py --ner NER --text TEXT -o paper/

The same files each time. The page has the commands that read them.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from genner_cli.files.streams import text_lines

SET = "btc"
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
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR", help="sets, as quality.py reads them")
    parser.add_argument("--text", type=Path, required=True, metavar="DIR", help="novels and wikinews, .jsonl.zst")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR")
    args = parser.parse_args()
    tasks = args.output / "tasks"
    tasks.mkdir(parents=True, exist_ok=True)
    train, valid = (_shuffled(args.ner / SET / f"{split}.jsonl.gz") for split in ("train", "valid"))
    for name, rows in (("train", train[:TRAIN]), ("valid", valid[:VALID]), ("pool", valid[VALID:])):
        _write(args.output / f"{name}.jsonl", rows)
    (args.output / "labels.yaml").write_text(LABELS, encoding="utf-8")
    passages = [
        passage
        for name, count in PASSAGES.items()
        for passage in random.Random(0).sample(list(_passages(args.text / f"{name}.jsonl.zst")), count)
    ]
    _write(tasks / "prose.jsonl", [{"text": passage} for passage in passages])
    _write(tasks / "last_word.jsonl", [_question(passage, number) for number, passage in enumerate(passages)])
    (tasks / "last_word.yaml").write_text(CLOZE, encoding="utf-8")
    (tasks / "prose.yaml").write_text(PROSE, encoding="utf-8")


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
