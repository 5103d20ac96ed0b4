"""What the calls of the native wire are asked alike: how long to wait, which page, and small JSON bodies."""

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
"""No id that is a number reaches it."""


def preferred_wait(default: float = 0.0) -> float:
    """Seconds, from `Prefer` (RFC 7240); `respond-async` is a wait of none."""
    preferred = parse_dict_header(request.headers.get("Prefer", ""))
    if "respond-async" in preferred and "wait" not in preferred:
        return 0.0
    try:
        return max(0.0, float(preferred.get("wait") or default))
    except ValueError:
        raise errors.BadOption("the wait in Prefer must be a number of seconds") from None


def refuse_idempotency_key() -> None:
    """Raise BadOption for a key that would not be heeded: who sends one relies on it."""
    if request.headers.get("Idempotency-Key"):
        raise errors.BadOption("an Idempotency-Key is for jobs only: leave it out, and look before you send this again")


def json_fields() -> Fields:
    """The fields of a JSON body that carries no picture, or else of the query."""
    return Fields(reading.json_object(request, reading.SMALL), request.args)


def needed(fields: Fields, name: str, what: str) -> str:
    """A text that must be there; raises BadOption saying what it is to be."""
    found = fields.text(name)
    if not found:
        raise errors.BadOption(f"{name} must be {what}")
    return found


def texts(fields: Fields, name: str) -> Sequence[str]:
    """A list of texts, none where it is not given; raises BadOption."""
    found = fields.raw(name) or []
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise errors.BadOption(f"{name} must be a list of texts")
    return found


def limit(fields: Fields) -> int:
    """How many one page holds."""
    found = fields.whole("limit", 50)
    if not 1 <= found <= 500:
        raise errors.BadOption("limit must be 1 to 500")
    return found


def numbered(fields: Fields) -> int | None:
    """`cursor`, where the page before ended with an id that is a number; None for the first page."""
    if not fields.has("cursor"):
        return None
    found = fields.whole("cursor", 0)
    if not 0 <= found < LARGEST_ID:
        raise errors.BadOption("cursor must be the `next` of the page before")
    return found


def status(fields: Fields) -> str:
    """The status that a list is narrowed to; empty for all."""
    found = fields.text("status").upper()
    if found and found not in list(Status):
        raise errors.BadOption(f"status must be one of {', '.join(Status)}, not {found!r}")
    return found


def dataset(fields: Fields) -> Dataset | None:
    """The caller's dataset that `dataset` names by its id or name; None where none is named. Raises NotFound."""
    reference = fields.text("dataset")
    return datasets.get_by_reference(container(), caller().tenant, reference) if reference else None


def page(name: str, found: Sequence[Listed], most: int, write: Callable[[Listed], dict[str, Any]]) -> dict[str, Any]:
    """One page of a list as it is answered: the first `most` of those found, and the cursor of what follows them."""
    shown = found[:most]
    return {name: [write(one) for one in shown], "next": str(shown[-1].id) if len(found) > most else None}
