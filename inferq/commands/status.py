"""`inferq status` shows in one look whether the service is well, and what it does."""

from __future__ import annotations

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, evidence, options, service_check, units
from inferq.errors import InferqError
from shared.schemas.diagnosis import PartCheck
from shared.schemas.workers import Queue, Readiness, WorkerList

_OK = "ok"
_FAILED = "failed"


@click.command()
@options.JSON
@options.server
def status(client: Client, as_json: bool) -> None:
    """Show whether the service is ready, what it does, and what is wrong.

    Exits with 1 if it is not ready. `inferq doctor --url` says what to do.
    """
    ready, queue, workers = client.workers.readiness(), client.workers.queue(), client.workers.list()
    wrong = _wrong(client)
    if as_json:
        console.print_json({"readiness": ready, "queue": queue, "workers": workers, "wrong": wrong})
    else:
        head = Text.assemble((client.url, "bold"), "  ", (ready.status, "green" if ready.is_ready else "red"))
        console.out.print(head, soft_wrap=True)
        model = client.models.get_default().model
        rows = [
            ("model", _with(ready.model, model)),
            ("queue", _with(ready.queue, _queue(queue))),
            ("workers", _with(ready.workers, _workers(workers))),
            ("database", _with(ready.database, _OK)),
            ("storage", _with(ready.storage, _OK)),
        ]
        told = _not_ready(ready)
        rows += [
            (check.part, Text(check.found, "red" if check.verdict == _FAILED else "yellow"))
            for check in wrong
            if not (check.part in told and check.verdict == _FAILED)
        ]
        console.out.print(evidence.key_value_table(rows))
        if wrong:
            console.out.print(f"what to do: inferq doctor --url {client.url}", style="dim", soft_wrap=True)
    if not ready.is_ready:
        raise SystemExit(1)


def _wrong(client: Client) -> list[PartCheck]:
    """Return what the diagnosis finds wrong, or why it cannot be had, which keeps nothing else from being shown."""
    try:
        checks = client.workers.diagnosis().checks
    except InferqError as error:
        return [service_check.not_told(error)]
    return [check for check in checks if check.verdict != _OK]


def _not_ready(ready: Readiness) -> set[str]:
    """Return the parts of which the table says why they are not ready."""
    parts = {"queue": ready.queue, "workers": ready.workers, "database": ready.database, "storage": ready.storage}
    return {part for part, state in parts.items() if state != _OK}


def _with(state: str, words: str) -> Text:
    """Return what a part does, or in red why it is not ready."""
    return Text(words) if state == _OK else Text(state, "red")


def _queue(queue: Queue) -> str:
    if not (queue.waiting or queue.running):
        return "empty"
    oldest = units.duration(max(row.oldest_seconds for row in queue.queue))
    return f"{console.count(queue.waiting, 'picture')} waiting, {queue.running:,} running, the oldest for {oldest}"


def _workers(found: WorkerList) -> str:
    """Return how many there are and on which devices."""
    devices = [worker.device for worker in found.workers]
    parts = [f"{devices.count(device)} on {device}" for device in dict.fromkeys(devices)]
    waiting = [worker for worker in found.workers if worker.waits_for]
    if waiting:
        parts.append(f"{len(waiting)} waiting for {waiting[0].waits_for}")
    busy = sum(trainer.busy for trainer in found.trainers)
    if found.trainers:
        parts.append(f"{console.count(len(found.trainers), 'trainer')}, {busy or 'none'} training")
    return "; ".join(parts) or "none"
