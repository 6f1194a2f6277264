"""convert.quantize.read_imatrix: how much each column matters, in both formats of llama-imatrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from imatrices import write_imatrix, write_older_imatrix

from convert.quantize import read_imatrix
from genner_cli import hub
from genner_cli.errors import ModelError, UsageError

SUMS = {
    "blk.0.attn_q.weight": np.array([[4.0, 8.0, 0.0]], np.float32),
    "blk.0.ffn_down_exps.weight": np.array([[4.0, 2.0], [8.0, 1.0]], np.float32),
}


@pytest.mark.parametrize("write", [write_imatrix, write_older_imatrix])
def test_columns_matter_by_the_mean_of_their_squares(write: object, tmp_path: Path) -> None:
    found = read_imatrix(write(tmp_path / "imatrix", SUMS))  # type: ignore[operator]
    assert {name: values.tolist() for name, values in found.items()} == {
        "blk.0.attn_q.weight": [1.0, 2.0, 0.0], "blk.0.ffn_down_exps.weight": [1.0, 0.5, 2.0, 0.25],
    }  # fmt: skip


def test_an_expert_without_input_has_columns_that_matter_alike(tmp_path: Path) -> None:
    found = read_imatrix(write_imatrix(tmp_path / "imatrix", SUMS, count=0))
    assert found["blk.0.attn_q.weight"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("cut", [0, 3, 7, 20, 45, 60])
@pytest.mark.parametrize("write", [write_imatrix, write_older_imatrix])
def test_a_file_that_is_cut_short_is_refused(write: object, cut: int, tmp_path: Path) -> None:
    path = write(tmp_path / "imatrix", SUMS)  # type: ignore[operator]
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(ModelError, match=r"imatrix.*; .*(llama-imatrix|fetch or export)"):
        read_imatrix(path)


def test_what_is_no_importance_matrix_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no importance"):
        read_imatrix(hub.BUNDLED)
    with pytest.raises(UsageError, match=r"/nothing: cannot be read"):
        read_imatrix(tmp_path / "nothing")
    (tmp_path / "text").write_text("An importance matrix holds numbers and no text.")
    with pytest.raises(ModelError, match=r"/text .*importance matrix"):
        read_imatrix(tmp_path / "text")
    broken = {"blk.0.attn_q.weight": np.array([[1.0, np.nan]], np.float32)}
    with pytest.raises(ModelError, match=r"blk\.0\.attn_q\.weight .*finite"):
        read_imatrix(write_imatrix(tmp_path / "broken", broken))
