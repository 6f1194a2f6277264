"""Token embeddings from co-occurrence counts: what plain text says of tokens before anything is trained.

Counts which tokens stand one and two places before and behind each token, weighs the counts as positive pointwise
mutual information, and keeps the directions in which tokens differ most (truncated SVD).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from scipy import sparse
from scipy.sparse.linalg import svds
from transformers import PreTrainedTokenizerFast

PLACES = (-2, -1, 1, 2)
CONTEXTS = 3_000  # the most frequent tokens are counted as neighbours
TEXTS_AT_A_TIME = 2_000
SCALE = 0.02  # standard deviation of the embeddings, as of random ones


def embeddings(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast, width: int) -> torch.Tensor:
    """(vocabulary, width). Tokens that never occur get random vectors."""
    counts = _counts(_ids(texts, tokenizer), len(tokenizer))
    vectors, strengths, _ = svds(_information(counts), k=width, random_state=0)
    found = vectors * np.sqrt(strengths)
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    random = np.random.default_rng(0).normal(size=found.shape)
    found = np.where(
        lengths > 1e-6, found / np.maximum(lengths, 1e-6), random / np.linalg.norm(random, axis=1, keepdims=True)
    )
    return torch.tensor(found * SCALE * np.sqrt(width), dtype=torch.float32)


def _ids(texts: Iterable[str], tokenizer: PreTrainedTokenizerFast) -> Iterator[np.ndarray]:
    left = iter(texts)
    while some := list(islice(left, TEXTS_AT_A_TIME)):
        encoded = tokenizer.backend_tokenizer.encode_batch(some, add_special_tokens=False)
        yield np.concatenate([np.asarray([*one.ids, -1, -1], dtype=np.int64) for one in encoded])


def _counts(ids: Iterator[np.ndarray], size: int) -> sparse.csr_matrix:
    """(vocabulary, places * vocabulary): how often a token has another at a place."""
    total = sparse.csr_matrix((size, len(PLACES) * size), dtype=np.float32)
    for row in ids:
        for number, place in enumerate(PLACES):
            here, there = (row[:-place], row[place:]) if place > 0 else (row[-place:], row[:place])
            known = (here >= 0) & (there >= 0)
            pairs = sparse.coo_matrix(
                (np.ones(known.sum(), dtype=np.float32), (here[known], number * size + there[known])), shape=total.shape
            )
            total = total + pairs.tocsr()
    return total


def _information(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    """Positive pointwise mutual information with the most frequent neighbours, at the power 0.75 as usual."""
    sums = np.asarray(counts.sum(axis=0)).ravel()
    kept = np.sort(np.argsort(-sums)[: CONTEXTS * len(PLACES)])
    found = counts[:, kept].tocoo()
    rows = np.asarray(counts.sum(axis=1)).ravel()
    smooth = sums[kept] ** 0.75
    expected = rows[found.row] * (smooth / smooth.sum())[found.col]
    values = np.log(np.maximum(found.data / np.maximum(expected, 1e-9), 1.0))
    return sparse.csr_matrix((values.astype(np.float32), (found.row, found.col)), shape=(counts.shape[0], len(kept)))
