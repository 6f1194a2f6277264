"""Threads that wait for each other sleep soon, unless the user wants otherwise."""

from __future__ import annotations

import pytest

from genner_cli.openmp import short_waits


def test_waits_are_short() -> None:
    assert short_waits({"PATH": "/bin"}) == {"GOMP_SPINCOUNT": "1000"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "OMP_WAIT_POLICY"])
def test_what_the_user_has_set_stays(name: str) -> None:
    assert short_waits({name: "7"}) == {}
