"""Request parameters that many native calls share: the wait, the page, filters, and small JSON bodies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from flask import request
from werkzeug.http import parse_dict_header

from api import reading
from api.context import caller, container
from api.reading import Fields
from shared import errors
from shared.domain.datasets import Dataset, DatasetExample
from shared.domain.jobs import Job, Status
from shared.domain.trainings import Training
from shared.services import datasets

Listed = TypeVar("Listed", Job, Dataset, DatasetExample, Training)
LARGEST_ID = 2**53
"""Every numeric id is below this number."""


def preferred_wait(default: float = 0.0) -> float:
    """Return the wait in seconds, from `Prefer` (RFC 7240); `respond-async` means 0. Raises BadOption."""
    preferred = parse_dict_header(request.headers.get("Prefer", ""))
    if "respond-async" in preferred and "wait" not in preferred:
        return 0.0
    try:
        return max(0.0, float(preferred.get("wait") or default))
    except ValueError:
        raise errors.BadOption("the wait in Prefer must be a number of seconds") from None


def refuse_idempotency_key() -> None:
    """Raise BadOption for an Idempotency-Key on a call that ignores it: its client would rely on the key."""
    if request.headers.get("Idempotency-Key"):
        raise errors.BadOption("an Idempotency-Key is for jobs only: leave it out, and look before you send this again")


def json_fields() -> Fields:
    """Return the fields of a JSON body that carries no picture; the query supplies fields that the body lacks."""
    return Fields(reading.json_object(request, reading.SMALL), request.args)


def needed(fields: Fields, name: str, what: str) -> str:
    """Return a required text; raises BadOption with the expected value, `what`, when it is missing."""
    found = fields.text(name)
    if not found:
        raise errors.BadOption(f"{name} must be {what}")
    return found


def texts(fields: Fields, name: str) -> Sequence[str]:
    """Return a list of texts, empty where the field is missing; raises BadOption."""
    found = fields.raw(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise errors.BadOption(f"{name} must be a list of texts")
    return found


def limit(fields: Fields) -> int:
    """Return the number of entries of one page, 1 to 500; raises BadOption."""
    found = fields.whole("limit", 50)
    if not 1 <= found <= 500:
        raise errors.BadOption("limit must be 1 to 500")
    return found


def numbered(fields: Fields) -> int | None:
    """Return `cursor`, the numeric id at the end of the page before; None for the first page. Raises BadOption."""
    if not fields.has("cursor"):
        return None
    found = fields.whole("cursor", 0)
    if not 0 <= found < LARGEST_ID:
        raise errors.BadOption("cursor must be the `next` of the page before")
    return found


def status(fields: Fields) -> str:
    """Return the status that filters a list; empty for all. Raises BadOption."""
    found = fields.text("status").upper()
    if found and found not in list(Status):
        raise errors.BadOption(f"status must be one of {', '.join(Status)}, not {found!r}")
    return found


def dataset(fields: Fields) -> Dataset | None:
    """Return the caller's dataset that `dataset` names by id or name; None without the field. Raises NotFound."""
    reference = fields.text("dataset")
    return datasets.get_by_reference(container(), caller().tenant, reference) if reference else None


def page(name: str, found: Sequence[Listed], most: int, write: Callable[[Listed], dict[str, Any]]) -> dict[str, Any]:
    """Return one page of a list: the first `most` of `found`, and the cursor of the next page, or None at the end."""
    shown = found[:most]
    return {name: [write(one) for one in shown], "next": str(shown[-1].id) if len(found) > most else None}
