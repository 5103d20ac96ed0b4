"""The state of a stack as text: `record` writes a stopped stack into JSON and SQL, `restore` makes a data folder of it.

Three files hold it: `inferq.sql` the schema and rows of SQLite, `valkey.json` the commands that bring back what Valkey
held, `blobs.json` the stored files, compressed.

Recorded times would be long ago when they are restored: jobs would be past their keeping time, trainings past theirs.
So `restore` moves every column of a time (`..._at`, `deadline`) by the seconds since the recording, and the ends of the
Celery messages with them. The rest stays as it was: ids, of which some contain a time, and the ids of stream entries.
How long a claim has been idle, and how long a key has to live, is stored as a length and needs no move.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import re
import sqlite3
import subprocess
import time
import zlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import redis
from PIL import Image, UnidentifiedImageError

from inferq.stack import data_dir, stack, valkey

FOLDER = Path(__file__).parent / "0.1"
"""The stack of 4bf9054, before there was a default model with real weights, and before `shared/` had layers."""
DATABASES = (0, 1)
"""The Redis databases of a stack: streams and the workers' broker, and the trainers' broker."""
REPOSITORY = Path(__file__).parents[2]
SHIPPED = ("worker/families/digits/digits.safetensors",)
"""Files that the service itself stores in each installation; a snapshot names them instead of having their bytes."""

Command = list[str]


# -- recording


def record(data: Path, redis_url: str, folder: Path) -> None:
    """Write Valkey's content and the blobs; the database follows with `record_database`, when the stack is stopped."""
    held = {number: list(_commands(_connect(redis_url, number))) for number in DATABASES}
    write(folder / "valkey.json", {"databases": held})
    blobs = {}
    for file in sorted(path for path in (data / "blobs").rglob("*") if path.is_file()):
        blobs[str(file.relative_to(data / "blobs"))] = _named_or_whole(file.read_bytes())
    write(folder / "blobs.json", blobs)


def record_database(data: Path, folder: Path) -> None:
    """Write schema and rows as SQL; the stack must be stopped."""
    with contextlib.closing(sqlite3.connect(data / "inferq.db")) as database:
        (folder / "inferq.sql").write_text("\n".join(database.iterdump()) + "\n")


def _commands(server: Any) -> Iterator[Command]:
    for key in sorted(server.scan_iter(count=1000)):
        yield from _KINDS[server.type(key)](server, key)
        left = server.pttl(key)
        if left > 0:
            yield ["PEXPIRE", key, str(left)]


def _string(server: Any, key: str) -> Iterator[Command]:
    yield ["SET", key, server.get(key)]


def _set(server: Any, key: str) -> Iterator[Command]:
    yield ["SADD", key, *sorted(server.smembers(key))]


def _hash(server: Any, key: str) -> Iterator[Command]:
    yield ["HSET", key, *_flat(sorted(server.hgetall(key).items()))]


def _sorted_set(server: Any, key: str) -> Iterator[Command]:
    yield ["ZADD", key, *_flat((repr(score), member) for member, score in server.zrange(key, 0, -1, withscores=True))]


def _list(server: Any, key: str) -> Iterator[Command]:
    yield ["RPUSH", key, *server.lrange(key, 0, -1)]


def _stream(server: Any, key: str) -> Iterator[Command]:
    """Yield the commands that restore a stream: entries, groups, consumers, and claims with their ages and counts."""
    for entry_id, fields in server.xrange(key):
        yield ["XADD", key, entry_id, *_flat(fields.items())]
    for group in server.xinfo_groups(key):
        name = group["name"]
        yield ["XGROUP", "CREATE", key, name, group["last-delivered-id"], "MKSTREAM"]
        for consumer in server.xinfo_consumers(key, name):
            yield ["XGROUP", "CREATECONSUMER", key, name, consumer["name"]]
        for held in server.xpending_range(key, name, "-", "+", 100_000):
            idle, count = str(held["time_since_delivered"]), str(held["times_delivered"])
            claim = ["XCLAIM", key, name, held["consumer"], "0", held["message_id"]]
            yield [*claim, "IDLE", idle, "RETRYCOUNT", count, "FORCE", "JUSTID"]
    yield ["XSETID", key, server.xinfo_stream(key)["last-generated-id"]]


_KINDS = {"string": _string, "set": _set, "hash": _hash, "zset": _sorted_set, "list": _list, "stream": _stream}


def _flat(pairs: Any) -> Command:
    return [str(part) for pair in pairs for part in pair]


def _named_or_whole(data: bytes) -> dict[str, str]:
    for name in SHIPPED:
        if (REPOSITORY / name).read_bytes() == data:
            return {"file": name, "sha256": hashlib.sha256(data).hexdigest()}
    if _pixels(data) == example().tobytes():
        return {"made": "example"}
    return {"zlib+base85": base64.b85encode(zlib.compress(data, 9)).decode()}


def _pixels(data: bytes) -> bytes:
    """Return the pixels of a PNG; empty if the bytes are none."""
    try:
        return Image.open(io.BytesIO(data)).tobytes()
    except UnidentifiedImageError:
        return b""


def example() -> Image.Image:
    """The picture of 4bf9054 that each checked version must answer as before; its noise would be 180 kB here."""
    y, x = np.mgrid[0:240, 0:320]
    waves = [np.sin(x / a + y / b) for a, b in ((23.0, 41.0), (67.0, -19.0), (-31.0, 29.0))]
    noise = np.random.default_rng(0).normal(0, 12, (240, 320, 3))
    return Image.fromarray((127.5 + 100 * np.stack(waves, axis=2) + noise).clip(0, 255).astype(np.uint8))


def write(file: Path, content: object) -> None:
    """Write JSON, with a line for each part, so that a change of it can be read."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1) + "\n")


# -- restoring


def restore(data: Path, *replacements: tuple[str, str], folder: Path = FOLDER) -> dict[str, Any]:
    """Make a data folder as the recorded stack left it; returns `answers.json`.

    `replacements` are made in the text of the database, for addresses that are different in each run.
    """
    answers: dict[str, Any] = json.loads((folder / "answers.json").read_text())
    later = time.time() - answers["recorded_at"]
    data.mkdir(mode=0o700)
    for name, blob in json.loads((folder / "blobs.json").read_text()).items():
        file = data / "blobs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_bytes(blob))
    _restore_database(data, (folder / "inferq.sql").read_text(), later, replacements)
    _restore_valkey(data, json.loads((folder / "valkey.json").read_text())["databases"], later)
    return answers


def _bytes(blob: dict[str, str]) -> bytes:
    if "zlib+base85" in blob:
        return zlib.decompress(base64.b85decode(blob["zlib+base85"]))
    if "made" in blob:
        file = io.BytesIO()
        example().save(file, "PNG")
        return file.getvalue()
    data = (REPOSITORY / blob["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == blob["sha256"], f"{blob['file']} is not what the recorded stack had"
    return data


def pictures(data: Path, job_id: str) -> list[tuple[str, bytes]]:
    """(name, bytes) of the pictures of a job in a data folder."""
    with contextlib.closing(sqlite3.connect(data / "inferq.db")) as database:
        query = "SELECT name, blob, offset, size FROM items WHERE job_id = ? ORDER BY position"
        rows = database.execute(query, (job_id,)).fetchall()
    return [(name, (data / "blobs" / blob).read_bytes()[offset : offset + size]) for name, blob, offset, size in rows]


def _restore_database(data: Path, sql: str, later: float, replacements: tuple[tuple[str, str], ...]) -> None:
    for before, after in replacements:
        assert before in sql, before
        sql = sql.replace(before, after)
    with contextlib.closing(sqlite3.connect(data / "inferq.db")) as database:
        database.executescript(sql)
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for column in [row[1] for row in database.execute(f'PRAGMA table_info("{table}")')]:
                if column.endswith("_at") or column == "deadline":
                    database.execute(f'UPDATE "{table}" SET "{column}" = "{column}" + ?', (later,))
        database.commit()


def _restore_valkey(data: Path, databases: dict[str, list[Command]], later: float) -> None:
    """Start Valkey on the data folder as a stack does, send the commands, and end it, so that its file has them."""
    port, password = stack.free_port(), "restoring"
    configuration = valkey.configure(data / "redis", port, password)
    url = f"redis://:{password}@127.0.0.1:{port}"
    mark = {data_dir.STACK_VARIABLE: str(data)}  # so that `inferq up` ends it, should this process be killed
    with subprocess.Popen([valkey.binary(), str(configuration)], stdout=subprocess.DEVNULL, env=mark) as server:
        try:
            end = time.monotonic() + 20
            while not valkey.is_ready(url):
                assert time.monotonic() < end, "Valkey does not start"
                time.sleep(0.05)
            for number, commands in databases.items():
                with _connect(f"{url}/0", int(number)) as client:
                    for command in commands:
                        client.execute_command(*[_moved(word, later) for word in command])
            with _connect(f"{url}/0", 0) as client:
                client.shutdown(nosave=True)
        finally:
            server.terminate()


def _moved(word: str, later: float) -> str:
    """Move the end of a Celery message, `"expires": "<ISO time>"`, by so many seconds."""

    def move(match: re.Match[str]) -> str:
        moved = datetime.fromisoformat(match[2]) + timedelta(seconds=later)
        return f'{match[1]}"{moved.isoformat()}"'

    return re.sub(r'("expires": )"([^"]+)"', move, word)


def _connect(url: str, number: int) -> Any:
    """Return a client of that database, typed Any: redis-py types each answer as a union over all protocols."""
    address = url.rpartition("/")[0]
    return redis.Redis.from_url(f"{address}/{number}", decode_responses=True, protocol=2)
