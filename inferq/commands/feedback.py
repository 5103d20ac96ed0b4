"""`inferq feedback` corrects the label of a classified picture."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options


@click.command()
@click.argument("job_id", metavar="JOB")
@click.argument("labels", metavar="LABEL", nargs=-1)
@click.option("--none", "is_none", is_flag=True, help="The picture shows no label of its multi-label dataset.")
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
def feedback(
    client: Client, job_id: str, labels: tuple[str, ...], *, is_none: bool, position: int, dataset: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Correct a wrong prediction; the next training learns from it.

    The picture becomes an example of the dataset that the job's model was trained on, or of --dataset. For a
    multi-label dataset name all labels that the picture shows.
    """
    if bool(labels) == is_none:
        raise click.UsageError("name the label that the picture shows, or --none for none of a multi-label dataset")
    answer = client.jobs.correct(job_id, labels[0] if len(labels) == 1 else labels, position, dataset=dataset)
    if as_json:
        console.print_json(answer)
        return
    shown = ", ".join(labels) or "no label"
    console.remarks.print(f"picture {position} of job {job_id} is now an example of {shown}", soft_wrap=True)
