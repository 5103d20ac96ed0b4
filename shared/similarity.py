"""Cosine similarity of vectors: exact nearest neighbours, for searches in workers and for the vectors of callers.

Only the functions that need it import this module, as NumPy takes 25 MB of each process that loads it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]
"""Vectors, (N, D)."""
_BLOCK = 1024
"""Queries whose similarities to all rows are in memory at once."""


def unit(rows: Rows) -> Rows:
    """Return the rows divided by their lengths; a row of zeros, which has no direction, stays as it is.

    Each is divided by its largest number first, since the square of a large float32 is infinite.
    """
    largest = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    rows = rows / np.where(largest > 0, largest, 1)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def nearest(queries: Rows, rows: Rows, most: int, *, without_itself: bool = False) -> list[list[tuple[int, float]]]:
    """Return, for each query, (number of the row, similarity) of the `most` nearest rows, the nearest first.

    Queries (Q, D) and rows (N, D) are as `unit` returns them. Equal similarities are in the order of the rows.
    `without_itself` is for queries that are the rows: each leaves itself out.
    """
    found: list[list[tuple[int, float]]] = []
    for start in range(0, len(queries), _BLOCK):
        scores = queries[start : start + _BLOCK] @ rows.T
        if without_itself:
            scores[np.arange(len(scores)), np.arange(start, start + len(scores))] = -np.inf
        found += [_best(row, most) for row in scores]
    return found


def _best(scores: NDArray[np.floating], most: int) -> list[tuple[int, float]]:
    """Return the numbers of the highest scores with them; scores of minus infinity are left out.

    All that are equal to the last one are candidates, as a partition has no defined order of ties.
    """
    candidates = np.arange(len(scores))
    if most < len(scores):
        last = np.partition(scores, len(scores) - most)[len(scores) - most]
        candidates = np.flatnonzero(scores >= last)
    order = candidates[np.argsort(-scores[candidates], kind="stable")][:most]
    return [(int(number), float(min(1.0, max(-1.0, scores[number])))) for number in order if scores[number] > -np.inf]
