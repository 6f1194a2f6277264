"""examples/bundled_model/calibrate.py: what it fits, and what it leaves as it is in a GGUF."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from pathlib import Path

import calibrate
import numpy as np
import pytest
from gguf import GGUFReader
from gguf_metadata import with_pairs

from genner_cli import hub
from genner_cli.engine.gguf_header import check_whole, read_header
from genner_cli.files.calibrations import KEY, read_own_value
from genner_cli.types import Calibration, Knot, ScoreMap

WEB = Path(__file__).parents[1] / "web" / "gold.jsonl"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(hub.BUNDLED, tmp_path / "model.gguf"))


def tensors(path: Path) -> dict[str, tuple[int, bytes]]:
    return {each.name: (int(each.tensor_type), np.asarray(each.data).tobytes()) for each in GGUFReader(path).tensors}


def test_a_pair_more_leaves_weights_and_all_other_pairs_as_they_are(model: Path) -> None:
    before = {key: value for key, value in read_header(model, arrays=True).metadata.items() if key != KEY}
    weights = tensors(model)
    with_pairs(model, {KEY: "1"})
    with_pairs(model, {KEY: "2", "general.name": "other"})
    assert read_header(model, arrays=True).metadata == {**before, KEY: "2", "general.name": "other"}
    assert tensors(model) == weights
    check_whole(model)


def test_it_is_fitted_on_the_sets_and_written_into_the_model(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tensors(model)
    for name in calibrate.SETS:
        (tmp_path / name).mkdir()
        names = {"PER": "person", "ORG": "group", "LOC": "location"} if name == "wnut17" else {}
        with gzip.open(tmp_path / name / "valid.jsonl.gz", "wt", encoding="utf-8") as file:
            for number, line in enumerate(WEB.read_text("utf-8").splitlines()):
                record = json.loads(line) | {"id": str(number)}
                for entity in record["entities"]:
                    entity["label"] = names.get(entity["label"], entity["label"])
                file.write(json.dumps(record) + "\n")
    monkeypatch.setattr(sys, "argv", ["calibrate.py", str(model), "--ner", str(tmp_path), "--threads", "1"])
    calibrate.main()
    value = read_own_value(read_header(model).metadata)
    assert value
    assert (value["format"], value["constraint"]) == ("inserted", "source")
    assert set(value["thresholds"]) <= set(calibrate.LABELS)
    assert tensors(model) == weights
    assert "cross-validated" in capsys.readouterr().out


def test_knots_that_rounding_makes_one_are_one() -> None:
    given = Calibration(ScoreMap((Knot(0.1, 0.2), Knot(0.100001, 0.3), Knot(0.9, 0.4))), {"PER": 0.123456})
    assert calibrate.rounded(given) == Calibration(
        ScoreMap((Knot(0.1, 0.3), Knot(0.9, 0.4))), {"PER": 0.1235}, calibrate.LABELS
    )
