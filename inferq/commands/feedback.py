"""`inferq feedback` corrects the label of a classified picture."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options


@click.command()
@click.argument("job_id", metavar="JOB")
@click.argument("label")
@click.option(
    "--position",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Position of the picture in the job; 0 is the first.",
)
@click.option("--dataset", help="The dataset to add the picture to; required for a model that was not trained here.")
@options.JSON
@options.server
def feedback(client: Client, job_id: str, label: str, position: int, dataset: str | None, as_json: bool) -> None:
    """Correct a wrong prediction; the next training learns from it.

    The picture becomes an example of the dataset that the job's model was trained on, or of --dataset.
    """
    answer = client.jobs.correct(job_id, label, position, dataset=dataset)
    if as_json:
        console.print_json(answer)
        return
    console.remarks.print(f"picture {position} of job {job_id} is now an example of {label}", soft_wrap=True)
