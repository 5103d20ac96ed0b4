"""Flask and Celery as their tutorials combine them: a task for each picture, and a request that waits for it."""

from __future__ import annotations

import base64
import subprocess
import sys
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from flask import Flask, request

from bench.peers.servers.classifier import PATIENCE, Answer, Classifier, settings

MODULE = "bench.peers.servers.flask_celery_server"
THREADS = 64
"""Threads of the web server: each waits for one result."""
celery = Celery(MODULE, broker=settings().redis_url, backend=settings().redis_url)
app = Flask(__name__)
loaded: list[Classifier] = []


@worker_process_init.connect
def load(**_: Any) -> None:
    """Load the model in each worker process, once it is forked."""
    loaded.append(Classifier())


@celery.task(name="classify")
def classify(picture: str) -> Answer:
    """Return the answer for a picture in base64, since the messages are JSON."""
    return loaded[0].answer([loaded[0].prepare(base64.b64decode(picture))])[0]


@app.post("/")
def predict() -> Any:
    """Queue the picture of the request and wait for its answer."""
    task = classify.delay(base64.b64encode(request.get_data()).decode())
    return task.get(timeout=PATIENCE)


if __name__ == "__main__":
    python = [sys.executable, "-m"]
    worker = [*python, "celery", "--app", f"{MODULE}:celery", "worker", "--concurrency", str(settings().workers)]
    web = [*python, "gunicorn", f"{MODULE}:app", "--threads", str(THREADS), "--bind", f"127.0.0.1:{settings().port}"]
    with subprocess.Popen(worker), subprocess.Popen(web):
        pass
