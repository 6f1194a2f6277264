"""How long the threads of llama.cpp and torch wait actively for each other.

OpenMP's threads look again and again whether the others are done before they sleep. Beside other busy programs that
takes the processor from the very thread they wait for (docs/LOG.md). Knows nothing of what they compute.
"""

from __future__ import annotations

from collections.abc import Mapping

_WAITING = {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
"""GNU's libgomp: looks before a thread sleeps (300,000 without it); LLVM's libomp and Intel's: milliseconds (200)."""
_POLICY = "OMP_WAIT_POLICY"


def short_waits(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables to set for a process before it loads llama.cpp or torch; none that the user has set, nor any where
    the user has chosen a wait policy."""
    return {} if _POLICY in environment else {name: _WAITING[name] for name in _WAITING.keys() - environment.keys()}
