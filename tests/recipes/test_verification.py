"""benchmarks/verification.py: candidates are what they are said to be; the area under the curve is that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from made_sets import write
from verification import BOUNDARY, KINDS, LABEL, RIGHT, Asked, area, read, report

TEXTS = [f"Ada{'x' * at} Lovelace lives in Oslo." for at in range(20)]


def test_candidates_are_right_or_have_another_label_or_another_span(tmp_path: Path) -> None:
    records = [
        {"text": text, "entities": [{"start": 0, "end": text.index(" lives"), "label": "PER"}]} for text in TEXTS
    ]
    write(tmp_path, "wikigold", "test", *records)
    pool, asked = read(tmp_path, 20)
    assert len(asked) == 20
    shown = {each["text"] for each in pool}
    gold = {text: (0, text.index(" lives")) for text in TEXTS}
    for each in asked:
        assert each.text not in shown
        start, end, label = each.candidate.key
        assert ((start, end) == gold[each.text]) == (each.kind != BOUNDARY)
        assert (label == "PER") == (each.kind != LABEL)
    assert {kind: sum(each.kind == kind for each in asked) for kind in KINDS} == {RIGHT: 10, LABEL: 5, BOUNDARY: 5}


def test_the_area_is_the_share_of_pairs_in_order() -> None:
    assert area(np.array([1.0, 3.0]), np.array([2.0, 0.0])) == 0.75
    assert area(np.array([1.0]), np.array([1.0, 0.0])) == 0.75


def test_the_report_has_the_area_of_each_kind() -> None:
    asked = [Asked("", None, kind) for kind in (RIGHT, RIGHT, LABEL, BOUNDARY)]  # type: ignore[arg-type]
    line = report(asked, [2.0, 1.0, 1.5, -1.0])
    assert line.startswith("AUC 0.750")
    assert "0.50 against wrong label, 1.00 against wrong boundary" in line
    assert "right 100 %, wrong label 100 %, wrong boundary 0 %" in line
