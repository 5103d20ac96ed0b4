"""Room for the body of a request: one that its tenant may not keep is refused before it arrives."""

from __future__ import annotations

from flask import g, request

from api.context import caller, container
from shared.services import kept_bytes

SMALL = 64 * 1024
"""Bytes of a body that is read in any case: its use-case counts what it keeps."""


def check() -> None:
    """Raise QuotaExceeded for a body that holds more than its tenant may still keep, by its Content-Length.

    A quarter is left out, since pictures may be in base64. Repeats of an idempotency key, which keep nothing, are left
    to their use-case, as is a body of unknown length.
    """
    length = request.content_length or 0
    if "caller" in g and length > SMALL and "Idempotency-Key" not in request.headers:
        kept_bytes.check(container(), caller().tenant, length * 3 // 4)
