"""How pictures are sent as one job: a form, or JSON where a URL is among them, with an idempotency key."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

from inferq.client import http, pictures
from inferq.client.connection import Connection, read
from inferq.client.pictures import Picture
from shared.schemas.jobs import Job

_FETCHING = 60.0
"""Seconds in which the server has fetched the URLs of one request, or has given them up."""
AT_ONCE = {"Prefer": "respond-async"}
"""The header that asks the server to answer when the job is stored."""


class Options(TypedDict, total=False):
    """The options of `POST /v1/jobs`: the fields of `JobOptions` in shared/schemas/jobs.py, which describes them."""

    model: str | None
    version: str | None
    task: Literal["classify", "features"]
    top_k: int | None
    function_to_apply: Literal["softmax", "sigmoid", "none"]
    exif: bool
    explain: bool | None
    explain_label: str | None
    priority: Literal["high", "normal", "low"]
    deadline: str | float
    webhook: str | Mapping[str, str]
    metadata: Mapping[str, Any]


async def submit(
    connection: Connection, path: str, sent: Sequence[Picture], options: Mapping[str, Any], *,
    headers: Mapping[str, str] = AT_ONCE, wait: float = 0.0, key: str = "", is_repeated: bool = True,
) -> Job:  # fmt: skip
    """Send pictures and return the job; the server may take `wait` seconds longer.

    The request has the idempotency key `key`, or a new one, so that it can be repeated and makes no second job;
    `is_repeated` says whether it is, as Connection.repeated does. Raises OSError and InferqError as `pictures.part`.
    """
    body, seconds = await connection.runtime.call(lambda: _body(sent, options))
    timeout = connection.timeout + wait + seconds
    send = connection.repeated if is_repeated else connection.request
    headers = {**headers, "Idempotency-Key": key or uuid.uuid4().hex}
    return read(Job, await send("POST", path, headers=headers, timeout=timeout, **body))


def _body(sent: Sequence[Picture], options: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """Return the body as an argument of httpx, and the seconds that the server may take to fetch what is in it."""
    given = {name: value for name, value in options.items() if value is not None}
    if any(pictures.is_url(picture) for picture in sent):  # which a form cannot carry
        inputs = [pictures.entry(number, picture) for number, picture in enumerate(sent, 1)]
        return {"json": {**given, "inputs": inputs}}, _FETCHING
    parts = [("files", pictures.part(number, picture)) for number, picture in enumerate(sent, 1)]
    return {"files": [*((name, (None, http.text(value))) for name, value in given.items()), *parts]}, 0.0
