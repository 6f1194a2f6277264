"""A quick slice of the fuzzing that `make soak` does at length, and mistakes that are planted for it to find."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import pytest
from fuzzing import CHILD, LINES, TARGETS, check_lines, fuzz, good_line, make_lines, random_of

SEED = 11
FILES = 100


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_wrong_is_refused_or_read_and_never_crashes(target: str, tmp_path: Path) -> None:
    for number in range(FILES):
        TARGETS[target].check(TARGETS[target].make(random_of(target, SEED, number)), tmp_path)


def test_an_input_is_found_again_by_its_seed_and_number() -> None:
    made = [TARGETS["labels"].make(random_of("labels", SEED, number)) for number in range(50)]
    assert made == [TARGETS["labels"].make(random_of("labels", SEED, number)) for number in range(50)]
    assert len(set(made)) > 40
    assert made != [TARGETS["labels"].make(random_of("labels", SEED + 1, number)) for number in range(50)]


def test_a_file_of_lines_is_half_good() -> None:
    lines = make_lines(random_of("lines", SEED, 0)).split(b"\n")
    assert {good_line(number) for number in range(LINES + 1)} <= set(lines)
    assert len(lines) >= 2 * LINES + 1


@pytest.mark.parametrize(
    "mistake",
    [
        pytest.param(lambda records: records[:-1], id="the last one lost"),
        pytest.param(lambda records: [records[1], records[0], *records[2:]], id="two swapped"),
        pytest.param(lambda records: [records[0], records[0], *records[1:]], id="one doubled"),
    ],
)
def test_a_reader_that_loses_a_neighbour_is_found_out(
    mistake: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = fuzzing.read_documents
    monkeypatch.setattr(fuzzing, "read_documents", lambda paths: mistake(list(read(paths))))  # type: ignore[operator]
    with pytest.raises(AssertionError):
        check_lines(make_lines(random_of("lines", SEED, 0)), tmp_path)


PLANTED = """
import fuzzing, os, time
def check(data, folder):
    number = int(data)
    if number == 3: raise KeyError('a bug')
    if number == 5: time.sleep(60)
    if number == 7: os.abort()
fuzzing.TARGETS['planted'] = fuzzing.Target(lambda chance: str(next(numbers)).encode(), check)
"""
NUMBERED = """
import pathlib, struct, sys
(first,) = struct.unpack('<q', pathlib.Path(sys.argv[4], 'now').read_bytes())
numbers = iter(range(first, 99))
"""


def test_what_hangs_or_dies_or_raises_is_named_and_the_rest_is_tried() -> None:
    found = fuzz("planted", seed=SEED, files=10, patience=4, child=NUMBERED + PLANTED + CHILD, each=1)
    assert (found.files, found.inputs) == (10, 10)
    assert [failure.number for failure in found.failures] == [3, 5, 7]
    raised, hung, died = (failure.what for failure in found.failures)
    assert "KeyError: 'a bug'" in raised
    assert hung == "hangs: no end after 4 s"
    assert died == "ended by SIGABRT"


def test_it_ends_when_the_time_is_over() -> None:
    assert fuzz("labels", seed=SEED, files=10, until=0.0) == (0, 0, [])
