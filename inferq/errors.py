"""The errors of client and command as a tree; each kind has the exit code of the command.

InferqError            1
├── InferqHTTPError    1  the server answered with an error
│   ├── BadRequest         400, 413, 415, 422: the request, or a picture of it, cannot be used
│   ├── Unauthorized       401: the key is missing or unknown
│   ├── Forbidden          403: the key may not do this
│   ├── NotFound           404: there is no such job, model, or dataset
│   ├── Conflict           409: the resource is in a state in which this is not possible
│   ├── TooManyRequests    429: the queue is full, or a limit is met
│   └── Unavailable        502, 503, 504: the service, or a part of it, is away
├── Unreachable        1  there is no server at that URL, or the connection or a streamed answer broke off
│   └── TimedOut       1  the server did not answer within the client's time-out
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

    def __init__(self, status: int, code: str, detail: str, retry_after: float | None = None) -> None:
        """`status` is the HTTP status, `code` a stable word for programs, `detail` a sentence for people.

        `retry_after` is in how many seconds the same request may succeed; None if the server does not say so.
        """
        super().__init__(detail or code or f"the server answered {status}")
        self.status = status
        self.code = code
        self.detail = detail
        self.retry_after = retry_after


class BadRequest(InferqHTTPError):
    """The request, or a picture of it, cannot be used (400, 413, 415, 422)."""


class Unauthorized(InferqHTTPError):
    """The key is missing or unknown (401)."""


class Forbidden(InferqHTTPError):
    """The key may not do this (403)."""


class NotFound(InferqHTTPError):
    """There is no such job, model, or dataset (404)."""


class Conflict(InferqHTTPError):
    """The resource is in a state in which this is not possible (409)."""


class TooManyRequests(InferqHTTPError):
    """The queue is full, or a limit is met (429)."""


class Unavailable(InferqHTTPError):
    """The service, or a part of it, is away (502, 503, 504)."""


_KINDS = {
    400: BadRequest, 413: BadRequest, 415: BadRequest, 422: BadRequest, 401: Unauthorized, 403: Forbidden,
    404: NotFound, 409: Conflict, 429: TooManyRequests, 502: Unavailable, 503: Unavailable, 504: Unavailable,
}  # fmt: skip


def http_error(status: int, code: str, detail: str, retry_after: float | None = None) -> InferqHTTPError:
    """Return the error of the class that a status has; that of another status is an InferqHTTPError itself."""
    return _KINDS.get(status, InferqHTTPError)(status, code, detail, retry_after)


class Unreachable(InferqError):
    """There is no server at that URL, or the connection or a streamed answer broke off."""


class TimedOut(Unreachable):
    """The server did not answer within the client's time-out."""


class BadAnswer(InferqError):
    """The server's answer lacks a field, or a field has another type: the server is of another version."""


class StillRunning(InferqError):
    """The job did not end in time; it continues, and can be waited for again."""


class StartFailed(InferqError):
    """A part of the embedded stack did not start."""


class CannotStart(InferqError):
    """The embedded stack was not started, as a precondition is not met."""

    exit_code = 2
