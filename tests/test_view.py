"""`genner view`: a whole page or none, the same on the terminal, and errors in a line or a few."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Run
from hypothesis import given
from rich.console import Console
from strategies import Case, cases, examples

from genner_cli.commands.marking import marked
from genner_cli.commands.terminal import printable
from genner_cli.scoring import evaluate
from genner_cli.types import Document, Entity, Extraction
from genner_cli.view.page import page
from genner_cli.view.viewed import Viewed

Genner = Callable[..., Run]
TEXT = "Ann met Bob Stone in New York."


def entity(start: int, end: int, label: str, score: float | None = None, text: str = TEXT) -> dict[str, Any]:
    return {"start": start, "end": end, "label": label, "text": text[start:end], "score": score}


ANN, BOB = entity(0, 3, "PER", 0.9), entity(8, 11, "PER", 0.4)
RECORD = {"id": "a", "text": TEXT, "entities": [ANN, BOB, entity(21, 29, "ORG"), entity(21, 24, "LOC")]}
GOLD = {"id": "a", "text": TEXT, "entities": [ANN, entity(8, 17, "PER"), entity(21, 29, "LOC"), entity(4, 7, "ACT")]}
FAILED = {"id": "f", "text": TEXT, "entities": [], "error": {"message": "too long"}}


def write(path: Path, *records: Any) -> Path:
    lines = (record if isinstance(record, str) else json.dumps(record) for record in records)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_a_page_is_written_whole(genner: Genner, tmp_path: Path) -> None:
    predictions = write(tmp_path / "pred.jsonl", RECORD, FAILED)
    run = genner("view", predictions, "-o", tmp_path / "page.html")
    size = (tmp_path / "page.html").stat().st_size
    said = f"{tmp_path / 'page.html'}: {size:,} bytes written\n2 documents, 4 entities, 1 failed\n"
    assert (run.status, run.stdout, run.stderr) == (0, b"", said)
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert page.endswith("</html>\n")
    assert genner("view", predictions, "-o", "-").stdout.decode() == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "pred.jsonl"]


def test_what_goes_wrong_on_the_way_leaves_an_older_page_as_it_was(genner: Genner, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("before")
    predictions = write(tmp_path / "pred.jsonl", RECORD, {**RECORD, "id": "b"})
    run = genner("view", predictions, "--gold", write(tmp_path / "gold.jsonl", GOLD), "-o", page)
    assert run.status == 1
    assert re.search(f"{predictions}:2: document 'b' .*{tmp_path / 'gold.jsonl'}:1", run.stderr)
    assert page.read_text() == "before"


def test_the_limit_is_of_documents_and_gold_may_have_more(genner: Genner, tmp_path: Path) -> None:
    predictions = write(tmp_path / "pred.jsonl", RECORD, {**RECORD, "id": "b"})
    gold = write(tmp_path / "gold.jsonl", GOLD, {**GOLD, "id": "b"}, {**GOLD, "id": "c"})
    run = genner("view", predictions, "--gold", gold, "--limit", 1, "-o", tmp_path / "page.html")
    assert (run.status, run.stderr.splitlines()[-1]) == (0, "1 document, 4 entities, 0 failed")
    run = genner("view", predictions, "--gold", gold, "-o", tmp_path / "page.html")
    assert run.status == 1
    assert re.search(f"{gold}:3: document 'c' .*{predictions}:2", run.stderr)


def test_a_large_page_is_written_with_a_warning(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genner_cli.view.page.LARGE", 1000)
    run = genner("view", write(tmp_path / "pred.jsonl", RECORD), "-o", tmp_path / "page.html")
    assert run.status == 0
    assert "--limit" in run.stderr
    assert (tmp_path / "page.html").exists()


def test_records_that_cannot_be_read_are_shown_and_counted_and_change_the_exit_status(
    genner: Genner, tmp_path: Path
) -> None:
    predictions = write(tmp_path / "pred.jsonl", RECORD, "{oops")
    run = genner("view", predictions, "-o", tmp_path / "page.html")
    assert run.status == 1
    assert "\n2 documents, 4 entities, 0 failed, 1 " in run.stderr
    assert f"{predictions}:2: not JSON" in (tmp_path / "page.html").read_text(encoding="utf-8")
    shown = genner("view", predictions, "--terminal")
    assert shown.status == 1
    assert f"failed: {predictions}:2: not JSON" in shown.stdout.decode()
    assert genner("view", predictions, "--gold", write(tmp_path / "gold.jsonl", GOLD), "--terminal").status == 1


def test_bad_gold_is_refused_with_its_problems(genner: Genner, tmp_path: Path) -> None:
    bad = [{**GOLD, "entities": [{**ANN, "end": 99}]} for _ in range(7)]
    gold = write(tmp_path / "gold.jsonl", *bad)
    run = genner("view", write(tmp_path / "pred.jsonl", RECORD), "--gold", gold, "--terminal")
    assert (run.status, run.stdout) == (1, b"")
    assert f"genner: {gold}:1: entities[0]: 0:99 " in run.stderr
    assert f"{gold}:4, ...)" in run.stderr
    assert "7 problems" in run.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("pred.jsonl",), "-o page.html or --terminal"),
        (("pred.jsonl", "--terminal", "-o", "page.html"), "-o page.html or --terminal"),
        (("pred.jsonl", "-o", "page.pdf"), r"page\.pdf: .*\.html"),
        (("none.jsonl", "--terminal"), "none.jsonl: no such file"),
        (("pred.jsonl", "--gold", "none.jsonl", "--terminal"), "none.jsonl: no such file"),
        (("notes.txt", "--terminal"), r"notes\.txt: .*no entities"),
        (("notes.txt", "-o", "page.html"), r"notes\.txt: .*no entities; name the output of"),
    ],
)
def test_a_wrong_call_is_one_line(
    genner: Genner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "pred.jsonl", RECORD)
    write(tmp_path / "notes.txt", "Ann.")
    run = genner("view", *arguments)
    assert (run.status, run.stdout) == (2, b"")
    assert re.search(said, run.stderr)
    assert run.stderr.count("\n") == 1
    assert not list(tmp_path.glob("page.html*"))


def test_the_terminal_shows_brackets_and_labels(genner: Genner, tmp_path: Path) -> None:
    run = genner("view", write(tmp_path / "pred.jsonl", RECORD, FAILED), "--terminal")
    assert run.status == 0
    assert run.stdout.decode() == (
        "a  4 entities\n"
        "[Ann | PER] met [Bob | PER] Stone in [[New | LOC] York | ORG].\n\n"
        f"f  0 entities\nfailed: too long\n{TEXT}\n\n"
    )


def test_the_terminal_shows_differences_to_gold(genner: Genner, tmp_path: Path) -> None:
    gold = write(tmp_path / "gold.jsonl", GOLD)
    run = genner("view", write(tmp_path / "pred.jsonl", RECORD), "--gold", gold, "--terminal")
    assert run.status == 0
    assert run.stdout.decode() == (
        "a  ✓ 1 hit  ≠ 1 wrong label  ↔ 1 wrong boundary  + 1 spurious  − 1 missed\n"
        "[Ann | ✓ PER] [met | − ACT] [Bob | ↔ PER, gold 8:17] Stone in"
        " [[New | + LOC] York | ≠ ORG, gold LOC].\n\n"
    )


def verdicts(html: str) -> Counter[str]:
    """How often the page's data has each verdict, missed gold included."""
    data = json.loads(html.split('id="data">')[1].split("</script>")[0])
    names = [name for name, _ in data["verdicts"]]
    found: Counter[str] = Counter()
    for document in data["documents"]:
        judged = [entity[4:] for entity in document["entities"]]
        found.update(names[verdict] for verdict, *_ in judged)
        found["missed"] += len(document["gold"]) - len({at for _, *met in judged for at in met})
    return found


NAMES = "John Smith of Acme Labs met Ann Lee."
MET = {
    "id": "a",
    "text": NAMES,
    "entities": [entity(0, 4, "PER", text=NAMES), entity(5, 10, "PER", text=NAMES), entity(14, 18, "LOC", text=NAMES)],
}
MEANT = {
    "id": "a",
    "text": NAMES,
    "entities": [
        entity(0, 10, "PER", text=NAMES),
        entity(14, 23, "ORG", text=NAMES),
        entity(28, 35, "PER", text=NAMES),
    ],
}
COUNTED = {"wrong boundary": 1, "wrong label and boundary": 1, "spurious": 1, "missed": 1}


def test_verdicts_are_those_of_evaluate(genner: Genner, tmp_path: Path) -> None:
    """`John` and `Smith` for `John Smith`: one of them stands for it, and the other for nothing."""
    predictions, gold = write(tmp_path / "pred.jsonl", MET), write(tmp_path / "gold.jsonl", MEANT)
    evaluated = json.loads(genner("evaluate", gold, "-p", predictions, "--json").stdout)
    assert {name: each["count"] for name, each in evaluated["errors"].items() if each["count"]} == COUNTED
    assert genner("view", predictions, "--gold", gold, "-o", tmp_path / "page.html").status == 0
    assert +verdicts((tmp_path / "page.html").read_text(encoding="utf-8")) == COUNTED
    shown = genner("view", predictions, "--gold", gold, "--terminal").stdout.decode()
    assert shown == (
        "a  ↔ 1 wrong boundary  ✗ 1 wrong label and boundary  + 1 spurious  − 1 missed\n"
        "[John | ↔ PER, gold 0:10] [Smith | + PER] of [Acme | ✗ LOC, gold ORG 14:23] Labs met [Ann Lee | − PER].\n\n"
    )


@examples(100)
@given(gold=cases(), predicted=cases())
def test_whatever_the_entities_the_page_counts_what_evaluate_counts(gold: Case, predicted: Case) -> None:
    golden, found = (tuple(dict.fromkeys(e for e in case.entities if e.start < e.end)) for case in (gold, predicted))
    counted = evaluate([Extraction(Document("x", entities=golden), found)], resamples=0)
    html = b"".join(page([Viewed("x", predicted=found, gold=golden)], title="x", gold="y")).decode()
    expected = {error.value: errors.count for error, errors in counted.errors.items()}
    hits = len(set(golden) & set(found))
    assert +verdicts(html) == +Counter({**expected, "hit": hits})


def shown(document: Viewed, **options: Any) -> str:
    console = Console(file=io.StringIO(), width=10_000, highlight=False, soft_wrap=True, **options)
    console.print(marked(document))
    file = console.file
    assert isinstance(file, io.StringIO)
    return file.getvalue()


def test_entities_that_cross_have_numbers() -> None:
    text = "a b c d"
    entities = (Entity(0, 3, "X", "a b"), Entity(2, 5, "X", "b c"), Entity(4, 5, "Y", "c"), Entity(6, 7, "Y", "d"))
    assert "[1 a [2 b | 1 X] [c | Y] | 2 X] [d | Y]" in shown(Viewed(text, "d", entities))


def test_colours_are_there_only_where_they_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    document = Viewed("Ann met.", "d", (Entity(0, 3, "PER", "Ann"),))
    monkeypatch.delenv("NO_COLOR", raising=False)
    coloured = shown(document, force_terminal=True, color_system="truecolor")
    assert "\x1b[" in coloured
    assert "48;2;" in coloured
    assert "\x1b[" not in shown(document)
    monkeypatch.setenv("NO_COLOR", "1")
    assert "48;2;" not in shown(document, force_terminal=True, color_system="truecolor")


def test_a_document_cannot_steer_the_terminal() -> None:
    hostile = "\x1b]0;owned\x07 \x9b31m \u202egnp.exe [bold]x[/bold] :smile:"
    document = Viewed(hostile, hostile, (Entity(0, 4, hostile, hostile[:4]),), error=hostile)
    told = shown(document)
    assert not set("\x1b\x07\x9b\u202e") & set(told)
    assert "[bold]x[/bold] :smile:" in told
    assert "\\x1b" in told


@pytest.mark.parametrize(
    "text", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\U0001f468\u200d\U0001f33e", "10\u00a0km"]
)
def test_what_words_are_joined_by_is_shown_as_it_is(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize("char", ["\x1b", "\x85", "\n", "\u2028", "\u202e", "\u2067", "\ud800"])
def test_what_steers_is_shown_as_an_escape(char: str) -> None:
    shown_text = printable(f"a{char}b")
    assert char not in shown_text
    assert shown_text.startswith("a\\")
    assert printable(char, keep=char) == char


@examples(100)
@given(case=cases())
def test_taking_the_marks_away_leaves_the_text(case: Case) -> None:
    """Labels and brackets of the marks alone are added, in whatever way entities lie."""
    there = {
        e for e in case.entities if 0 <= e.start < e.end <= len(case.text) and e.text == case.text[e.start : e.end]
    }
    plain = "".join(c if c not in "[|]" else "." for c in case.text if c.isprintable())
    entities = tuple(Entity(e.start, e.end, "L", plain[e.start : e.end]) for e in there if e.end <= len(plain))
    told = marked(Viewed(plain, "d", entities)).plain.split("\n", 1)[1].rstrip("\n")
    opened = told.count("[")
    assert opened == told.count("]") == told.count("|") == len(entities)
