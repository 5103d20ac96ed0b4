"""`inferq workers` shows the running workers and trainers."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options
from shared.schemas.workers import Trainer, Worker


@click.command()
@options.JSON
@options.server
def workers(client: Client, as_json: bool) -> None:
    """Show the running workers and trainers."""
    found = client.workers.list()
    if as_json:
        console.print_json(found)
        return
    everyone: list[Worker | Trainer] = [*found.workers, *found.trainers]
    console.print_rows(
        (
            (
                each.id,
                each.device,
                "worker" if isinstance(each, Worker) else "trainer",
                console.number(each.pictures) if isinstance(each, Worker) else "",
                _does(each),
                console.short_time(each.since),
            )
            for each in everyone
        ),
        "id", "on", "is a", "pictures", "now", "since",
        empty="" if everyone else _why_none(client),
    )  # fmt: skip
    console.print_notes(
        (f"{worker.id}:", f"waits for {worker.waits_for}") for worker in found.workers if worker.waits_for
    )
    console.print_notes(
        (f"{worker.id}:", f"has {', '.join(worker.models)} in memory") for worker in found.workers if worker.models
    )


def _why_none(client: Client) -> str:
    """Return why no worker is listed: while Redis is full, those that run cannot be."""
    ready = client.workers.readiness()
    return "no worker is running" if "ok" in (ready.queue, ready.workers) else ready.workers


def _does(each: Worker | Trainer) -> str:
    """Return what a worker or trainer does now."""
    if isinstance(each, Trainer):
        return "trains" if each.busy else "idle"
    if each.waits_for:
        return "waits"
    return f"runs {console.count(each.holds, 'picture')}" if each.holds else "idle"
