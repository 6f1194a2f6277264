"""`genner calibrate`, and `genner extract` obeying what it wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from conftest import Run
from resuming import SCORE_NOISE
from scored import planted_scores, scored_extractions

from genner_cli import hub
from genner_cli.calibration import calibration_tables, fit
from genner_cli.commands.terminal import show
from genner_cli.engine.gguf_header import read_header
from genner_cli.files.calibrations import SUFFIX, own_calibration, read_calibration
from genner_cli.files.hashing import fingerprint

Genner = Callable[..., Run]
WEB = Path(__file__).parent / "web" / "gold.jsonl"
DOCUMENTS = 70
"""Enough sentences to learn from."""
FEW = 30
"""Enough of them that a calibration drops an entity."""
TYPES = ("--types", "PER,ORG,LOC")


def first(count: int, path: Path) -> Path:
    path.write_bytes(b"".join(WEB.read_bytes().splitlines(keepends=True)[:count]))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calibrate")


@pytest.fixture(scope="module")
def gold(folder: Path) -> Path:
    return first(DOCUMENTS, folder / "gold.jsonl")


@pytest.fixture(scope="module")
def few(folder: Path) -> Path:
    return first(FEW, folder / "few.jsonl")


@pytest.fixture(scope="module")
def done() -> dict[tuple[object, ...], Run]:
    """Commands that were run, with what they left behind."""
    return {}


@pytest.fixture
def plainly(genner: Genner, done: dict[tuple[object, ...], Run]) -> Genner:
    """Runs a command with the bundled model and without calibration, once for all tests."""

    def run(*args: object) -> Run:
        if args not in done:
            done[args] = genner(*args, *TYPES, "--no-calibration")
            assert done[args].status == 0, done[args].stderr
        return done[args]

    return run


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The bundled model where a file may be written beside it."""
    path = tmp_path / "model.gguf"
    path.write_bytes(hub.BUNDLED.read_bytes())
    return path


def test_a_calibration_stands_beside_the_model_and_is_obeyed(
    genner: Genner, plainly: Genner, gold: Path, few: Path, model: Path
) -> None:
    run = genner("calibrate", gold, "--model", model, *TYPES, "--precision", 0.8)
    assert run.status == 0, run.stderr
    path = model.with_name(model.name + SUFFIX)
    text = run.stdout.decode()
    assert "calibration error" in text
    assert f"written to {path}" in text
    written = orjson.loads(path.read_bytes())
    assert written["measured"]["documents"] == DOCUMENTS
    assert written["aim"] == {"precision": 0.8}
    calibration = read_calibration(path, [model], fingerprint([model]), {"format": "inserted", "constraint": "source"})

    plain = plainly("extract", few)
    obeyed = genner("extract", few, "--model", model, *TYPES)
    assert obeyed.status == 0
    dropped = 0
    for before, after in zip(plain.records, obeyed.records, strict=True):
        over = [(e, e["score"] - calibration.thresholds.get(e["label"], 0.0)) for e in before["entities"]]
        close = [(e["start"], e["end"]) for e, by in over if abs(by) <= SCORE_NOISE]  # may be dropped, or not
        kept = [e for e, by in over if by > SCORE_NOISE]
        dropped += len(over) - len(close) - len(kept)
        expected = [{**e, "score": pytest.approx(calibration.map(e["score"]), abs=5e-3)} for e in kept]
        assert [e for e in after["entities"] if (e["start"], e["end"]) not in close] == expected
    assert dropped > 0

    strict = genner("extract", few, "--model", model, *TYPES, "--min-score", 0.5)
    wanted = [
        [{**e, "score": pytest.approx(e["score"], abs=5e-3)} for e in record["entities"] if e["score"] >= 0.5]
        for record in obeyed.records
    ]
    assert [record["entities"] for record in strict.records] == wanted

    other = model.with_name("other.gguf")
    other.write_bytes(model.read_bytes()[:-1] + b"\1")
    refused = genner("extract", few, "--model", other, "--calibration", path)
    assert (refused.status, refused.stdout) == (1, b"")
    assert re.search(r"\(model\.gguf\) .*other\.gguf", refused.stderr)
    refused = genner("extract", few, "--model", model, "--format", "xml")
    assert refused.status == 1
    assert re.search("--format inserted, not xml; .*--no-calibration", refused.stderr)


def test_a_precision_is_aimed_at_and_the_file_may_be_named(
    genner: Genner, plainly: Genner, gold: Path, tmp_path: Path
) -> None:
    path = tmp_path / "careful.json"
    run = genner("calibrate", gold, *TYPES, "--precision", 0.8, "-o", path)
    assert run.status == 0, run.stderr
    found = orjson.loads(path.read_bytes())
    assert found["aim"] == {"precision": 0.8}
    location = found["measured"]["thresholds"]["LOC"]
    assert location["hit"] / (location["hit"] + location["spurious"]) >= 0.8
    careful = genner("evaluate", gold, *TYPES, "--calibration", path, "--json")
    plain = plainly("evaluate", gold, "--json")
    precisions = [orjson.loads(each.stdout)["micro"]["precision"]["value"] for each in (careful, plain)]
    assert precisions[0] > precisions[1] + 0.05


def test_the_bundled_model_brings_a_calibration_that_raises_f1(
    genner: Genner, plainly: Genner, gold: Path, few: Path, tmp_path: Path
) -> None:
    own = own_calibration(read_header(hub.BUNDLED).metadata, {"format": "inserted", "constraint": "source"})
    assert own
    assert own.thresholds.keys() == {"PER", "ORG", "LOC"}
    plain, used = plainly("extract", few), genner("extract", few, *TYPES)
    for before, after in zip(plain.records, used.records, strict=True):
        over = [(e, e["score"] - own.thresholds[e["label"]]) for e in before["entities"]]
        close = [(e["start"], e["end"]) for e, by in over if abs(by) <= SCORE_NOISE]
        kept = [{**e, "score": pytest.approx(own.map(e["score"]), abs=5e-3)} for e, by in over if by > SCORE_NOISE]
        assert [e for e in after["entities"] if (e["start"], e["end"]) not in close] == kept
    raw, calibrated = plainly("evaluate", gold, "--json"), genner("evaluate", gold, *TYPES, "--json")
    figures = [orjson.loads(each.stdout)["micro"] for each in (raw, calibrated)]
    assert figures[1]["precision"]["value"] > figures[0]["precision"]["value"]
    some = first(8, tmp_path / "some.jsonl")
    among = [genner("extract", some, "--types", "PER,ORG,LOC,plant", *more) for more in (["--no-calibration"], [])]
    assert among[0].records == among[1].records, "it does not hold where other labels are asked for"
    assert any(record["entities"] for record in among[0].records)
    other = genner("extract", gold, *TYPES, "--format", "xml", "--limit", 1)
    assert other.status == 0
    assert "--format inserted, not xml" in other.stderr


def test_what_is_not_reached_or_would_not_help_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    never = fit(scored_extractions(planted_scores(300, lambda score: 0.5)), precision=0.95)
    show(calibration_tables(never, 0.95))
    assert "below 0.95" in capsys.readouterr().out
    useless = [fit(scored_extractions(planted_scores(100, lambda score: 0.5, seed=seed))) for seed in range(9)]
    show(calibration_tables(next(found for found in useless if not found.thresholds), None))
    assert "thresholds would not help: all entities are kept" in capsys.readouterr().out
    right = [fit(scored_extractions(planted_scores(60, lambda score: score, seed=seed))) for seed in range(20)]
    show(calibration_tables(next(found for found in right if found.error_after >= found.error_before), None))
    assert "calibration would not help: scores are unchanged" in capsys.readouterr().out


def test_the_bundled_models_folder_gets_no_file_unless_asked(genner: Genner, tmp_path: Path) -> None:
    """Beside it, all runs would use the file."""
    run = genner("calibrate", WEB)
    assert (run.status, run.stdout) == (2, b"")
    assert "-o" in run.stderr
    assert not hub.BUNDLED.with_name(hub.BUNDLED.name + SUFFIX).exists()


def test_a_label_that_gold_may_have_by_another_name_is_refused(genner: Genner, tmp_path: Path) -> None:
    renamed = tmp_path / "gold.jsonl"
    renamed.write_text(WEB.read_text("utf-8").replace('"PER"', '"person"'), "utf-8")
    run = genner("calibrate", renamed, "--types", "PER,ORG,LOC", "-o", tmp_path / "made.json")
    assert (run.status, run.stdout) == (2, b"")
    assert "has the label PER, and some have person" in run.stderr
    assert not (tmp_path / "made.json").exists()


def test_too_few_documents_are_refused_before_anything_is_extracted(genner: Genner, tmp_path: Path) -> None:
    run = genner("calibrate", first(3, tmp_path / "three.jsonl"), "-o", tmp_path / "made.json", "--model", "none.gguf")
    assert (run.status, run.stdout) == (1, b"")
    assert "50 in 5 documents" in run.stderr


def test_for_other_labels_it_is_left_out_where_it_stands_and_refused_where_it_is_named(
    genner: Genner, model: Path, few: Path, gold: Path
) -> None:
    path = model.with_name(model.name + SUFFIX)
    assert genner("calibrate", gold, "--model", model, *TYPES, "--precision", 0.8).status == 0
    assert orjson.loads(path.read_bytes())["labels"] == ["PER", "ORG", "LOC"]
    assert f"calibrated by  {path}: where only PER, ORG, LOC are asked for" in genner("info", model).stdout.decode()

    fewer = genner("extract", few, "--model", model, "--types", "PER")
    assert (fewer.status, path.name in fewer.stderr) == (0, False)
    more = ("--types", "PER,ORG,LOC,TIME")
    left_out = genner("extract", few, "--model", model, *more)
    assert left_out.status == 0
    assert f"{path}: is for PER, ORG, LOC, and TIME asked for too; it is left out" in left_out.stderr
    assert left_out.records == genner("extract", few, *more).records
    named = genner("extract", few, "--model", model, *more, "--calibration", path)
    assert (named.status, named.stdout) == (2, b"")
    assert "TIME" in named.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["calibrate", WEB, "--precision", "1.5"], "--precision"),
        (["calibrate", WEB, "--precision", "0.5", "--predictions", WEB, "-o", "roles.json"], "--precision"),
        (["calibrate", WEB, "-o", "x.yaml"], "x.yaml: unknown kind"),
        (["calibrate", "none.jsonl"], "none.jsonl: no such file"),
        (["extract", WEB, "--calibration", "none.json"], "none.json: cannot be read"),
        (
            ["extract", WEB, "--calibration", "x.json", "--no-calibration"],
            "--calibration cannot be combined with --no-calibration",
        ),
    ],
)
def test_a_wrong_call_says_what_is_wrong(genner: Genner, args: list[object], message: str) -> None:
    run = genner(*args)
    assert (run.status, run.stdout) == (2, b"")
    assert message in run.stderr
