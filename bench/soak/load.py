"""The mixed load of a soak, as a helper process (`python -m bench.soak.load`): all that callers send, with mistakes.

Each kind knows which answers are right for it; a 5xx never is. Webhooks are received here as well.
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import random
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import material, subprocess_rpc
from bench.connection import Connection
from bench.load import arrivals
from bench.ways import JPEG, Refused, Way, submit_then_poll, synchronous, wires

MODEL = "digits"
"""The catalogue's smallest model: of all, most requests a second, so that what each of them leaves behind shows."""
CALLERS = 16
ARCHIVED = 10
"""Pictures of an archive."""
SETTLE = 20.0
"""Seconds after the load in which webhooks may still arrive."""
ERRORS = (Refused, OSError, EOFError, TimeoutError, ValueError)
_JSON = "Content-Type: application/json\r\n"
_WITH_CALLBACK = "callback"


def expecting(path: str, headers: str, body: Callable[[bytes], bytes], *statuses: int) -> Way:
    """Return the way of one request that must be answered by one of the statuses; raises Refused for any other."""

    async def send(connection: Connection, picture: bytes) -> str:
        status, answer = await connection.ask("POST", path, headers, body(picture))
        if status not in statuses:
            raise Refused(status, answer)
        return ""

    return send


def with_wrong_key(way: Way, url: str) -> Way:
    """Return the way, sent with a key that does not exist, which is another one each time."""
    numbers = itertools.count()

    async def send(connection: Connection, picture: bytes) -> str:
        wrong = Connection(url, f"iq_wrong_{next(numbers)}")
        try:
            return await way(wrong, picture)
        finally:
            wrong.close()

    return send


def kinds(url: str, hook: str) -> dict[str, tuple[int, Way]]:
    """Return name -> (share of the requests, way) of everything that is sent; `hook` is the URL for webhooks."""
    classify = f"/v1/classify?model={MODEL}"

    def job(picture: bytes) -> bytes:
        inputs = [{"base64": base64.b64encode(picture).decode()}]
        return json.dumps({"inputs": inputs, "model": MODEL, "webhook": {"url": hook}}).encode()

    def archived(picture: bytes) -> bytes:
        with io.BytesIO() as file, tarfile.open(fileobj=file, mode="w") as tar:
            for number in range(ARCHIVED):
                member = tarfile.TarInfo(f"{number}.jpg")
                member.size = len(picture)
                tar.addfile(member, io.BytesIO(picture))
            tar.close()
            return file.getvalue()

    follow_archive = submit_then_poll(MODEL, "")

    async def archive(connection: Connection, picture: bytes) -> str:
        return await follow_archive(connection, archived(picture))

    every = {
        "synchronous": (6, synchronous(MODEL)),
        "submit, poll": (4, submit_then_poll(MODEL)),
        "archive": (1, archive),
        _WITH_CALLBACK: (2, expecting("/v1/jobs", f"{_JSON}Prefer: respond-async\r\n", job, 202)),
        # A worker finds what the header hides: the job is answered, and the picture in it has failed.
        "broken picture": (1, expecting(classify, JPEG, lambda picture: picture[: len(picture) // 2], 200, 202, 400)),
        "no picture": (1, expecting(classify, JPEG, lambda _: b"no picture at all", 400)),
        "broken archive": (1, expecting("/v1/jobs", "", lambda picture: archived(picture)[:1500], 400)),
        "wrong key": (1, with_wrong_key(expecting(classify, JPEG, bytes, 401, 429), url)),
    }
    return every | {name: (1, way) for name, way in wires(MODEL).items()}


class Receiver:
    """An HTTP server on loopback that counts the webhooks that arrive."""

    def __init__(self) -> None:
        self.received = 0

    async def start(self) -> str:
        """Listen on a free port and return the URL."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length:")[2].partition(b"\r")[0]
            await reader.readexactly(int(length or 0))
            self.received += 1
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except (OSError, EOFError, ValueError):
            pass  # it is sent again
        finally:
            writer.close()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


class Mixed:
    """Callers that send all kinds in a random order, the same at every run."""

    def __init__(self, url: str, key: str, pictures: list[bytes], hook: str) -> None:
        self._url, self._key = url, key
        self._kinds = kinds(url, hook)
        self._pictures = itertools.cycle(pictures)
        names = [name for name, (share, _) in self._kinds.items() for _ in range(share)]
        random.Random(material.SEED).shuffle(names)
        self._names = itertools.cycle(names)
        self.counts: dict[str, dict[str, Any]] = {
            name: {"sent": 0, "unexpected": 0, "first": ""} for name in self._kinds
        }

    async def send(self, moments: Iterator[float]) -> None:
        """Send one request at each of the moments (of `time.perf_counter`), or later where all callers are busy."""
        await asyncio.gather(*(self._caller(moments) for _ in range(CALLERS)))

    async def _caller(self, moments: Iterator[float]) -> None:
        connection = Connection(self._url, self._key)
        for moment in moments:
            if (early := moment - time.perf_counter()) > 0:
                await asyncio.sleep(early)
            name = next(self._names)
            count = self.counts[name]
            count["sent"] += 1
            try:
                await self._kinds[name][1](connection, next(self._pictures))
            except ERRORS as error:
                count["unexpected"] += 1
                count["first"] = count["first"] or f"{type(error).__name__}: {error}"[:300]
                connection.close()
        connection.close()

    @property
    def sent(self) -> int:
        """All requests so far."""
        return sum(count["sent"] for count in self.counts.values())


def back_to_back(until: float) -> Iterator[float]:
    """Yield moments without a pause, for callers that send the next request once the last is answered."""
    while (now := time.perf_counter()) < until:
        yield now


async def run(url: str, key: str, pictures: list[bytes], question: dict[str, Any]) -> dict[str, Any]:
    """Send the mixed load for `seconds`: `rate` requests a second, or as many as the service bears if it is 0."""
    receiver = Receiver()
    mixed = Mixed(url, key, pictures, await receiver.start())
    began = time.perf_counter()
    until = began + question["seconds"]
    await mixed.send(arrivals(question["rate"], began, until) if question["rate"] else back_to_back(until))
    passed = time.perf_counter() - began
    wanted = mixed.counts[_WITH_CALLBACK]["sent"] - mixed.counts[_WITH_CALLBACK]["unexpected"]
    while receiver.received < wanted and time.perf_counter() < began + passed + SETTLE:
        await asyncio.sleep(0.1)
    receiver.close()
    return {"rate": mixed.sent / passed, "kinds": mixed.counts, "callbacks": receiver.received}


def main(url: str, folder: str) -> None:
    """Serve questions from the benchmark."""
    key = os.environ.get("INFERQ_KEY", "")  # not an argument, which `ps` would show
    pictures = [path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.suffix in (".jpg", ".png")]
    subprocess_rpc.serve(lambda question: asyncio.run(run(url, key, pictures, question)))


if __name__ == "__main__":
    main(*sys.argv[1:3])
