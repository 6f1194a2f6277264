"""The results of `quality.py` -> tables, for the terminal and as Markdown. Knows nothing of models and sets' files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from quality_scores import f1
from quality_sets import SETS
from rich import box
from rich.table import Table

CROSSNER = "crossner_"
NONE = "-"
FEW_SHOT = "few-shot"
PEERS = {
    FEW_SHOT: "few-shot model", "crf": "CRF", "gazetteer": "gazetteer", "spacy": "spaCy en_core_web_sm",
    "gliner_small": "GLiNER-small's architecture",
}  # fmt: skip
"""What is no model of genner's, and what it is called."""
Results = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: its title, the names of its columns, and its cells."""

    title: str
    columns: tuple[str, ...]
    cells: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """As GitHub reads it."""
        lines = [self.columns, tuple("---" for _ in self.columns), *self.cells]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in self.columns:
            table.add_column(column, no_wrap=True)
        for line in self.cells:
            table.add_row(*line)
        return table


def tables(results: Results) -> Iterator[Rows]:
    """All that the results have."""
    if sets := results.get("sets"):
        yield _sets(sets, results)
        yield _calibration(sets)
    if obedience := results.get("obedience"):
        yield _obedience(obedience)
    if speed := results.get("speed"):
        yield _speed(speed)
    if both := results.get("transformers"):
        numbers = (f"{100 * both['f1'][name]:.2f}" for name in ("gguf", "transformers"))
        title = f"The same model by llama.cpp and by transformers ({_where(both)})"
        yield Rows(title, ("F1 GGUF", "F1 transformers", "documents that differ"), ((*numbers, str(both["differ"])),))


def crossner_average(results: Results, system: str) -> float | None:
    """The mean F1 over the five domains; None where one is missing."""
    domains = [chosen.name for chosen in SETS if chosen.name.startswith(CROSSNER)]
    found = [results.get("sets", {}).get(name, {"systems": {}})["systems"].get(system) for name in domains]
    return sum(map(f1, found)) / len(found) if all(found) else None


def _sets(sets: Results, results: Results) -> Rows:
    found_in = dict.fromkeys(name for each in sets.values() for name in each["systems"])
    systems = sorted(found_in, key=lambda name: list(PEERS).index(name) if name in PEERS else -1)
    rows = []
    for name, each in sets.items():
        found = [_interval(each["systems"].get(system)) for system in systems]
        rows.append((name, each["split"], f"{each['documents']:,}", *found, _less(each.get("difference"))))
        if any("nested" in scored for scored in each["systems"].values()):
            inner = [_interval(each["systems"].get(system, {}).get("nested")) for system in systems]
            rows.append((f"{name}, nested", each["split"], f"{each['documents']:,}", *inner, NONE))
    averages = [crossner_average(results, system) for system in systems]
    if any(averages):
        numbers = (NONE if average is None else f"{100 * average:.1f}" for average in averages)
        rows.append(("crossner, average", "", "", *numbers, NONE))
    columns = ("set", "split", "documents", *(PEERS.get(system, system) for system in systems), "genner - CRF")
    sample = f"; samples of {results['sample']} documents at most, no final figures" if results["sample"] else ""
    return Rows(f"Strict micro F1 (95 % interval){sample}", columns, tuple(rows))


def _calibration(sets: Results) -> Rows:
    models = list(dict.fromkeys(model for each in sets.values() for model in each["calibration_error"]))
    errors = {name: each["calibration_error"] for name, each in sets.items()}
    rows = ((name, *(f"{of[model]:.3f}" if model in of else NONE for model in models)) for name, of in errors.items())
    return Rows("Expected calibration error of the scores of what is kept", ("set", *models), tuple(rows))


def _obedience(obedience: Results) -> Rows:
    """A column for each model: labels alone, what is found for a label alone, and recall among many labels."""
    models = obedience["models"]
    first = next(iter(models.values()))
    rows = [
        (f"{label} alone against it among all: F1", *(f"{100 * each['labels'][label]:.1f}" for each in models.values()))
        for label in first["labels"]
    ]
    label, gold = first["kinds"]["label"], first["kinds"]["gold"]
    found = [each["kinds"]["found"] for each in models.values()]
    for kind in dict.fromkeys(kind for counts in found for kind in counts):
        counts = (str(each.get(kind, 0)) for each in found)
        rows.append((f"found for {label} alone ({gold} are), gold: {kind}", *counts))
    for title, key in (("recall", "alone"), (f"recall among {first['many']['labels']} labels", "among_many")):
        rows.append((title, *(f"{100 * each['many'][key]:.1f}" for each in models.values())))
    return Rows(f"Label obedience ({_where(obedience)})", ("", *models), tuple(rows))


def _interval(scored: Results | None) -> str:
    if not scored:
        return NONE
    low, value, high = (f"{100 * scored['micro']['f1'][part]:.1f}" for part in ("low", "value", "high"))
    return f"{value} ({low} to {high})"


def _less(compared: Results | None) -> str:
    if not compared:
        return NONE
    value, low, high = (f"{100 * compared['difference'][part]:+.1f}" for part in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _speed(speed: Results) -> Rows:
    genner = speed["systems"]["genner"]["sentences_per_second"]
    rows = []
    for name, each in speed["systems"].items():
        low, high = each["range"]
        rate = each["sentences_per_second"]
        rows.append((PEERS.get(name, name), f"{rate:.1f} ({low:.1f} to {high:.1f})", f"{genner / rate:.2f}"))
    title = f"Speed: {speed['sentences']} sentences of {speed['set']} {speed['split']}, threads: {speed['threads']}"
    return Rows(title, ("", "sentences per second (range)", "genner is faster by"), tuple(rows))


def _where(part: Results) -> str:
    return f"{part['set']} {part['split']}, {part['documents']:,} documents"
