"""Sampling that depends on nothing but a seed: Gumbel noise on logits, from a hash of where a token stands.

The highest of logits / temperature plus Gumbel noise is a draw from their softmax (Gumbel 1954; Maddison, Tarlow and
Minka 2014, arXiv 1411.0030), also among those tokens only that a grammar allows. The noise of a token follows from
seed, request, position and token id, so slots, batches, order of requests and processes do not change what is written.
"""

from __future__ import annotations

import math
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from genner_cli.generation import Sampling

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_BEHIND = 1e6
"""Subtracted from the logits of tokens below min-p, which so stand behind all others, in their own order."""


class Sampler:
    """Draws the tokens of one request."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._stream = f"{sampling.seed} {sampling.request}".encode()

    def perturbed(self, logits: NDArray[np.float32], ids: NDArray[np.int64], position: int) -> NDArray[np.float64]:
        """Values whose highest is the token drawn at this position (tokens written before it), of the tokens with these
        ids and logits; at temperature 0 the logits themselves. What a grammar refuses may be passed over for the next
        highest: that is a draw from the others."""
        values = logits.astype(np.float64)
        chosen = self._sampling
        if not chosen.temperature:
            return values
        least = values.max() + math.log(chosen.min_p) if chosen.min_p else -math.inf
        likely = values >= least
        drawn = values - _BEHIND
        drawn[likely] = values[likely] / chosen.temperature + self._noise(ids[likely], position)
        return drawn

    def _noise(self, ids: NDArray[np.int64], position: int) -> NDArray[np.float64]:
        """Standard Gumbel noise, by token (SplitMix64 of Steele, Lea and Flood 2014 over a key for the position)."""
        digest = blake2b(b"%s %d" % (self._stream, position), digest_size=8).digest()
        mixed = np.uint64(int.from_bytes(digest, "little")) + (ids.astype(np.uint64) + np.uint64(1)) * _GOLDEN
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * _SECOND
        mixed ^= mixed >> np.uint64(31)
        uniform = ((mixed >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
        found: NDArray[np.float64] = -np.log(-np.log(uniform))
        return found
