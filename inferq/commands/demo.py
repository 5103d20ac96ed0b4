"""`inferq demo` runs the service temporarily and classifies photographs synchronously and by polling."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, options
from inferq.commands.up import few_workers, running
from inferq.errors import StartFailed
from inferq.stack import stack
from shared.samples import INSTALL, installed
from shared.schemas.jobs import Job

_PATIENCE = 60.0
"""Seconds for one answer; the first one on a cold machine loads the model."""

_NEXT = """\
stopped. To keep it running:    inferq up        (or: make serve)
then, from another terminal:
    inferq samples photos
    curl -F files=@photos/coffee.png http://127.0.0.1:8000/v1/classify"""


@click.command()
@click.option(
    "--photo", "photos", multiple=True, type=options.FILE, help="Classify this picture, too; repeat it for more."
)
def demo(photos: tuple[Path, ...]) -> None:
    """Start the service temporarily, classify photographs, and show the labels.

    It runs in a temporary folder and on a free port, and leaves nothing behind. The pictures are sent in two ways:
    submit and poll (202, then GET until it is done), and synchronously (one request, 200 with the answer).
    """
    pictures = [*installed().items(), *((photo.name, photo) for photo in photos)]
    if not pictures:
        raise StartFailed(f"there are no photographs here; install some with {INSTALL}, or name one: --photo")
    with tempfile.TemporaryDirectory(prefix="inferq-demo-") as scratch:
        stack_options = stack.StackOptions(Path(scratch), port=0, workers=few_workers(), trainer=False)
        console.remarks.print("starting the service in a temporary folder ...", style="dim")
        with ThreadPoolExecutor(1) as beside, running(stack_options, _quiet) as (plan, supervisor):
            began = time.monotonic()
            decision = stack.start(plan, supervisor, _quiet)
            ready = f"ready after {time.monotonic() - began:.1f} s at {plan.url}; default model {decision.model}"
            console.out.print(f"{ready}: {decision.why}\n", soft_wrap=True)
            # In a thread, so that the main thread keeps the parts running and receives Ctrl-C.
            shown = beside.submit(_show, plan.url, pictures)
            if not supervisor.watch(shown.done):
                raise KeyboardInterrupt
            shown.result()
    console.out.print(_NEXT, soft_wrap=True)


def _show(url: str, pictures: Sequence[tuple[str, Path]]) -> None:
    """Classify each (name, path), and print the labels, statuses and milliseconds."""
    filled = console.table("file", "label", "score", "", "way", "status", "ms", title="Answers")
    half = max(1, len(pictures) // 2)
    with Client(url, os.environ.get("INFERQ_ADMIN_KEY", "")) as client:  # the stack inherits it, and asks for it

        def submit_then_poll(picture: Path) -> Job:
            return client.jobs.wait(client.jobs.submit(picture), timeout=_PATIENCE)

        def synchronous(picture: Path) -> Job:
            return client.jobs.classify(picture, timeout=_PATIENCE)

        client.jobs.classify(pictures[0][1], timeout=_PATIENCE)  # the first one waits for the model to be loaded
        ways: list[tuple[str, Callable[[Path], Job], Sequence[tuple[str, Path]]]] = [
            ("submit, then poll", submit_then_poll, pictures[:half]),
            ("synchronous", synchronous, pictures[half:]),
        ]
        for way, send, chosen in ways:
            for name, picture in chosen:
                began = time.monotonic()
                job = send(picture)
                filled.add_row(*_row(name, job), Text(way), console.status(job.status), _milliseconds(began))
    console.out.print(filled)


def _row(name: str, job: Job) -> tuple[Text, Text, Text, Text]:
    best = job.predictions[0].results[0] if job.predictions and job.predictions[0].results else None
    if best is None:
        error = job.predictions[0].error if job.predictions else None
        reason = job.error_description or (error.message if error else "")
        return Text(name), Text(reason, style="red"), Text(""), Text("")
    return Text(name), Text(best.label, style="bold"), Text(f"{best.score:.3f}"), console.bar(best.score)


def _milliseconds(began: float) -> Text:
    return Text(f"{(time.monotonic() - began) * 1000:.0f}", justify="right")


def _quiet(name: str, text: str) -> None:
    """Print nothing: the demo does not show the parts of the service."""
