"""Record the state of a stack of an older revision, which `tests/acceptance/test_upgrade.py` upgrades.

    git worktree add /tmp/old 4bf9054
    .venv/bin/python -m tests.upgrade.record /tmp/old

The old code runs with the packages of this `.venv`; everything that is recorded was written by it. The stack is stopped
in mid work: a worker has claimed pictures and is killed before it stores an outcome, other pictures wait, a training
has stored its first epoch, another one waits, one callback was refused once and one was never tried. No process ends
cleanly; all are killed at once.

All pictures are drawn here, and the keys open nothing but this recording.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from PIL import Image, ImageDraw, ImageFont

from tests import stacks
from tests.stacks import Stack
from tests.upgrade import snapshot

HOOK = "http://127.0.0.1:9/called-back"
"""A URL at which no server listens; the test replaces it by the address of its own server."""
WORDS = {3: "three", 8: "eight"}
SETTINGS = {"INFERQ_WEBHOOK_PRIVATE": "true", "INFERQ_MAX_BATCH": "4", "INFERQ_DEFAULT_MODEL": "digits"}


def drawn(digit: int, number: int = 0) -> bytes:
    """A PNG of a digit, at another place and of another size for each number."""
    image = Image.new("L", (32, 32))
    font = ImageFont.load_default(22 + number % 4)
    ImageDraw.Draw(image).text((16 + number % 3, 16 + number // 3 % 3), str(digit), 255, font, anchor="mm")
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def pictures() -> list[tuple[str, bytes]]:
    """(name, PNG) of each digit."""
    return [(f"{digit}.png", drawn(digit)) for digit in range(10)]


def dataset() -> bytes:
    """A ZIP of two folders, five pictures in each."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for digit, word in WORDS.items():
            for number in range(5):
                file.writestr(f"{word}/{number}.png", drawn(digit, number))
    return archive.getvalue()


class OldStack(Stack):
    """A stack of another checkout, whose folder is the current one; callers have keys."""

    keys: dict[str, str]

    def ask(self, method: str, path: str, tenant: str = "owner", wait: float = 0, key: str = "", **body: Any) -> Any:
        """The JSON of an answer, or its text."""
        secret = self.keys.get(tenant)
        headers = {"Authorization": f"Bearer {secret}"} if secret else {}
        headers |= {"Prefer": f"wait={wait:g}"} if wait else {}
        headers |= {"Idempotency-Key": key} if key else {}
        answer = httpx.request(method, self.url + path, headers=headers, timeout=90, **body)
        assert answer.is_success, answer.text
        return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text

    def send(self, tenant: str = "owner", count: int = 10, key: str = "", **fields: str) -> str:
        """Submit a job of drawn digits with that idempotency key; return its id."""
        files = [("files", path) for path in (pictures() * 2)[:count]]
        return str(self.ask("POST", "/v1/jobs", tenant, key=key, files=files, data=fields)["_id"])

    def freeze(self, part: str) -> None:
        os.kill(self.pids()[part], signal.SIGSTOP)

    def freeze_supervisor(self) -> None:
        """Stop the supervisor, so that killed parts are not started again."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def kill(self, part: str) -> None:
        """Send SIGKILL to a part and its child processes, and wait until their connections are closed."""
        process = psutil.Process(self.pids()[part])
        for running in [*process.children(recursive=True), process]:
            running.kill()
        stacks.until(lambda: process.status() == psutil.STATUS_ZOMBIE, 10)


def finished_work(stack: OldStack) -> dict[str, Any]:
    """Create keys, an alias, an image, a dataset and DONE jobs; return their paths and ids."""
    first = stack.ask("POST", "/v1/keys", json={"name": "owner", "scopes": ["infer", "models", "keys"]})
    stack.keys["owner"] = first["key"]
    second = stack.ask("POST", "/v1/keys", json={"name": "app", "tenant": "anna"})
    stack.keys["anna"] = second["key"]
    stack.ask("PUT", "/v1/aliases/numerals", json={"model": "digits"})
    stack.ask("PUT", "/v1/aliases/numerals", "anna", json={"model": "digits"})
    image = stack.ask("POST", "/v1/images/upload", data={"name": "seven"}, files={"image": drawn(7)})
    archive = {"file": ("numbers.zip", dataset())}
    numbers = stack.ask("POST", "/v1/datasets", wait=60, data={"name": "numbers"}, files=archive)
    assert numbers["state"] == "READY", numbers
    done = stack.send(model="numerals", webhook=HOOK, metadata='{"order": 7}')
    theirs = stack.send("anna", count=2, key="once")
    for tenant, job in (("owner", done), ("anna", theirs)):
        assert stack.ask("GET", f"/v1/jobs/{job}", tenant, wait=30)["status"] == "DONE"
    stack.ask("POST", "/models/digits", content=drawn(4))  # its answer stays in the result cache
    return {"done": done, "theirs": theirs, "image": image["id"], "dataset": numbers["id"]}


@contextlib.contextmanager
def writing(stack: OldStack) -> Iterator[None]:
    """Keep every other process from writing to the database."""
    with contextlib.closing(sqlite3.connect(stack.data / "inferq.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


def claimed(stack: OldStack) -> int:
    """Return how many pictures are claimed and not acknowledged."""
    server = stack.redis()
    return sum(server.xpending(stream, "workers")["pending"] for stream in server.scan_iter("inferq:lane:*"))


def queued_work(stack: OldStack) -> dict[str, str]:
    """Submit jobs and kill the worker when it has claimed their first pictures; return their ids."""
    queued = {"claimed": stack.send(count=20), "low": stack.send(priority="low", deadline="3600"),
              "anna": stack.send("anna", model="numerals")}  # fmt: skip
    with writing(stack):
        os.kill(stack.pids()["worker-1"], signal.SIGCONT)
        stacks.until(lambda: claimed(stack) > 0, 30, stack.output)
        stack.kill("worker-1")
    return queued


def trainings(stack: OldStack) -> dict[str, str]:
    """Submit two trainings and kill the trainer when it has stored an epoch of the first; return their ids."""
    parameters = {"epochs": 100, "max_unimproved_epochs": 100, "fine_tune": "never"}
    request = {"dataset": "numbers", "base": "digits", "parameters": parameters}
    running = stack.ask("POST", "/v1/trainings", json=request | {"name": "mine"})
    with contextlib.closing(sqlite3.connect(stack.data / "inferq.db")) as database:
        begun = "SELECT count(*) FROM trainings WHERE curve != '[]'"
        end = time.monotonic() + 60
        while not database.execute(begun).fetchone()[0]:
            assert time.monotonic() < end, stack.output()
            time.sleep(0.001)
    stack.kill("trainer")
    waiting = stack.ask("POST", "/v1/trainings", json=request | {"name": "next"})
    return {"running": running["_id"], "waiting": waiting["_id"]}


def refused(data: Path) -> bool:
    """Return True if the delivery of the webhook was tried and has failed."""
    with contextlib.closing(sqlite3.connect(data / "inferq.db")) as database:
        return bool(database.execute("SELECT 1 FROM deliveries WHERE attempts > 0").fetchall())


def main(checkout: str) -> None:
    """Run the stack, stop it in mid work, write the files."""
    os.chdir(checkout)  # where `python -m` finds the old code first
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        stack = OldStack(data, trainer=True, PYTHONPATH=checkout, **SETTINGS)
        stack.keys = {}
        stack.start("--workers", "1")
        try:
            answers = in_mid_work(stack)
        finally:
            stack.kill_everything()
        snapshot.record_database(data, snapshot.FOLDER)
        snapshot.write(snapshot.FOLDER / "answers.json", answers)


def in_mid_work(stack: OldStack) -> dict[str, Any]:
    """Give the stack all its work and stop its parts; return its answers and the ids of its resources."""
    ids: dict[str, Any] = finished_work(stack)
    stacks.until(lambda: refused(stack.data), 30, stack.output)
    paths = {
        "owner": [f"/v1/jobs/{ids['done']}", f"/v1/jobs/{ids['done']}/results?format=csv", "/v1/aliases", "/v1/keys",
                  f"/v1/images/{ids['image']}", "/v1/datasets/numbers", "/v1/datasets/numbers/labels",
                  "/v1/datasets/numbers/examples", "/v1/models/digits/versions/1"],
        "anna": [f"/v1/jobs/{ids['theirs']}", "/v1/aliases"],
    }  # fmt: skip
    answers = {who: {path: stack.ask("GET", path, who) for path in tenant_paths} for who, tenant_paths in paths.items()}
    stack.freeze_supervisor()
    stack.kill("keeper")
    stack.freeze("worker-1")
    ids["cancelled"] = stack.send(count=1, webhook=HOOK)
    stack.ask("DELETE", f"/v1/jobs/{ids['cancelled']}")
    ids["queued"] = queued_work(stack)
    ids["trainings"] = trainings(stack)
    snapshot.record(stack.data, redis_url(stack.data), snapshot.FOLDER)
    return {"recorded_at": time.time(), "keys": stack.keys, "ids": ids, "answers": answers}


def redis_url(data: Path) -> str:
    """Return the URL of the stack's Valkey."""
    return str(json.loads((data / "stack.json").read_text())["redis_url"])


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {Path(sys.argv[0]).name} FOLDER\n\n{__doc__}")
    main(str(Path(sys.argv[1]).resolve()))
