"""The result cache ranks logits as the worker does, for all options."""

from __future__ import annotations

import pytest
import torch

from shared.services import result_cache
from worker.engine import top_k

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("k", [1, 5, 1000, 5000])
def test_python_ranks_logits_as_the_worker_ranks_a_batch(function: str, k: int) -> None:
    torch.manual_seed(7)
    logits = torch.randn(1, 1000) * 8
    labels = [f"label {number}" for number in range(1000)]

    (expected,) = top_k(logits, labels, k, function)
    ranked = result_cache.ranked(logits[0].tolist(), labels, k, function)

    assert [label for label, _ in ranked] == [label for label, _ in expected]
    assert [score for _, score in ranked] == pytest.approx([score for _, score in expected], rel=1e-12)


def test_equal_logits_stay_in_label_order() -> None:
    logits = [0.0, 3.0, 3.0, 3.0]
    assert [label for label, _ in result_cache.ranked(logits, "abcd", 4, "softmax")] == ["b", "c", "d", "a"]


@pytest.mark.parametrize("function", ["softmax", "sigmoid"])
def test_logits_far_apart_overflow_nothing(function: str) -> None:
    scores: dict[str, float] = dict(result_cache.ranked([-3e38, 3e38, 0.0], "abc", 3, function))  # type: ignore[arg-type]
    assert (scores["b"], scores["a"]) == (1.0, 0.0)


@pytest.mark.parametrize(
    "other",
    [
        ("bert", "v1", "classify", True, b"picture"),
        ("anna", "v2", "classify", True, b"picture"),
        ("anna", "v1", "features", True, b"picture"),
        ("anna", "v1", "classify", False, b"picture"),
        ("anna", "v1", "classify", True, b"Picture"),
    ],
)
def test_whatever_the_answer_depends_on_is_in_the_key(other: tuple[str, str, str, bool, bytes]) -> None:
    assert result_cache.key(*other) != result_cache.key("anna", "v1", "classify", True, b"picture")
