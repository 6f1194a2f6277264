"""benchmarks/methods.py, its planted half: every method raises its figure, and no control does."""

from __future__ import annotations

import methods
import pytest
from methods_rows import Row, outcome, table


@pytest.mark.parametrize("row", methods.PLANTED, ids=lambda row: f"{row.method}: {row.what}")
def test_a_method_raises_its_figure_and_its_control_does_not(row: Row) -> None:
    found = outcome(row)
    assert found.gain.low > 0
    assert found.of_control.low <= 0
    assert found.with_ > found.control


def test_the_table_has_a_line_for_each_row() -> None:
    lines = table(methods.PLANTED[:1], seeds=(0,)).splitlines()
    assert len(lines) == 3
    assert lines[2].startswith("| GPT-NER | verification")
