"""genner_cli.files.calibrations: a file for one model, refused for any other."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from genner_cli.errors import ModelError, UsageError
from genner_cli.files.calibrations import (
    KEY,
    calibration_path,
    calibration_value,
    own_calibration,
    own_calibration_value,
    read_calibration,
)
from genner_cli.files.hashing import fingerprint
from genner_cli.types import Calibration, Knot, ScoreMap

CALIBRATION = Calibration(ScoreMap((Knot(0.1, 0.05), Knot(0.9, 0.8))), {"PER": 0.3})
USED = {"format": "xml", "constraint": "source"}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF" + bytes(3 * 2**20))
    return path


def written(path_of_model: Path, **changes: Any) -> Path:
    value = calibration_value(
        CALIBRATION, [path_of_model], fingerprint([path_of_model]), asked=USED, more={"measured": {}}
    )
    path = calibration_path([path_of_model])
    path.write_text(json.dumps({**value, **changes}))
    return path


def test_what_is_written_is_read_back(model: Path) -> None:
    assert read_calibration(written(model), [model], fingerprint([model]), USED) == CALIBRATION


def test_it_stands_beside_the_model_or_its_adapter(tmp_path: Path) -> None:
    model, adapter = tmp_path / "a.gguf", tmp_path / "b.gguf"
    assert calibration_path([model]) == tmp_path / "a.gguf.calibration.json"
    assert calibration_path([model, adapter]) == tmp_path / "b.gguf.calibration.json"


def test_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    path = written(model)
    other = tmp_path / "other.gguf"
    data = bytearray(model.read_bytes())
    data[-1] = 1
    other.write_bytes(data)
    with pytest.raises(ModelError, match=r"\(model\.gguf\) .*other\.gguf; .*--no-calibration"):
        read_calibration(path, [other], fingerprint([other]), USED)
    with pytest.raises(ModelError, match=r"model\.gguf with other\.gguf"):
        read_calibration(path, [model, other], fingerprint([model, other]), USED)


@pytest.mark.parametrize(("name", "value"), [("format", "bracketed"), ("constraint", "off")])
def test_another_way_of_asking_is_refused(model: Path, name: str, value: str) -> None:
    with pytest.raises(ModelError, match=f"--{name} {USED[name]}, not {value}"):
        read_calibration(written(model), [model], fingerprint([model]), {**USED, name: value})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version 2,"),
        ({"map": []}, " map "),
        ({"map": [[0.1, 0.5], [0.1, 0.6]]}, " map "),
        ({"map": [[0.1, 0.5], [0.2, 0.4]]}, " map "),
        ({"map": [[0.1, 0.5], [0.2, 1.4]]}, " map "),
        ({"map": [[0.1]]}, "is not a calibration"),
        ({"map": None}, "is not a calibration"),
        ({"thresholds": {"PER": "high"}}, "is not a calibration"),
        ({"thresholds": []}, "is not a calibration"),
        ({"model": 7}, "is not a calibration"),
    ],
)
def test_a_broken_file_is_refused(model: Path, changes: dict[str, Any], message: str) -> None:
    path = written(model, **changes)
    with pytest.raises(ModelError, match=message) as found:
        read_calibration(path, [model], fingerprint([model]), USED)
    assert str(found.value).startswith(f"{path}: ")


@pytest.mark.parametrize("content", ["", "[1]", "7", '{"version": 1}', "{"])
def test_what_is_no_calibration_is_refused(model: Path, content: str) -> None:
    path = calibration_path([model])
    path.write_text(content)
    with pytest.raises(ModelError, match="is not a calibration"):
        read_calibration(path, [model], fingerprint([model]), USED)


def test_a_file_that_is_not_there_is_named(model: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.json: cannot be read"):
        read_calibration(tmp_path / "none.json", [model], fingerprint([model]), USED)


def test_a_fingerprint_tells_size_start_end_and_order(tmp_path: Path) -> None:
    size = 5 * 2**20
    found = set()
    for number, place in enumerate((0, size - 1, None)):
        data = bytearray(size if place is not None else size + 1)
        if place is not None:
            data[place] = 1
        (tmp_path / str(number)).write_bytes(data)
        found.add(fingerprint([tmp_path / str(number)]))
    both = [tmp_path / "0", tmp_path / "1"]
    found |= {fingerprint(both), fingerprint(both[::-1])}
    assert len(found) == 5


def own(**changes: Any) -> dict[str, str]:
    return {KEY: json.dumps({**own_calibration_value(CALIBRATION, USED), **changes})}


def test_it_holds_for_its_labels_alone() -> None:
    own_one = replace(CALIBRATION, labels=("PER", "ORG"))
    assert own_calibration({KEY: json.dumps(own_calibration_value(own_one, USED))}, USED) == own_one
    assert own_one.holds_for(["ORG"])
    assert not own_one.holds_for(["ORG", "LOC"])
    assert CALIBRATION.holds_for(["LOC"])


def test_a_model_may_bring_its_own(caplog: pytest.LogCaptureFixture) -> None:
    assert own_calibration(own(), USED) == CALIBRATION
    assert own_calibration({}, USED) is None
    assert not caplog.records


@pytest.mark.parametrize("changes", [{"format": "bracketed"}, {"constraint": "off"}, {"whole_words": "on"}])
def test_its_own_is_left_out_with_a_warning_where_it_is_asked_otherwise(
    changes: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    assert own_calibration(own(), {**USED, **changes}) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert next(iter(changes.values())) in caplog.text


@pytest.mark.parametrize("changes", [{"map": []}, {"map": None}, {"thresholds": 1}, {"version": 2}])
def test_a_broken_one_of_its_own_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="--no-calibration"):
        own_calibration(own(**changes), USED)
    with pytest.raises(ModelError, match="--no-calibration"):
        own_calibration({KEY: "{"}, USED)
