"""An API process without a port: it accepts jobs, and notes in the file `answers` what it has answered.

    python -m tests.preload.answering FOLDER DATABASE_URL DURABILITY

tests/integration/test_power.py runs it below record.c.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
from limits.storage import MemoryStorage
from PIL import Image

from api.application import create_app
from migrations.__main__ import upgrade
from shared.adapters.database.unit_of_work import Database
from shared.adapters.queue.queue import Queue
from shared.adapters.queue.waiters import Waiters
from shared.adapters.rate_limits import RateLimits
from shared.adapters.storage import Storage
from shared.container import Container
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion
from shared.services import catalogue
from shared.settings import Settings

REQUESTS, THREADS = 24, 4


def make_container(folder: Path, database_url: str, durability: Any) -> Container:
    """Return a container with `digits` marked ready, as if a worker were there."""
    upgrade(database_url)
    settings = Settings(database_url=database_url, storage_url=f"file://{folder}/blobs", durability=durability)
    queue = Queue(settings, fakeredis.FakeRedis(decode_responses=True))
    queue.notifications.send_task = lambda task, *arguments: True  # type: ignore[method-assign]
    container = Container(
        database=Database(database_url, durability=durability),
        queue=queue,
        storage=Storage(settings.storage_url, durability=durability),
        now=time.time,
        settings=settings,
        waiters=Waiters(queue),
        rate_limits=RateLimits(settings, MemoryStorage()),
    )
    catalogue.fill(container)
    with container.database.write() as uow:
        for version in uow.model_versions.named(ALL_TENANTS, "digits"):
            ready = {"state": ModelState.READY, "labels": tuple("0123456789"), "family": "digits"}
            uow.model_versions.save(ModelVersion(**version.__dict__ | ready))
    return container


def picture(number: int, side: int) -> bytes:
    """Return a PNG of noise: at a side of 32 it is kept with its item, at 128 in a blob."""
    file = io.BytesIO()
    Image.frombytes("L", (side, side), random.Random(number).randbytes(side * side)).save(file, "PNG")
    return file.getvalue()


def main(folder: Path, database_url: str, durability: str) -> None:
    """Accept jobs of one small picture, of one large one, and of several; and store two blobs in the other ways."""
    container = make_container(folder, database_url, durability)
    app = create_app(container)
    answers = os.open(folder / "answers", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def note(answer: dict[str, Any]) -> None:
        os.write(answers, json.dumps(answer).encode() + b"\n")

    def submit(number: int) -> None:
        sides = ([32], [128], [32, 128, 32])[number % 3]
        pictures = [picture(10 * number + place, side) for place, side in enumerate(sides)]
        files = [(io.BytesIO(data), f"{place}.png") for place, data in enumerate(pictures)]
        answer = app.test_client().post("/v1/jobs?model=digits", data={"files": files})
        assert answer.status_code == 202, answer.text
        if number % 8 == 7:
            container.database.checkpoint()  # as maintenance does
        note({"job": answer.json["_id"], "pictures": [hashlib.sha256(data).hexdigest() for data in pictures]})

    def store(number: int) -> None:
        data = picture(-number, 64)
        with tempfile.NamedTemporaryFile() as file:
            file.write(data)
            file.flush()
            container.storage.put_from(file.name, f"weights/put/{number}")
        container.storage.write(f"plots/written/{number}", data)
        for key in (f"weights/put/{number}", f"plots/written/{number}"):
            note({"blob": key, "pictures": [hashlib.sha256(data).hexdigest()]})

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(submit, range(REQUESTS)))
        list(pool.map(store, range(2)))
    os._exit(0)  # as a process that is killed: closing the database would copy its log


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3])
