"""Parser of job submissions: a multipart, JSON or raw body, with options from form, query or JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar, cast

from flask import Request

from api import reading
from api.context import caller, container
from api.dialects.native.requests import common
from shared import errors
from shared.adapters import http_fetch
from shared.adapters.fetch_many import AT_ONCE, fetch_many
from shared.domain import webhooks
from shared.domain.jobs import AnswerOptions, ImageReference, Submission
from shared.domain.pictures import Limits, Picture, name_in_url
from shared.domain.stored_images import StoredImage
from shared.imaging import images
from shared.schemas.common import Request as Asked
from shared.schemas.jobs import Input, JobForm, JobOptions, JobRequest, RawJob, Webhook
from shared.schemas.searches import RawSearch
from shared.services import stored_images
from shared.settings import Settings

Options = TypeVar("Options", bound=Asked)
FAR = 100 * 366 * 24 * 3600
"""Seconds; a deadline over a century away, in past or future, is a mistake, and hard to write as a date."""
FETCHING = 60.0
"""Seconds for fetching all pictures of one request, as it occupies a thread of the API."""
_KINDS = ("url", "base64", "image_id")
_URL = re.compile(r"\s*[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def read(request: Request) -> Submission:
    """Return the submission of a request; raises subclasses of BadRequest before any picture is read."""
    options, pictures = read_pictures(request, JobForm, JobRequest, JobOptions, RawJob)
    url, secret = webhook(options.webhook)
    return Submission(
        pictures=pictures,
        model=options.model,
        version=options.version,
        options=AnswerOptions(
            task=options.task,
            top_k=options.top_k,
            function_to_apply=options.function_to_apply,
            exif=options.exif,
        ),
        priority=options.priority,
        deadline=_deadline(options.deadline),
        webhook=url,
        webhook_secret=secret,
        metadata=options.metadata,
        idempotency_key=idempotency_key(request),
        explain=options.explain_label if options.explain or options.explain_label else None,
    )


def read_pictures(
    request: Request, form: type[Options], json: type[Options], options: type[Options], raw: type[Options]
) -> tuple[Options, Iterator[Picture | ImageReference]]:
    """Return the options and the pictures of a body, which is a form, JSON with `inputs`, or one file.

    `json` is `options` with `inputs`, `raw` is `options` with `name`. Raises as `read`.
    """
    limits = reading.limits(container().settings)
    if reading.is_multipart(request):
        return common.parse(form, request.form, request.args), iter(images.pictures(reading.files(request), limits))
    if reading.is_json(request):
        body = reading.json_object(request, reading.with_pictures(container().settings))
        common.refuse_unknown(common.field_names(json), body)
        inputs = body.pop("inputs", None)
        return common.parse(options, body, request.args), _inputs(inputs, limits)
    asked = common.parse(raw, request.args)
    upload = reading.body(request, cast(RawJob | RawSearch, asked).name)
    if upload:
        reading.refuse_form(upload.stream.read(1000))
        upload.stream.seek(0)
    return asked, iter(images.pictures([upload] if upload else [], limits))


def idempotency_key(request: Request) -> str:
    """Return the Idempotency-Key of a request; raises BadOption."""
    key = request.headers.get("Idempotency-Key", "")
    if len(key) > 255:
        raise errors.BadOption("an Idempotency-Key has at most 255 characters")
    return key


def _inputs(inputs: Any, limits: Limits) -> Iterator[Picture | ImageReference]:
    if isinstance(inputs, (dict, str)):
        inputs = [inputs]
    if not isinstance(inputs, list) or not inputs:
        raise errors.NoInput("`inputs` must be a list of objects with one of `url`, `base64` or `image_id`.")
    if len(inputs) > limits.max_files:
        raise errors.TooManyFiles(f"{len(inputs)} inputs are more than the {limits.max_files} of one job.")
    return _pictures([_input(index, data) for index, data in enumerate(inputs)], limits)


def _pictures(inputs: Sequence[Input], limits: Limits) -> Iterator[Picture | ImageReference]:
    """Yield the picture of each input. An error names the input, unless it is the only one, and so it does with those
    among the next few that cannot be used either."""
    fetch = partial(_fetch, container().settings, limits.max_bytes)
    fetched = fetch_many([wanted.url for wanted in inputs if wanted.url], fetch, FETCHING)
    failures: list[errors.InferqError] = []
    last = len(inputs)
    for index, wanted in enumerate(inputs):
        if index >= last:
            break
        try:
            picture = _picture(index, wanted, fetched, limits)
        except (errors.BadRequest, errors.NotFound) as error:
            failures.append(error if len(inputs) == 1 else type(error)(f"inputs[{index}]: {error.message}"))
            last = index + AT_ONCE if len(failures) == 1 else last
        else:
            if not failures:
                yield picture
    if failures:
        raise type(failures[0])(" ".join(error.message for error in failures))


def _input(index: int, data: Any) -> Input:
    """Return one entry of `inputs`, an object, or a text that is a URL or base64; raises BadOption."""
    if isinstance(data, str):
        return Input(url=data.strip()) if _URL.match(data) else Input(base64=data)
    kinds = [kind for kind in _KINDS if isinstance(data, dict) and data.get(kind)]
    if len(kinds) != 1 or not isinstance(data[kinds[0]], str):
        raise errors.BadOption(f"inputs[{index}] must have exactly one of `url`, `base64` or `image_id`, as a text")
    try:
        common.refuse_unknown(common.field_names(Input), data)
    except errors.BadOption as error:
        raise errors.BadOption(f"inputs[{index}]: {error.message}") from None
    kind, value = kinds[0], data[kinds[0]]
    if kind == "url" and images.is_data_url(value):
        kind = "base64"
    return Input(**{kind: value.strip()}, name=str(data.get("name") or ""))


def _picture(index: int, wanted: Input, fetched: Iterator[bytes | errors.BadUrl], limits: Limits
             ) -> Picture | ImageReference:  # fmt: skip
    if wanted.image_id:
        stored = _stored(wanted.image_id)
        return ImageReference(stored.id, stored.name, stored.blob, stored.size)
    if wanted.base64:
        return images.check(wanted.name or f"input-{index}", images.from_base64(wanted.base64), limits)
    data = next(fetched)
    if isinstance(data, errors.BadUrl):
        raise data
    return images.check(wanted.name or name_in_url(wanted.url) or "file", data, limits)


def _fetch(settings: Settings, max_bytes: int, url: str, seconds: float) -> bytes:
    timeout, private = min(seconds, settings.fetch_timeout), settings.fetch_private
    return http_fetch.fetch(url, max_bytes=max_bytes, timeout=timeout, allow_private=private)


def _stored(image_id: str) -> StoredImage:
    """Return a stored image that this key may see; raises NotFound, with the same text for a foreign image."""
    try:
        return stored_images.get(container(), caller().tenant, caller().stage, image_id)
    except errors.Forbidden:
        raise errors.NotFound(f"There is no image {image_id}.") from None


def _deadline(deadline: str | float) -> float | None:
    """Return the deadline in Unix seconds, given as seconds from now or in RFC 3339; raises BadOption."""
    if deadline == "":
        return None
    when, earliest = _iso_time(str(deadline)), float(-FAR)  # a past time is no mistake: the job expires
    if when is None:
        with suppress(ValueError):
            when, earliest = container().now() + float(deadline), 0.0
    if when is None or not earliest < when - container().now() <= FAR:
        raise errors.BadOption(
            f"deadline must be seconds from now, above 0 and up to {FAR}, or such a time in RFC 3339"
        )
    return when


def read_time(name: str, text: str) -> float | None:
    """Return a time of the query in Unix seconds, None if it is absent; raises BadOption."""
    when = parse_time(text) if text else None
    if text and when is None:
        raise errors.BadOption(f"{name} must be a time in RFC 3339, such as 2026-01-31T12:00:00Z, not {text!r}")
    return when


def parse_time(text: str) -> float | None:
    """Return a time in RFC 3339, or in Unix seconds, as finite Unix seconds; None if it is neither."""
    when = _iso_time(text)
    with suppress(ValueError):
        when = float(text) if when is None else when
    return when if when is not None and math.isfinite(when) else None


def _iso_time(text: str) -> float | None:
    """Return a time in ISO 8601 as Unix seconds, in UTC if it names no zone; None if it is no such time."""
    try:
        when = datetime.fromisoformat(text)
        return (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None


def webhook(given: Any) -> tuple[str, str]:
    """Return (URL, secret), from a text or an object with `url` and `secret`; raises BadOption if not deliverable."""
    if not given:
        return "", ""
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = reading.Fields({"webhook": given}).mapping("webhook")
    if isinstance(given, dict):
        common.refuse_unknown(common.field_names(Webhook), given)
        url, secret = given.get("url"), given.get("secret") or ""
    else:
        url, secret = given, ""
    if not isinstance(url, str) or not isinstance(secret, str):
        raise errors.BadOption("webhook must be a URL, or an object with `url` and `secret`")
    try:
        http_fetch.check_url(url, allow_private=container().settings.webhook_private)
    except errors.BadUrl as error:
        raise errors.BadOption(f"the webhook's URL cannot be called back: {error.reason}") from error
    try:
        webhooks.signing_key(secret)
    except ValueError:
        raise errors.BadOption("the webhook's secret begins with whsec_ and is not base64 after it") from None
    return url, secret
