"""Explanations: which answers can have one, and which label it is for."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from shared import errors
from shared.domain.jobs import Submission
from shared.domain.models import ModelVersion

T = TypeVar("T")

METHOD = "grad-cam"
"""The method by which every explanation is made."""
MOST_PICTURES = 100
"""Pictures of a job that has its answers explained: each keeps a PNG of up to 300 kB, and takes a pass of its own."""


def check(version: ModelVersion, submission: Submission) -> None:
    """Raise BadOption if answers of the version cannot be explained as it is asked for; without a wish to, nothing."""
    if submission.explain is None:
        return
    name = f"Model {version.name} version {version.version}"
    if submission.options.task != "classify":
        raise errors.BadOption("explain is for labels, and features have none; leave out one of task and explain")
    if version.is_graph:
        raise errors.BadOption(
            f"{name} is an ONNX file, which can be run but not differentiated, so its answers cannot be explained; "
            "leave out explain, or import the model as weights with their architecture."
        )
    if submission.explain and submission.explain not in version.labels:
        near = difflib.get_close_matches(submission.explain, version.labels, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "."
        raise errors.BadOption(f"explain_label: {name} has no label {submission.explain!r}{hint}")


def limited(pictures: Iterable[T]) -> Iterator[T]:
    """Yield the pictures of a job that has its answers explained; raises TooManyFiles beyond MOST_PICTURES."""
    for number, picture in enumerate(pictures):
        if number == MOST_PICTURES:
            raise errors.TooManyFiles(
                f"A job with explain has at most {MOST_PICTURES} pictures; send several jobs, or leave out explain."
            )
        yield picture


def explained_label(explain: str, result: Sequence[Sequence[Any]]) -> str:
    """Return the label that an answer is explained for: the one that was asked for, or else the best of its result;
    empty if it has none."""
    return explain or (str(result[0][0]) if result else "")
