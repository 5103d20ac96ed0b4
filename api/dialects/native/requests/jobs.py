"""Parser of job submissions: a multipart, JSON or raw body, with options from form, query or JSON."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from flask import Request

from api import reading
from api.context import caller, container
from api.reading import Fields
from shared import errors
from shared.adapters import http_fetch
from shared.domain import webhooks
from shared.domain.jobs import AnswerOptions, ImageReference, Submission
from shared.domain.pictures import Limits, Picture
from shared.domain.stored_images import StoredImage
from shared.imaging import images
from shared.services import stored_images

FAR = 100 * 366 * 24 * 3600
"""Seconds; a deadline over a century away, in past or future, is a mistake, and hard to write as a date."""
FETCHING = 60.0
"""Seconds for fetching all pictures of one request, as it occupies a thread of the API."""


def read(request: Request) -> Submission:
    """Return the submission of a request; raises subclasses of BadRequest before any picture is read."""
    limits = reading.limits(container().settings)
    if reading.is_multipart(request):
        fields = Fields(request.form, request.args)
        pictures: Iterator[Picture | ImageReference] = iter(images.pictures(reading.files(request), limits))
    elif reading.is_json(request):
        body = reading.json_object(request, reading.with_pictures(container().settings))
        fields = Fields(body, request.args)
        pictures = _inputs(fields, limits)
    else:
        fields = Fields(request.args)
        upload = reading.body(request, fields.text("name", "file"))
        pictures = iter(images.pictures([upload] if upload else [], limits))
    hook, secret = webhook(fields)
    return Submission(
        pictures=pictures,
        model=fields.text("model"),
        version=fields.text("version"),
        options=AnswerOptions(
            task=fields.text("task", "classify"),
            top_k=fields.whole("top_k", 5),
            function_to_apply=fields.text("function_to_apply", "softmax"),
            exif=fields.flag("exif", True),
        ),
        priority=fields.text("priority", "normal"),
        deadline=_deadline(fields),
        webhook=hook,
        webhook_secret=secret,
        metadata=fields.mapping("metadata"),
        idempotency_key=_idempotency_key(request),
    )


def _idempotency_key(request: Request) -> str:
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255:
        raise errors.BadOption("an Idempotency-Key has at most 255 characters")
    return key


def _inputs(fields: Fields, limits: Limits) -> Iterator[Picture | ImageReference]:
    inputs = fields.raw("inputs")
    if isinstance(inputs, (dict, str)):
        inputs = [inputs]
    if not isinstance(inputs, list) or not inputs:
        raise errors.NoInput("`inputs` must be a list of objects with one of `url`, `base64` or `image_id`.")
    if len(inputs) > limits.max_files:
        raise errors.TooManyFiles(f"{len(inputs)} inputs are more than the {limits.max_files} of one job.")
    until = time.monotonic() + FETCHING
    return (_input(index, given, limits, until) for index, given in enumerate(inputs))


def _input(index: int, given: Any, limits: Limits, until: float) -> Picture | ImageReference:
    if isinstance(given, str):
        given = {"url": given} if given.startswith(("http://", "https://")) else {"base64": given}
    kinds = [kind for kind in ("url", "base64", "image_id") if isinstance(given, dict) and given.get(kind)]
    if len(kinds) != 1 or not isinstance(given[kinds[0]], str):
        raise errors.BadOption(f"inputs[{index}] must have exactly one of `url`, `base64` or `image_id`, as a text")
    kind, value = kinds[0], given[kinds[0]]
    name = str(given.get("name") or (f"input-{index}" if kind == "base64" else value.rsplit("/", 1)[-1] or "file"))
    if kind == "image_id":
        kept = _kept(value)
        return ImageReference(kept.id, kept.name, kept.blob, kept.size)
    if kind == "base64":
        return images.check(name, images.from_base64(value), limits)
    settings = container().settings
    left = until - time.monotonic()
    if left <= 0:
        raise errors.BadUrl(f"inputs[{index}] was not fetched: one request fetches for {FETCHING:g} s, no longer.")
    timeout = min(left, settings.fetch_timeout)
    data = http_fetch.fetch(value, max_bytes=limits.max_bytes, timeout=timeout, allow_private=settings.fetch_private)
    return images.check(name, data, limits)


def _kept(image_id: str) -> StoredImage:
    """Return a stored image that this key may see; raises NotFound, with the same text for a foreign image."""
    try:
        return stored_images.get(container(), caller().tenant, caller().stage, image_id)
    except errors.Forbidden:
        raise errors.NotFound(f"There is no image {image_id}.") from None


def _deadline(fields: Fields) -> float | None:
    """Return the deadline in Unix seconds, given as seconds from now or in ISO 8601; raises BadOption."""
    if not fields.has("deadline"):
        return None
    try:
        when = datetime.fromisoformat(fields.text("deadline"))
        seconds = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp() - time.time()
        earliest = float(-FAR)  # a past time is no mistake: the job expires
    except (ValueError, OverflowError):
        seconds, earliest = fields.number("deadline", 0), 0.0
    if not earliest < seconds <= FAR:
        raise errors.BadOption(f"deadline must be seconds, above 0 and up to {FAR}, or such a time in ISO 8601")
    return time.time() + seconds


def webhook(fields: Fields) -> tuple[str, str]:
    """Return (URL, secret), from a text or an object with `url` and `secret`; raises BadOption if not deliverable."""
    given = fields.raw("webhook")
    if not given:
        return "", ""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = fields.mapping("webhook")
    url, secret = (given.get("url"), given.get("secret") or "") if isinstance(given, dict) else (given, "")
    if not isinstance(url, str) or not isinstance(secret, str):
        raise errors.BadOption("webhook must be a URL, or an object with `url` and `secret`")
    try:
        http_fetch.check_url(url, allow_private=container().settings.webhook_private)
    except errors.BadUrl as error:
        reason = error.message.partition(". ")[0]  # the rest of the message is advice about pictures
        raise errors.BadOption(f"the webhook's URL cannot be called back: {reason}") from error
    try:
        webhooks.signature(secret, "", 0, b"")
    except ValueError:
        raise errors.BadOption("the webhook's secret begins with whsec_ and is not base64 after it") from None
    return url, secret
