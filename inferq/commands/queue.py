"""`inferq queue` shows the pictures that wait and run."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options, units


@click.command()
@options.JSON
@options.server
def queue(client: Client, as_json: bool) -> None:
    """Show how many pictures wait and run, by model and priority."""
    found = client.workers.queue()
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (
                f"{row.model} {row.version}".rstrip(),
                row.priority,
                console.number(row.waiting),
                console.number(row.running),
                units.duration(row.oldest_seconds),
            )
            for row in found.queue
        ),
        "model", "priority", "waiting", "running", "oldest",
        empty="no picture waits or runs",
    )  # fmt: skip
