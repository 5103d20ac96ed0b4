"""`inferq classify` submits pictures and prints their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.commands.jobs import follow


@click.command()
@options.PICTURES
@click.option("--model", help="The model; by default the server's default model.")
@click.option("--version", help="The version of the model; by default its default version.")
@click.option("--top-k", type=click.IntRange(min=1), help="Number of labels per picture; 5 by default.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the answer.")
@click.option("--async", "asynchronous", is_flag=True, help="Print the job's id without waiting.")
@options.JSON
@options.server
def classify(
    client: Client,
    pictures: tuple[Path, ...],
    model: str | None,
    version: str | None,
    top_k: int | None,
    timeout: float,
    asynchronous: bool,
    as_json: bool,
) -> None:
    """Classify pictures.

    FILES are pictures, or one archive of pictures.

    \b
      inferq classify duck.jpg cat.png
      inferq classify photos.zip --async        then: inferq jobs wait ID
    """
    parameters: dict[str, Any] = {"model": model, "version": version, "top_k": top_k}
    job = client.jobs.submit(*pictures, **parameters)  # not client.jobs.classify: on Ctrl-C the id must be known
    if not asynchronous:
        job = follow(client, job.id, timeout)
    if as_json:
        console.print_json(job)
    elif asynchronous:
        click.echo(job.id)
    else:
        console.print_job(job)
    if job.terminal and job.status != "DONE":
        raise SystemExit(1)
