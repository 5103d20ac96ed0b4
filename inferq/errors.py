"""The errors of client and command as a tree; each kind has the exit code of the command.

InferqError            1
├── InferqHTTPError    1  the server answered with an error
├── Unreachable        1  there is no server at that URL, or the connection broke
├── BadAnswer          1  the server's answer is of another version of inferq
├── StillRunning       1  the job did not end in time; it continues
├── StartFailed        1  a part of the embedded stack did not start
└── CannotStart        2  the embedded stack was not started, as a precondition is not met
"""

from __future__ import annotations


class InferqError(Exception):
    """The base of all errors here; the text is one line for people."""

    exit_code = 1


class InferqHTTPError(InferqError):
    """The server answered with an error."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        """`status` is the HTTP status, `code` a stable word for programs, `detail` a sentence for people."""
        super().__init__(detail or code or f"the server answered {status}")
        self.status = status
        self.code = code
        self.detail = detail


class Unreachable(InferqError):
    """There is no server at that URL, or the connection broke."""


class BadAnswer(InferqError):
    """The server's answer lacks a field, or a field has another type: the server is of another version."""


class StillRunning(InferqError):
    """The job did not end in time; it continues, and can be waited for again."""


class StartFailed(InferqError):
    """A part of the embedded stack did not start."""


class CannotStart(InferqError):
    """The embedded stack was not started, as a precondition is not met."""

    exit_code = 2
