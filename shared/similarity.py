"""Cosine similarity of vectors: exact nearest neighbours, for searches in workers and for the vectors of callers, and
the choice of vectors that differ, for suggestions.

Only the functions that need it import this module, as NumPy takes 25 MB of each process that loads it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.floating]
"""Vectors, (N, D)."""
_BLOCK = 1024
"""Queries whose similarities to all rows are in memory at once."""
_SAME = 1e-3
"""The distance below which two rows of length one are the same: they are rounded."""


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


def choose_different(worth: Sequence[float], rows: Rows, most: int) -> list[int]:
    """Return the numbers of at most `most` rows that are worth much and differ from each other, in the order of choice.

    Rows (N, D) are as `unit` returns them, and `worth` has N positive numbers. The first row is worth the most; each
    next one has the largest product of its worth and of its distance to the nearest row that is chosen. Without worth
    this is the farthest-first traversal of Gonzalez 1985, "Clustering to minimize the maximum intercluster distance",
    by which Sener and Savarese 2018, "Active Learning for Convolutional Neural Networks: A Core-Set Approach", choose
    pictures to be labelled. Equal products are in the order of the rows. A row that equals a chosen one is left out.
    """
    weights = np.asarray(worth, dtype=np.float64)
    chosen: list[int] = []
    gains = weights.copy()
    nearest_chosen = np.full(len(weights), np.inf)
    while len(chosen) < min(most, len(weights)):
        best = int(np.argmax(gains))
        if chosen and gains[best] <= _SAME * weights[best]:
            break
        chosen.append(best)
        distances = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * (rows @ rows[best]).astype(np.float64)))
        nearest_chosen = np.minimum(nearest_chosen, distances)
        nearest_chosen[best] = 0.0
        gains = weights * nearest_chosen
    return chosen


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
