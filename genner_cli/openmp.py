"""How long the threads of llama.cpp and torch wait actively for each other.

OpenMP's threads look again and again whether the others are done before they sleep. Beside other busy programs that
takes the processor from the very thread they wait for (docs/LOG.md). Knows nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Mapping

_SPINS = "GOMP_SPINCOUNT"
"""How often a thread of GNU's libgomp looks before it sleeps: 300,000 times without it."""
_POLICY = "OMP_WAIT_POLICY"


def short_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set for a process before it loads llama.cpp or torch; none where the user has set one that
    decides the same."""
    return {} if environment.keys() & {_SPINS, _POLICY} else {_SPINS: "1000"}
