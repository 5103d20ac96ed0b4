"""`inferq classify` submits pictures and prints their labels."""

from __future__ import annotations

from pathlib import Path
from typing import TypedDict, Unpack

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.commands.jobs import follow
from shared.schemas.jobs import Job


class Asked(TypedDict):
    """The options that are sent as they are."""

    model: str | None
    version: str | None
    top_k: int | None
    explain_label: str | None


@click.command()
@options.PICTURES
@click.option("--model", help="The model; by default the server's default model.")
@click.option("--version", help="The version of the model; by default its default version.")
@click.option("--top-k", type=click.IntRange(min=1), help="Number of labels per picture; 5 by default.")
@click.option(
    "--explain",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Write each picture into FOLDER, under a heat map of the evidence for its best label.",
)
@click.option("--explain-label", metavar="LABEL", help="With --explain: the evidence for this label instead.")
@click.option("--timeout", default=60.0, show_default=True, help="Seconds to wait for the answer.")
@click.option("--async", "asynchronous", is_flag=True, help="Print the job's id without waiting.")
@options.JSON
@options.server
def classify(
    client: Client,
    pictures: tuple[Path, ...],
    explain: Path | None,
    timeout: float,
    asynchronous: bool,
    as_json: bool,
    **asked: Unpack[Asked],
) -> None:
    """Classify pictures.

    FILES are pictures, or one archive of pictures.

    \b
      inferq classify duck.jpg cat.png
      inferq classify duck.jpg --explain maps
      inferq classify photos.zip --async        then: inferq jobs wait ID
    """
    if asked["explain_label"] and not explain:
        raise click.UsageError("--explain-label needs --explain FOLDER")
    if explain and asynchronous:
        raise click.UsageError("--explain waits for the heat maps; leave out --async")
    # Not client.jobs.classify: on Ctrl-C the id must be known. `explain` is left out unless it is asked for, since an
    # older server does not know it.
    job = client.jobs.submit(*pictures, explain=True if explain else None, **asked)
    if not asynchronous:
        job = follow(client, job.id, timeout)
    if as_json:
        console.print_json(job)
    elif asynchronous:
        click.echo(job.id)
    else:
        console.print_job(job)
    if explain:
        _write_explanations(client, job, explain)
    if job.terminal and job.status != "DONE":
        raise SystemExit(1)


def _write_explanations(client: Client, job: Job, folder: Path) -> None:
    """Write the heat maps of a job into a folder, by the positions and names of the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    for position, prediction in enumerate(job.predictions):
        given = prediction.explanation
        if given is None:  # the picture has no answer
            continue
        if given.reason:
            console.remarks.print(f"{prediction.name}: no explanation: {given.reason}", soft_wrap=True)
            continue
        file = folder / f"{position + 1}-{Path(prediction.name).name}.png"
        file.write_bytes(client.jobs.explanation(job.id, position))
        console.remarks.print(f"{file} explains {given.label!r}", soft_wrap=True)
