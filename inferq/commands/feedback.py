"""`inferq feedback`: what a picture really shows."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options


@click.command()
@click.argument("job_id", metavar="JOB")
@click.argument("label")
@click.option("--position", default=0, show_default=True, type=click.IntRange(min=0), help="Which picture of the job.")
@click.option("--dataset", help="The dataset that learns from it; has to be named for a model not trained here.")
@options.JSON
@options.server
def feedback(client: Client, job_id: str, label: str, position: int, dataset: str | None, as_json: bool) -> None:
    """Correct a wrong prediction; the next training learns from it.

    The picture becomes an example of the dataset that the job's model was trained on, or of another one by --dataset.
    """
    answer = client.jobs.correct(job_id, label, position, dataset=dataset)
    if as_json:
        console.print_json(answer)
        return
    console.remarks.print(f"picture {position} of job {job_id} is an example of {label} now", soft_wrap=True)
