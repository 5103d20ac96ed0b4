"""A run of an errand: a worker does what was asked for once of a version, and stores the result, or why it has none."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from shared import errors
from shared.container import Container
from shared.domain.models import ModelVersion
from worker.training.pictures import waiting_for_blobs

R = TypeVar("R")
T = TypeVar("T")
log = logging.getLogger(__name__)


def run(
    container: Container,
    lock: str,
    what: str,
    *,
    begin: Callable[[], tuple[ModelVersion, R] | None],
    do: Callable[[ModelVersion, R], T],
    finish: Callable[[R, T], None],
    fail: Callable[[R, str], None],
    put_back: Callable[[], None],
) -> None:
    """Do errands while `begin` has one, unless another worker holds the lock of that name; `what` is for the log.

    `finish` stores the result, `fail` the reason for none. While database or storage are away or full, or the
    storage lacks a picture that nobody removed, the errand is put back, and maintenance has it done later.
    """
    with container.queue.locks.renewed(lock) as held:
        if not held:
            return
        while begun := begin():  # again, if another was asked for meanwhile
            version, request = begun
            try:
                with waiting_for_blobs(container):
                    result = do(version, request)
            except errors.Unavailable as error:  # no fault of the version
                log.warning("%s of %s version %s: %s", what, version.name, version.version, error.message)
                with suppress(errors.Unavailable):
                    put_back()
                return
            except errors.InferqError as error:
                fail(request, error.message)
            except Exception as error:
                log.exception("%s of %s version %s", what, version.name, version.version)
                if errors.is_disk_full(error):
                    put_back()
                    return
                fail(request, f"it was interrupted: {type(error).__name__}")
            else:
                finish(request, result)
