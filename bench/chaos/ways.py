"""The ways of a caller: each sends one request in the words of a wire, and follows it until it has the labels."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

import bench
from bench.chaos.journal import POISON, Request

SAMPLES = Path(bench.__file__).parent.parent / "worker" / "families" / "digits" / "samples"
MODEL = "digits"
PATIENCE = 60.0
"""Seconds after which a caller gives a request up; what was accepted is looked for again at the end."""
_TIMEOUT = httpx.Timeout(25.0, connect=5.0)
_PAUSE = 0.25
"""Seconds between two tries."""
_JOB = re.compile(r"/v1/jobs/([0-9a-f-]{36})")
_MAY_BE = "may be stored"
"""What the service says of a job whose commit had no reply."""


class GivenUp(Exception):
    """The request has no answer; the reason is among its errors."""


class Named(GivenUp):
    """The request has no answer, but the error names the job that continues."""


@cache
def sample(digit: int) -> bytes:
    """Return the picture of a digit, which the model names rightly."""
    return (SAMPLES / f"digit_{digit}.png").read_bytes()


def picture(digit: int, number: int) -> bytes:
    """Return the picture with other bytes for every number: decoders ignore what follows the end."""
    return sample(digit) + b"%d" % number


class Caller:
    """A client of several API processes, which are asked in turn, as through a proxy that balances the load."""

    def __init__(self, urls: Sequence[str], stopped: Callable[[], bool] = lambda: False) -> None:
        """`stopped` says that the run was interrupted."""
        self._urls = itertools.cycle(urls)
        self._stopped = stopped
        self._client = httpx.Client(timeout=_TIMEOUT, trust_env=False)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, request: Request, method: str, path: str, **sent: Any) -> httpx.Response | None:
        """Send once. Returns None, with the reason among the request's errors, if there is no answer."""
        try:
            answer = self._client.request(method, next(self._urls) + path, **sent)
        except httpx.TransportError as error:
            request.errors.append(type(error).__name__)
            return None
        if answer.status_code >= 400:
            request.errors.append(str(answer.status_code))
            if named := _JOB.search(answer.text):  # a wait that ran out: the picture is accepted
                request.job_id = named[1]
                request.in_doubt = _MAY_BE in answer.text
        return answer

    def ask_once(self, request: Request, method: str, path: str, **sent: Any) -> Any:
        """Send without trying again, since that would be another job, and return the JSON; raises GivenUp and Named."""
        answer = self.ask(request, method, path, **sent)
        if answer is not None and answer.status_code < 400:
            return answer.json()
        raise Named if request.job_id else GivenUp

    def insist(self, request: Request, method: str, path: str, **sent: Any) -> Any:
        """Send until the service answers, and return the JSON; raises GivenUp after PATIENCE, or for a plain refusal.

        Only for what may be sent twice: reading, and jobs with a key by which the service knows them again.
        """
        for _ in self._tries():
            answer = self.ask(request, method, path, **sent)
            if answer is not None and answer.status_code < 400:
                return answer.json()
            if answer is not None and answer.status_code < 500 and answer.status_code != 429:
                break
        raise GivenUp

    def follow(self, request: Request, path: str = "") -> tuple[str, ...]:
        """Poll the job of the request until it has ended, and return its labels; raises GivenUp."""
        for _ in self._tries():
            job = self.insist(request, "GET", path or f"/v1/jobs/{request.job_id}", headers={"Prefer": "wait=5"})
            request.in_doubt = False  # it has been found
            if job["status"] not in ("QUEUED", "PENDING", "RUNNING"):
                return labels(job)
        raise GivenUp

    def _tries(self) -> Iterator[None]:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and not self._stopped():
            yield
            time.sleep(_PAUSE)


def labels(job: dict[str, Any]) -> tuple[str, ...]:
    """Return the best label of each picture of a job, or the code of its error, or its status."""
    return tuple(_label(prediction) for prediction in job.get("predictions", ()))


def _label(prediction: dict[str, Any]) -> str:
    if results := prediction.get("results"):
        return str(results[0]["label"])
    error = prediction.get("error")
    return str(error["code"] if isinstance(error, dict) else error or prediction.get("status", "no answer"))


# the native wire


def polled(caller: Caller, request: Request, *, webhook: str = "", **options: str) -> tuple[str, ...]:
    """Submit a picture with a key for repetitions, and poll."""
    digit = int(request.right[0])
    return _submit(caller, request, "file", picture(digit, request.number), webhook=webhook, **options)


def archived(caller: Caller, request: Request) -> tuple[str, ...]:
    """Submit an archive with a key for repetitions, and poll."""
    return _submit(caller, request, "many.tar", archive(request.right, request.number))


def poisoned(caller: Caller, request: Request, mark: bytes) -> tuple[str, ...]:
    """Submit an archive of which one picture kills the worker that opens it, and poll."""
    return _submit(caller, request, "many.tar", archive(request.right, request.number, mark))


def waited(caller: Caller, request: Request) -> tuple[str, ...]:
    """Send a picture and wait for its labels."""
    query = _query(request, name="file")
    job = caller.ask_once(request, "POST", f"/v1/classify?{query}", content=_only(request), headers=_PNG)
    request.job_id = job["_id"]
    return labels(job) if job["terminal"] else caller.follow(request)


def _submit(caller: Caller, request: Request, name: str, body: bytes, **options: str) -> tuple[str, ...]:
    headers = {"Idempotency-Key": f"chaos-{request.number}", "Content-Type": "application/octet-stream"}
    path = f"/v1/jobs?{_query(request, name=name, **options)}"
    job = caller.insist(request, "POST", path, content=body, headers=headers)
    request.job_id = job["_id"]
    return caller.follow(request)


def _query(request: Request, **options: str) -> str:
    marked = {"model": MODEL, "metadata": json.dumps({"chaos": request.number}), **options}
    return urlencode({name: value for name, value in marked.items() if value})


# the other wires


def sap_waited(caller: Caller, request: Request) -> tuple[str, ...]:
    """Send a picture on the SAP wire and wait; an answer 202 is followed."""
    job = caller.ask_once(request, "POST", _SAP, files={"files": ("file.png", _only(request))})
    request.job_id = job["id"]
    return labels(job) if job["status"] == "DONE" else caller.follow(request)


def sap_polled(caller: Caller, request: Request) -> tuple[str, ...]:
    """Submit a picture on the SAP wire, and poll there."""
    job = caller.ask_once(request, "POST", f"{_SAP}/jobs", files={"files": ("file.png", _only(request))})
    request.job_id = job["id"]
    return caller.follow(request, f"{_SAP}/jobs/{request.job_id}")


def einstein(caller: Caller, request: Request) -> tuple[str, ...]:
    """Send a picture on the Einstein wire and wait."""
    files = {"sampleContent": ("file.png", _only(request))}
    answer = caller.ask_once(request, "POST", "/v2/vision/predict", files=files, data={"modelId": MODEL})
    return (str(answer["probabilities"][0]["label"]),)


def hugging_face(caller: Caller, request: Request) -> tuple[str, ...]:
    """Send a picture on the Hugging Face wire and wait; every other one may be answered by the result cache."""
    cached = request.number % 2 == 0
    body = sample(int(request.right[0])) if cached else _only(request)
    headers = {**_PNG, "x-use-cache": "true" if cached else "false"}
    answer = caller.ask_once(request, "POST", f"/models/{MODEL}", content=body, headers=headers)
    return (str(answer[0]["label"]),)


def img(caller: Caller, request: Request) -> tuple[str, ...]:
    """Store a picture on the IMG wire, have it classified, and delete it."""
    files = {"image": ("file.png", _only(request))}
    image = caller.ask_once(request, "POST", "/v1/images/upload", files=files, data={"name": "file.png"})
    try:
        answer = caller.ask_once(request, "POST", f"/v1/images/{image['id']}/classify")
    except GivenUp:
        if request.errors[-1] == "404":
            request.broken = f"the stored image {image['id']} was not found"
        raise
    finally:
        caller.ask(request, "DELETE", f"/v1/images/{image['id']}")
    return (str(answer["main_label"]),)


_SAP = f"/api/v2/image/classification/models/{MODEL}/versions/1"
_PNG = {"Content-Type": "image/png"}


def _only(request: Request) -> bytes:
    return picture(int(request.right[0]), request.number)


def archive(right: Sequence[str], number: int, mark: bytes = b"") -> bytes:
    """Return a tar of pictures with these labels; where the label is POISON, the picture ends with the mark."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for position, label in enumerate(right):
            data = sample(0) + mark if label == POISON else picture(int(label), number)
            info = tarfile.TarInfo(f"{position:03d}-is-{label}.png")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


Way = Callable[[Caller, Request], tuple[str, ...]]
ALONE: dict[str, Way] = {
    "native, polled": polled,
    "native, waited": waited,
    "SAP": sap_waited,
    "SAP, polled": sap_polled,
    "Einstein": einstein,
    "Hugging Face": hugging_face,
    "IMG": img,
}
"""Ways of one picture."""


def send(caller: Caller, request: Request, way: Way, now: Callable[[], float]) -> None:
    """Send a request and write its answer and its end into it."""
    try:
        with contextlib.suppress(GivenUp):
            try:
                request.answer = way(caller, request)
            except Named:
                request.answer = caller.follow(request)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        request.broken = f"an answer cannot be read: {error!r}"
    request.ended = now()


def digits(number: int, count: int = 1) -> tuple[str, ...]:
    """Return the right labels of so many pictures, another sequence for each number."""
    return tuple(str((number + position) % 10) for position in range(count))
