"""`inferq jobs` shows submitted jobs and their results."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options
from shared.schemas.jobs import Job

JOB = click.argument("job_id", metavar="ID")


@click.group()
def jobs() -> None:
    """List, show, wait for and cancel jobs; fetch their results."""


@jobs.command("list")
@click.option("--status", default="", help="Only jobs with this status: QUEUED, RUNNING, DONE, ...")
@click.option("--model", default="", help="Only jobs of this model.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def list_(client: Client, status: str, model: str, limit: int, as_json: bool) -> None:
    """List the newest jobs."""
    newest = client.jobs.list(status=status.upper(), model=model, limit=limit)
    if as_json:
        console.print_json(newest)
        return
    console.print_rows(
        (
            (
                job.id,
                console.status(job.status),
                f"{job.model.name} {job.model.version}",
                f"{console.ended(job)}/{job.progress.total}",
                console.local_time(job.created_at),
            )
            for job in newest
        ),
        "job", "status", "model", "done", "created",
        empty="no jobs",
    )  # fmt: skip


@jobs.command()
@JOB
@options.JSON
@options.server
def show(client: Client, job_id: str, as_json: bool) -> None:
    """Show one job in its current state."""
    _print(client.jobs.get(job_id), as_json)


@jobs.command()
@JOB
@click.option("--timeout", default=3600.0, show_default=True, help="Most seconds to wait.")
@options.JSON
@options.server
def wait(client: Client, job_id: str, timeout: float, as_json: bool) -> None:
    """Wait until a job has ended and show it. Exits with 1 unless it is DONE."""
    job = follow(client, job_id, timeout)
    _print(job, as_json)
    if job.status != "DONE":
        raise SystemExit(1)


@jobs.command()
@JOB
@options.server
def cancel(client: Client, job_id: str) -> None:
    """Cancel a job. Pictures that a worker is running are finished; the others are not started."""
    job = client.jobs.cancel(job_id)
    console.remarks.print(f"{job_id} is {job.status}")


@jobs.command()
@JOB
@click.option("--format", default="ndjson", show_default=True, type=click.Choice(["ndjson", "csv"]))
@options.server
def results(client: Client, job_id: str, format: str) -> None:
    """Print the results of a job, line by line. Also for archives of thousands of pictures."""
    for line in client.jobs.results(job_id, format=format):
        click.echo(line)


def follow(client: Client, job_id: str, timeout: float) -> Job:
    """Wait at most `timeout` seconds until a job has ended. Ctrl-C prints how to wait for it again."""
    try:
        with console.remarks.status(f"waiting for {job_id}"):
            return client.jobs.wait(job_id, timeout=timeout)
    except KeyboardInterrupt:
        console.remarks.print(f"job {job_id} continues; wait for it with: inferq jobs wait {job_id}", soft_wrap=True)
        raise


def _print(job: Job, as_json: bool) -> None:
    if as_json:
        console.print_json(job)
    else:
        console.print_job(job)
