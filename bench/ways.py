"""The ways of sending a picture: inferq's native calls, its other wires, and the calls of the peers' servers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from functools import lru_cache, partial
from urllib.parse import quote

from bench.connection import Connection

POLL = "Prefer: wait=20\r\n"
JPEG = "Content-Type: image/jpeg\r\n"
_JSON = "Content-Type: application/json\r\n"
BOUNDARY = "inferq-bench"
_FORM = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
_ID = b'"_id":"'
_KEPT = 64
"""Bodies that are kept: all pictures of one kind, which are sent in turn."""

Way = Callable[[Connection, bytes], Awaitable[str]]
"""Sends a picture and returns the id of its job, empty if it has none; raises Refused."""


class Refused(Exception):
    """The service refused a request; the text is the beginning of its answer."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body[:300].decode(errors='replace')}")
        self.status = status


def synchronous(model: str) -> Way:
    """Return the way of one request per picture; on 202, when no waiting place is free, the job is polled."""
    path = f"/v1/classify?model={quote(model)}"

    async def send(connection: Connection, picture: bytes) -> str:
        status, body = await connection.ask("POST", path, JPEG, picture)
        return await follow(connection, status, body)

    return send


def submit_then_poll(model: str, headers: str = JPEG) -> Way:
    """Return the way of submitting a job and long-polling it until it has ended."""
    path = f"/v1/jobs?model={quote(model)}"

    async def send(connection: Connection, picture: bytes) -> str:
        status, body = await connection.ask("POST", path, headers + "Prefer: respond-async\r\n", picture)
        return await follow(connection, status, body)

    return send


def unfollowed(model: str, patience: float) -> Way:
    """Return the way of one request per picture without polling, of a caller that says for how many seconds it waits;
    anything but 200 is Refused."""
    return _call(f"/v1/classify?model={quote(model)}", f"{JPEG}Prefer: wait={patience:g}\r\n")


def wires(model: str) -> dict[str, Way]:
    """Return name -> way for the wires on which a caller can choose the model; one picture per request."""
    named = quote(model)
    return {
        "SAP": _call(f"/api/v2/image/classification/models/{named}/versions/1", _FORM, partial(_form, "files")),
        "Einstein": _call("/v2/vision/predict", _FORM, partial(_form, "sampleContent", modelId=model)),
        "Hugging Face": _call(f"/models/{named}", f"{JPEG}x-use-cache: false\r\n"),
        "Hugging Face, cached": _call(f"/models/{named}", JPEG),
    }


def peer(path: str, body: str) -> Way:
    """Return the way of a peer: `body` is `raw` for the picture itself, `base64 NAME` for JSON with a field of that
    name, or `form NAME` for a multipart body."""
    kind, _, name = body.partition(" ")
    match kind:
        case "base64":
            return _call(path, _JSON, lambda picture: json.dumps({name: base64.b64encode(picture).decode()}).encode())
        case "form":
            return _call(path, _FORM, partial(_form, name))
    return _call(path, JPEG)


def _call(path: str, headers: str, wrap: Callable[[bytes], bytes] = bytes) -> Way:
    wrapped = lru_cache(_KEPT)(wrap)  # Python keeps the hash of bytes, so that a look-up costs nothing

    async def send(connection: Connection, picture: bytes) -> str:
        status, body = await connection.ask("POST", path, headers, wrapped(picture))
        if status != 200:
            raise Refused(status, body)
        return _job_id(body)

    return send


def _form(field: str, picture: bytes, **texts: str) -> bytes:
    """Return a multipart body: text fields, then the picture."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
             for name, text in texts.items()]  # fmt: skip
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n{JPEG}\r\n'
    return "".join([*parts, head]).encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


async def follow(connection: Connection, status: int, body: bytes) -> str:
    """Poll until the job has ended and return its id; raises Refused unless it is DONE."""
    while status == 202 or (status == 200 and b'"terminal":false' in body):
        sent_at = time.perf_counter()
        status, body = await connection.ask("GET", f"/v1/jobs/{_job_id(body)}", POLL)
        if time.perf_counter() - sent_at < 0.1 and b'"terminal":false' in body:
            await asyncio.sleep(0.1)  # the service did not hold the request: all waiting places are taken
    if status != 200 or b'"status":"DONE"' not in body:
        raise Refused(status, body)
    return _job_id(body)


def _job_id(body: bytes) -> str:
    """Return the id of the job in a native answer, without parsing all of it; empty if there is none."""
    begin = body.find(_ID) + len(_ID)
    return body[begin : body.find(b'"', begin)].decode() if begin >= len(_ID) else ""
