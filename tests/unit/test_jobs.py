"""Jobs as rules: which statuses there are, how they may move, and what a request may ask for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from shared.domain.jobs import LIVE, MOVES, AnswerOptions, Job, Status, Submission, sources
from shared.errors import BadOption


def test_the_statuses_are_the_documented_ones() -> None:
    assert sorted(Status) == ["CANCELLED", "DONE", "EXPIRED", "FAILED", "QUEUED", "RUNNING"]


def test_only_queued_and_running_are_not_terminal() -> None:
    assert [status for status in Status if not status.terminal] == [Status.QUEUED, Status.RUNNING]
    assert LIVE == (Status.QUEUED, Status.RUNNING)


def test_the_moves_are_the_drawn_arrows_and_no_others() -> None:
    arrows = {(source, target) for source, targets in MOVES.items() for target in targets}
    assert arrows == {
        ("QUEUED", "RUNNING"),
        ("QUEUED", "DONE"),
        ("QUEUED", "FAILED"),
        ("QUEUED", "CANCELLED"),
        ("QUEUED", "EXPIRED"),
        ("RUNNING", "DONE"),
        ("RUNNING", "FAILED"),
        ("RUNNING", "CANCELLED"),
    }


def test_every_status_has_its_moves() -> None:
    assert set(MOVES) == set(Status)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (Status.QUEUED, ()),
        (Status.RUNNING, (Status.QUEUED,)),
        (Status.DONE, (Status.QUEUED, Status.RUNNING)),
        (Status.FAILED, (Status.QUEUED, Status.RUNNING)),
        (Status.CANCELLED, (Status.QUEUED, Status.RUNNING)),
        (Status.EXPIRED, (Status.QUEUED,)),
    ],
)
def test_sources_are_the_statuses_that_lead_there(target: Status, expected: tuple[Status, ...]) -> None:
    assert sources(target) == expected


def test_what_is_left_is_what_has_no_outcome() -> None:
    job = Job("id", "t", "native", Status.RUNNING, "m", "1", "v", AnswerOptions(), "normal", 0.0, total=10)
    assert job.left == 10
    assert replace(job, done=3, failed=2).left == 5


def test_options_default_to_five_labels_by_the_versions_function_with_the_picture_turned_upright() -> None:
    assert AnswerOptions() == AnswerOptions(task="classify", top_k=5, function_to_apply="", exif=True)


@pytest.mark.parametrize("task", ["classify", "features"])
@pytest.mark.parametrize("function", ["softmax", "sigmoid", "none"])
@pytest.mark.parametrize("top_k", [1, 100_000])
def test_allowed_options_are_taken(task: str, function: str, top_k: int) -> None:
    options = AnswerOptions(task=task, function_to_apply=function, top_k=top_k)
    assert (options.task, options.function_to_apply, options.top_k) == (task, function, top_k)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"task": "detect"}, "task must be one of classify, features, not 'detect'"),
        ({"function_to_apply": "relu"}, "function_to_apply must be one of softmax, sigmoid, none"),
        ({"top_k": 0}, "top_k must be a whole number of at least 1, not 0"),
        ({"top_k": -3}, "top_k"),
        ({"top_k": 100_001}, "top_k"),
    ],
)
def test_other_options_are_refused_with_what_is_allowed(options: dict[str, object], says: str) -> None:
    with pytest.raises(BadOption, match=says):
        AnswerOptions(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("priority", ["high", "normal", "low"])
def test_the_three_priorities_are_taken(priority: str) -> None:
    assert Submission([], priority=priority).priority == priority


@pytest.mark.parametrize("priority", ["", "urgent", "HIGH"])
def test_other_priorities_are_refused(priority: str) -> None:
    with pytest.raises(BadOption, match="priority must be one of high, normal, low"):
        Submission([], priority=priority)
