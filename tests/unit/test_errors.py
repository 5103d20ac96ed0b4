"""The error tree: codes and statuses that programs rely on, and a text where none is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from shared import errors
from shared.errors import InferqError

STATUSES = {
    "inferq_error": 500,
    "bad_request": 400,
    "bad_json": 400,
    "bad_base64": 400,
    "bad_option": 400,
    "bad_weights": 400,
    "bad_dataset": 400,
    "unsupported_encoding": 415,
    "no_input": 400,
    "bad_picture": 400,
    "not_a_picture": 400,
    "broken_picture": 400,
    "wrong_format": 400,
    "picture_too_large": 400,
    "bad_archive": 400,
    "archive_not_flat": 400,
    "archive_with_files": 400,
    "too_many_files": 400,
    "bad_url": 400,
    "unauthorized": 401,
    "key_expired": 401,
    "forbidden": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "caller_gone": 499,
    "conflict": 409,
    "model_not_ready": 409,
    "model_refused": 409,
    "too_large": 413,
    "too_many_requests": 429,
    "quota_exceeded": 507,
    "unavailable": 503,
    "overloaded": 503,
    "storage_full": 503,
    "queue_full": 503,
    "still_running": 503,
}


def kinds(root: type[InferqError] = InferqError) -> Iterator[type[InferqError]]:
    yield root
    for kind in root.__subclasses__():
        if kind.__module__ == errors.__name__:  # a dialect may have a kind of its own
            yield from kinds(kind)


def test_codes_and_statuses_are_stable() -> None:
    assert {kind("x").code: kind.status for kind in kinds()} == STATUSES


def test_every_kind_has_a_sentence_of_its_own_for_when_none_is_given() -> None:
    sentences = [kind().message for kind in kinds()]
    assert all(sentence.endswith(".") for sentence in sentences)
    assert len(set(sentences)) == len(sentences)


def test_the_whole_tree_is_drawn_in_the_docstring() -> None:
    drawn = errors.__doc__ or ""
    assert [kind.__name__ for kind in kinds() if kind.__name__ not in drawn] == []


def test_a_given_message_is_kept() -> None:
    assert errors.NotFound("There is no job 7.").message == "There is no job 7."


def test_a_message_that_repeats_megabytes_is_cut() -> None:
    assert len(errors.BadOption("x" * 10_000_000).message) <= errors.LONGEST + 1


def test_those_that_pass_by_themselves_say_when_to_come_again() -> None:
    lasting = {kind.__name__ for kind in kinds() if kind.retry_after is None}
    passing = {"ModelNotReady", "Overloaded", "QueueFull", "TooManyRequests", "Unavailable"}
    assert {kind.__name__ for kind in kinds()} - lasting == passing
    assert errors.Unavailable(retry_after=7.0).retry_after == 7.0
    assert errors.Unavailable().retry_after == 2.0


@pytest.mark.parametrize("kind", [errors.BrokenPicture, errors.PictureTooLarge, errors.NotAPicture, errors.WrongFormat])
def test_a_stored_code_about_the_picture_becomes_that_error_again(kind: type[InferqError]) -> None:
    error = errors.by_code(kind().code, "the reason")
    assert (type(error), error.message) == (kind, "the reason")


@pytest.mark.parametrize("code", ["poison", "model_failed", "not_found", ""])
def test_any_other_stored_code_is_a_fault_of_ours(code: str) -> None:
    error = errors.by_code(code, "the reason")
    assert (error.status, error.message) == (500, "the reason")


@pytest.mark.parametrize(
    ("error", "is_full"),
    [
        (OSError(28, "No space left on device"), True),
        (OSError(122, "Disk quota exceeded"), True),
        (RuntimeError("I/O error: No space left on device (os error 28)"), True),
        (ValueError("database or disk is full"), True),
        (OSError(5, "Input/output error"), False),
        (FileNotFoundError(2, "No such file"), False),
    ],
)
def test_a_full_disk_is_known_whoever_says_so(error: Exception, is_full: bool) -> None:
    assert errors.is_disk_full(error) is is_full
