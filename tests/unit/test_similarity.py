"""Cosine similarity: the nearest rows are those that scikit-learn finds, in a defined order."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from shared import similarity
from shared.similarity import nearest, unit


@pytest.fixture
def rows() -> np.ndarray:
    return np.random.default_rng(7).standard_normal((500, 64)).astype(np.float32)


def test_the_neighbours_are_those_of_scikit_learn(rows: np.ndarray) -> None:
    queries = np.random.default_rng(8).standard_normal((50, 64)).astype(np.float32)
    distances, numbers = NearestNeighbors(n_neighbors=10, metric="cosine").fit(rows).kneighbors(queries)
    found = nearest(unit(queries), unit(rows), 10)
    assert [[number for number, _ in row] for row in found] == numbers.tolist()
    assert np.allclose([[score for _, score in row] for row in found], 1 - distances, atol=1e-5)


def test_queries_that_are_the_rows_can_leave_themselves_out(rows: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(similarity, "_BLOCK", 7)  # so that a query is not at its own number in its block
    scores = cosine_similarity(rows)
    np.fill_diagonal(scores, -2)
    found = nearest(unit(rows), unit(rows), 3, without_itself=True)
    assert [row[0][0] for row in found] == scores.argmax(axis=1).tolist()
    assert nearest(unit(rows[:1]), unit(rows[:1]), 3, without_itself=True) == [[]]


def test_equal_similarities_are_in_the_order_of_the_rows() -> None:
    rows = unit(np.array([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [3.0, 0.0]]))
    assert [number for number, _ in nearest(rows[1:2], rows, 2)[0]] == [1, 2]
    assert [number for number, _ in nearest(rows[1:2], rows, 9)[0]] == [1, 2, 3, 0]


def test_more_neighbours_than_rows_are_all_rows(rows: np.ndarray) -> None:
    assert len(nearest(unit(rows[:1]), unit(rows[:4]), 10)[0]) == 4
    assert nearest(unit(rows[:1]), rows[:0], 10) == [[]]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_only_the_direction_counts(rows: np.ndarray, scale: float) -> None:
    assert np.allclose(unit(rows * np.float32(scale)), unit(rows), atol=1e-6)


def test_a_similarity_is_never_above_one(rows: np.ndarray) -> None:
    assert all(row[0][1] <= 1.0 for row in nearest(unit(rows), unit(rows), 1))


def test_zeros_are_similar_to_nothing(rows: np.ndarray) -> None:
    zeros = np.zeros((1, 64), dtype=np.float32)
    assert {score for _, score in nearest(unit(zeros), unit(rows), 5)[0]} == {0.0}
