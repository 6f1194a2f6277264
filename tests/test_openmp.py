"""Threads that wait for each other sleep soon, unless the user wants otherwise."""

from __future__ import annotations

import pytest

from genner_cli.openmp import short_waits


def test_waits_are_short() -> None:
    assert short_waits({"PATH": "/bin"}) == {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}


@pytest.mark.parametrize("name", ["GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_has_set_stays(name: str) -> None:
    assert name not in short_waits({name: "7"})
    assert len(short_waits({name: "7"})) == 1


@pytest.mark.parametrize("policy", ["active", "passive"])
def test_a_wait_policy_of_the_user_decides_alone(policy: str) -> None:
    assert short_waits({"OMP_WAIT_POLICY": policy}) == {}
