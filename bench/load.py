"""The load: closed-loop drivers over raw keep-alive connections, as a helper process (`python -m bench.load`).

One asyncio process that hardly parses the responses: the client shares the cores with what it measures, and httpx
would cost about as much per request as the service itself.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from bench import measure, subprocess_rpc

POLL = "Prefer: wait=20\r\n"
JPEG = "Content-Type: image/jpeg\r\n"
PATIENCE = 60.0
"""Seconds for one answer."""


class Refused(Exception):
    """The service refused a request; the text is the beginning of its answer."""


class Connection:
    """One keep-alive connection."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or 80
        self._always = f"Host: {self._host}:{self._port}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, method: str, path: str, headers: str = "", body: bytes = b"") -> tuple[int, bytes]:
        """Send one request and return (status, body); opens the connection if there is none."""
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        self._writer.write(f"{method} {path} HTTP/1.1\r\n{self._always}{headers}{length}\r\n".encode() + body)
        async with asyncio.timeout(PATIENCE):
            head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
            content = await self._reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r")[0]))
        if b"connection: close" in head:
            self.close()
        return int(head[9:12]), content

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


Way = Callable[[Connection, bytes], Awaitable[None]]


def synchronous(model: str) -> Way:
    """Return the way of one request per picture; on 202, when no waiting place is free, the job is polled."""
    path = f"/v1/classify?model={quote(model)}"

    async def send(connection: Connection, picture: bytes) -> None:
        status, body = await connection.ask("POST", path, JPEG, picture)
        await follow(connection, status, body)

    return send


def submit_then_poll(model: str, headers: str = JPEG) -> Way:
    """Return the way of submitting a job and long-polling it until it has ended."""
    path = f"/v1/jobs?model={quote(model)}"

    async def send(connection: Connection, picture: bytes) -> None:
        status, body = await connection.ask("POST", path, headers + "Prefer: respond-async\r\n", picture)
        await follow(connection, status, body)

    return send


BOUNDARY = "inferq-bench"


def wires(model: str) -> dict[str, Way]:
    """Return name -> way for the wires on which a caller can choose the model; one picture per request."""
    named = quote(model)
    form = f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    return {
        "SAP": _call(f"/api/v2/image/classification/models/{named}/versions/1", form, partial(_form, "files")),
        "Einstein": _call("/v2/vision/predict", form, partial(_form, "sampleContent", modelId=model)),
        "Hugging Face": _call(f"/models/{named}", f"{JPEG}x-use-cache: false\r\n"),
        "Hugging Face, cached": _call(f"/models/{named}", JPEG),
    }


def _call(path: str, headers: str, wrap: Callable[[bytes], bytes] = bytes) -> Way:
    async def send(connection: Connection, picture: bytes) -> None:
        status, body = await connection.ask("POST", path, headers, wrap(picture))
        if status != 200:
            raise Refused(f"{status} {body[:300].decode(errors='replace')}")

    return send


def _form(field: str, picture: bytes, **texts: str) -> bytes:
    """Return a multipart body: text fields, then the picture."""
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'
             for name, text in texts.items()]  # fmt: skip
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="a.jpg"\r\n{JPEG}\r\n'
    return "".join([*parts, head]).encode() + picture + f"\r\n--{BOUNDARY}--\r\n".encode()


async def follow(connection: Connection, status: int, body: bytes) -> None:
    """Poll until the job has ended; raises Refused unless it is DONE."""
    while status == 202 or (status == 200 and b'"terminal":false' in body):
        sent_at = time.perf_counter()
        path = f"/v1/jobs/{json.loads(body)['_id']}"
        status, body = await connection.ask("GET", path, POLL)
        if time.perf_counter() - sent_at < 0.1 and b'"terminal":false' in body:
            await asyncio.sleep(0.1)  # the service did not hold the request: all waiting places are taken
    if status != 200 or b'"status":"DONE"' not in body:
        raise Refused(f"{status} {body[:300].decode(errors='replace')}")


@dataclass
class Tally:
    """The answered requests and the errors of one run."""

    ended: list[tuple[float, float]] = field(default_factory=list)
    """(when, milliseconds) of each request that was answered."""
    errors: list[str] = field(default_factory=list)


async def drive(url: str, key: str, send: Way, pictures: list[bytes], question: dict[str, Any]) -> dict[str, Any]:
    """Run `concurrency` callers in a closed loop for `warmup` plus `seconds`, with `pause` between their requests.

    Only requests that end after the warm-up are counted, and CPU is measured over the same period.
    """
    tally, turns = Tally(), itertools.cycle(pictures)
    start = time.perf_counter() + question["warmup"]
    until = start + question["seconds"]

    async def caller() -> None:
        connection = Connection(url, key)
        while time.perf_counter() < until:
            began = time.perf_counter()
            try:
                await send(connection, next(turns))
                tally.ended.append((time.perf_counter(), (time.perf_counter() - began) * 1000))
            except (Refused, OSError, EOFError, TimeoutError, ValueError) as error:
                tally.errors.append(f"{type(error).__name__}: {error}")
                connection.close()
                await asyncio.sleep(0.2)
            await asyncio.sleep(question.get("pause", 0.0))
        connection.close()

    callers = asyncio.gather(*(caller() for _ in range(question["concurrency"])))
    await asyncio.sleep(question["warmup"])
    before, machine = measure.cpu_seconds(question["pids"]), measure.machine_seconds()
    await asyncio.sleep(until - time.perf_counter())
    after, machine = measure.cpu_seconds(question["pids"]), measure.machine_seconds() - machine
    await callers
    counted = [latency for when, latency in tally.ended if start <= when <= until]
    return _answer(counted, question["seconds"], before, after, machine) | _errors(tally)


async def one_job(url: str, key: str, send: Way, archive: bytes, question: dict[str, Any]) -> dict[str, Any]:
    """Measure one archive, from the first byte sent to the last picture answered."""
    before, machine, began = measure.cpu_seconds(question["pids"]), measure.machine_seconds(), time.perf_counter()
    connection = Connection(url, key)
    await send(connection, archive)
    seconds = time.perf_counter() - began
    connection.close()
    after, machine = measure.cpu_seconds(question["pids"]), measure.machine_seconds() - machine
    return _answer([seconds * 1000], seconds, before, after, machine) | _errors(Tally())


def _answer(
    latencies: list[float], seconds: float, before: dict[str, float], after: dict[str, float], machine: float
) -> dict[str, Any]:
    cpu = {part: after[part] - before[part] for part in after}
    others_cpu = max(0.0, machine - sum(cpu.values()))
    return {"latencies": latencies, "seconds": seconds, "cpu": cpu, "others": others_cpu / seconds}


def _errors(tally: Tally) -> dict[str, Any]:
    return {"errors": len(tally.errors), "first_errors": tally.errors[:3]}


def main(url: str, model: str, folder: Path) -> None:
    """Serve questions from the benchmark; each names a `way` of sending."""
    key = os.environ.get("INFERQ_KEY", "")  # not an argument, which `ps` would show
    pictures = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))]

    def answer(question: dict[str, Any]) -> Any:
        match question["way"]:
            case "synchronous":
                return asyncio.run(drive(url, key, synchronous(model), pictures, question))
            case "submit, poll":
                return asyncio.run(drive(url, key, submit_then_poll(model), pictures, question))
        if wire := wires(model).get(question["way"]):
            return asyncio.run(drive(url, key, wire, pictures, question))
        archive = (folder / "pictures.tar").read_bytes()
        return asyncio.run(one_job(url, key, submit_then_poll(model, ""), archive, question))

    subprocess_rpc.serve(answer)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
