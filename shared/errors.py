"""Errors are one small tree of classes; each class has its HTTP status, and none depends on a wire.

    caller ──> dialect ──> use-case ──> database / queue / storage ──> worker
          (1)         (2)          (3)                          (2)

    InferqError
    ├── BadRequest 400        (1) the request cannot be read
    │   ├── BadJson  BadBase64  BadOption  BadWeights  BadDataset  NoInput
    │   ├── UnsupportedEncoding 415
    │   └── BadPicture        (2) the bytes are not a picture this service takes
    │       ├── NotAPicture  BrokenPicture  WrongFormat  PictureTooLarge
    │       ├── BadArchive ── ArchiveNotFlat
    │       ├── ArchiveWithFiles  TooManyFiles
    │       └── BadUrl
    ├── Unauthorized 401      (1)
    │   └── KeyExpired
    ├── Forbidden 403         (1)
    ├── NotFound 404          (2) unknown job, image, model, version, path
    ├── MethodNotAllowed 405  (1)
    ├── Conflict 409          (2) exists already, not in a state for that
    │   └── ModelNotReady  ModelRefused ── ModelAbsent
    ├── TooLarge 413          (1)
    ├── TooManyRequests 429   (1, 2) carries retry_after
    ├── CallerGone 499        (1) while its request waited
    ├── QuotaExceeded 507     (2) the tenant would keep more bytes than it may
    └── Unavailable 503       (3) database, Redis or storage is away; carries retry_after
        ├── Overloaded        (2) what waits already takes longer than the caller waits
        ├── StorageFull       (3) a disk has no room; the caller's waiting does not help
        ├── QueueFull         (3) Redis has no memory; it has again when pictures have run
        └── StillRunning      (2) a wait ran out, on a wire without polling; carries job_id

A picture that fails in the worker fails alone: its `code` and `message` are stored with the item.

`message` is written for the caller and suggests what to do. `code` is stable, in snake case, for programs.
Any other exception is a bug: it is logged in full, and the caller gets a fixed sentence.
"""

from __future__ import annotations

import errno
import re

LONGEST = 2000
"""Characters of a message."""


class InferqError(Exception):
    """Something went wrong inside inferq."""

    status = 500
    retry_after: float | None = None
    """Seconds after which the caller may try again; None if trying again does not help."""
    job_id = ""
    """The id of the job that failed by this error, so that every response includes it; empty if there is no job."""

    def __init__(self, message: str = "", *, retry_after: float | None = None) -> None:
        """`message` defaults to the class docstring, so that a general text is written once."""
        super().__init__(message or (type(self).__doc__ or "").strip())
        if retry_after is not None:
            self.retry_after = retry_after

    @property
    def message(self) -> str:
        """The text for the caller, cut at LONGEST characters: some messages repeat parts of a request of megabytes."""
        text = str(self.args[0])
        return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

    @property
    def code(self) -> str:
        """The class name in snake case: `NotAPicture` -> `not_a_picture`."""
        return re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()


class BadRequest(InferqError):
    """The request cannot be understood."""

    status = 400


class BadJson(BadRequest):
    """The body is not valid JSON of the expected shape."""


class BadBase64(BadRequest):
    """The text is not valid base64."""


class BadOption(BadRequest):
    """An option has a value that is not allowed."""


class BadWeights(BadRequest):
    """The weights file cannot be used."""


class BadDataset(BadRequest):
    """The pictures cannot be a dataset."""


class NoInput(BadRequest):
    """The request carries no picture. Send at least one file, or JSON with `inputs`."""


class UnsupportedEncoding(BadRequest):
    """The body is packed in a way that is not read here."""

    status = 415


class BadPicture(BadRequest):
    """The bytes are not a picture that this service takes."""

    place = ""
    """Which of several pictures of a request is at fault, as `files[1]`, or by its name in an archive; empty if there
    is only one. The message says it too."""


class NotAPicture(BadPicture):
    """The bytes are not an image in a known format."""


class BrokenPicture(BadPicture):
    """The image is damaged and cannot be decoded."""


class WrongFormat(BadPicture):
    """The image format is not accepted here."""


class PictureTooLarge(BadPicture):
    """The image has more pixels, or a longer shape, than is allowed."""


class BadArchive(BadPicture):
    """The archive cannot be used."""


class ArchiveNotFlat(BadArchive):
    """The archive contains folders; only flat archives are taken."""


class ArchiveWithFiles(BadPicture):
    """An archive must be the only file of a request."""


class TooManyFiles(BadPicture):
    """There are more files than are allowed at once."""


class BadUrl(BadPicture):
    """Nothing that can be used is to be fetched from that URL."""

    @property
    def reason(self) -> str:
        """The first sentence of the message: the rest is advice about pictures."""
        return self.message.partition(". ")[0].rstrip(".")


class Unauthorized(InferqError):
    """A valid API key is required."""

    status = 401


class KeyExpired(Unauthorized):
    """The API key has expired."""


class Forbidden(InferqError):
    """This key is not allowed to do that."""

    status = 403


class NotFound(InferqError):
    """There is nothing here by that name."""

    status = 404


class MethodNotAllowed(InferqError):
    """This method is not allowed here."""

    status = 405


class Conflict(InferqError):
    """The thing is not in a state in which that can be done."""

    status = 409


class ModelNotReady(Conflict):
    """The model exists, but no worker has shown yet that it works."""

    retry_after = 5.0


class ModelRefused(Conflict):
    """The model was checked and found unusable."""


class ModelAbsent(ModelRefused):
    """The model has no weights here, and they could not be fetched."""

    @property
    def code(self) -> str:
        """`model_refused`, which programs know for it."""
        return "model_refused"


class TooLarge(InferqError):
    """The body is larger than is allowed."""

    status = 413


class TooManyRequests(InferqError):
    """Too many requests; slow down."""

    status = 429
    retry_after = 1.0


class QuotaExceeded(InferqError):
    """No more bytes may be kept; delete something."""

    status = 507  # not 429 or 503: clients that know those wait, and send the same again


class Unavailable(InferqError):
    """A part of the service is away for the moment; try again soon."""

    status = 503
    retry_after: float | None = 2.0


class Overloaded(Unavailable):
    """More pictures wait than can be answered in time; send it again later."""

    retry_after: float | None = 2.0
    holds = True
    """False if the next request may be answered by another version."""


class StorageFull(Unavailable):
    """The storage is full; make room on its disk."""

    retry_after = None  # waiting does not help


class QueueFull(Unavailable):
    """The queue is full: Redis has no memory left. Send it again when some pictures have run."""

    retry_after: float | None = 5.0


class CallerGone(InferqError):
    """The caller has closed the connection before the answer came."""

    status = 499


class StillRunning(Unavailable):
    """The job is still running; ask for it by its id."""

    retry_after = None  # sending the picture again would only make the queue longer


_FULL = ("No space left on device", "database or disk is full")


def is_disk_full(error: BaseException) -> bool:
    """Return True if an exception says that a disk has no room, whatever library has raised it."""
    number = error.errno if isinstance(error, OSError) else None
    # safetensors, torch and PostgreSQL raise errors of their own with the system's words, SQLite one with its own.
    return number in (errno.ENOSPC, errno.EDQUOT) or any(words in str(error) for words in _FULL)


def by_code(code: str, message: str) -> InferqError:
    """Return the error that an item's stored code stands for; an unknown code is an error of the service itself."""
    kinds: list[type[InferqError]] = [BadPicture, *BadPicture.__subclasses__()]
    for kind in kinds:
        error = kind(message)
        if error.code == code:
            return error
    other_kinds: dict[str, type[InferqError]] = {
        "expired": Conflict,
        "gone": Conflict,
        "model_unavailable": Unavailable,
    }
    return other_kinds.get(code, InferqError)(message)
