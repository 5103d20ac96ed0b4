"""`inferq jobs` shows submitted jobs and their results, and runs again what has failed."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, TypedDict, Unpack

import click
from rich.text import Text

from inferq.client import Client
from inferq.client.dead_letters import Wanted
from inferq.commands import console, evidence, options, prediction_rows, units
from shared.schemas.jobs import Job, JobSummary

JOB = click.argument("job_id", metavar="ID")


class Which(TypedDict):
    """Which jobs a list holds, beside their status."""

    model: str
    since: str
    until: str
    limit: int


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose dead letters."""
    for option in (
        options.UNTIL,
        options.SINCE,
        click.option("--model", default="", help="Only those of this model."),
        click.option(
            "--reason", default="",
            help="Only those of this reason: poison, gone, expired, model_failed, not_a_picture.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


@click.group()
def jobs() -> None:
    """List, show, wait for, cancel, retry and delete jobs; fetch their results."""


@jobs.command("list")
@click.option("--status", default="", help="Only jobs with this status: QUEUED, RUNNING, DONE, ...")
@click.option("--model", default="", help="Only jobs of this model.")
@options.SINCE
@options.UNTIL
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def list_(client: Client, status: str, as_json: bool, **which: Unpack[Which]) -> None:
    """List the newest jobs."""
    newest = client.jobs.list(status=status.upper(), **which)
    if as_json:
        console.print_json(newest)
        return
    console.print_rows(
        (
            (
                job.id,
                console.status(job.status).append(f" {_done(job)}", "default"),
                console.short_time(job.created_at),
                f"{job.model.name} {job.model.version}",
            )
            for job in newest
        ),
        "job", "status", "created", "model",
        empty="no jobs",
    )  # fmt: skip


def _done(job: JobSummary) -> str:
    """Return how many pictures of a job have an answer, and of how many if that is not all."""
    done, total = (job.progress.done if job.terminal else console.ended(job)), job.progress.total
    return f"{total:,}" if done == total else f"{done:,}/{total:,}"


@jobs.command()
@JOB
@options.JSON
@options.server
def show(client: Client, job_id: str, as_json: bool) -> None:
    """Show one job, and when its pictures ran."""
    job = client.jobs.get(job_id)
    _print(job, as_json)
    if not as_json:
        _print_times(job)


@jobs.command()
@JOB
@options.TIMEOUT
@options.JSON
@options.server
def wait(client: Client, job_id: str, timeout: float | None, as_json: bool) -> None:
    """Wait until a job has ended and show it. Exits with 1 unless it is DONE."""
    job = _wait(client, job_id, timeout)
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
@options.server
def delete(client: Client, job_id: str) -> None:
    """Erase a job with its pictures and answers. One that has not ended is cancelled first."""
    client.jobs.delete(job_id)
    console.remarks.print(f"deleted {job_id}")


@jobs.command()
@JOB
@options.server
def retry(client: Client, job_id: str) -> None:
    """Run the failed pictures of an ended job again."""
    job = client.jobs.retry(job_id)
    left = console.count(job.progress.total - console.ended(job), "picture")
    console.remarks.print(f"{left} run again; wait with: inferq jobs wait {job_id}", soft_wrap=True)


@jobs.command("dead-letters")
@_which
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def dead_letters(client: Client, limit: int, as_json: bool, **which: Unpack[Wanted]) -> None:
    """List the pictures of ended jobs that have no answer."""
    found = client.dead_letters.list(limit=limit, **which)
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (
                letter.job_id,
                letter.position,
                letter.reason,
                console.short_time(letter.created_at),
                letter.name,
            )
            for letter in found
        ),
        "job", "no.", "reason", "created", "file",
        empty="no dead letters",
    )  # fmt: skip


@jobs.command()
@_which
@options.server
def replay(client: Client, **which: Unpack[Wanted]) -> None:
    """Run dead letters again: all, or those that the options choose."""
    done = client.dead_letters.replay(**which)
    console.remarks.print(f"{console.count(done.pictures, 'picture')} of {console.count(done.jobs, 'job')} run again")
    if done.skipped:
        gone = f"{console.count(done.skipped, 'job')} skipped, whose pictures or model were removed"
        console.remarks.print(gone, soft_wrap=True)
    if done.next:
        console.remarks.print("the queue is full; replay the others later")
        raise SystemExit(1)


@jobs.command()
@JOB
@click.option("--format", default="ndjson", show_default=True, type=click.Choice(["ndjson", "csv"]))
@options.server
def results(client: Client, job_id: str, format: str) -> None:
    """Print the results of a job, line by line. Also for archives of thousands of pictures."""
    for line in client.jobs.results(job_id, format=format):
        click.echo(line)


def _wait(client: Client, job_id: str, timeout: float | None) -> Job:
    """Wait at most `timeout` seconds until a job has ended. Ctrl-C prints how to wait for it again."""
    try:
        with console.remarks.status(f"waiting for {job_id}"):
            return client.jobs.wait(job_id, timeout=math.inf if timeout is None else timeout)
    except KeyboardInterrupt:
        console.remarks.print(f"job {job_id} continues; wait for it with: inferq jobs wait {job_id}", soft_wrap=True)
        raise


def _print(job: Job, as_json: bool) -> None:
    if as_json:
        console.print_json(job)
    else:
        prediction_rows.print_job(job)


def _print_times(job: Job) -> None:
    """Print when a job was created and ended, or when it should, and the batches in which its pictures ran."""
    rows = [("created", Text(console.local_time(job.created_at)))]
    if job.finished_at:
        rows.append(("ended", Text(f"{units.duration(_between(job.created_at, job.finished_at))} later")))
    elif job.position is not None:
        rows.append(("waits", Text(f"number {job.position:,} among those that wait for the model")))
    if job.eta and not job.terminal:
        rows.append(("should end", Text(console.local_time(job.eta))))
    if job.retries:
        rows.append(("retries", Text(str(job.retries))))
    console.out.print(evidence.key_value_table(rows))
    if job.timeline:
        columns = ("after", "pictures", "batch", "attempt", "decode", "network", "stored")
        listed = console.table(*columns, "worker", numbers=columns)
        for run in job.timeline:
            listed.add_row(
                units.duration(_between(job.created_at, run.claimed_at)),
                f"{run.pictures:,}",
                f"{run.batch:,}",
                str(run.attempt),
                f"{run.decode_ms:.0f} ms",
                f"{run.forward_ms:.0f} ms",
                units.duration(_between(job.created_at, run.stored_at)),
                run.worker,
            )
        console.out.print(listed)


def _between(earlier: str, later: str) -> float:
    """Return the seconds between two times in RFC 3339, 0 if the second is not later."""
    return max(0.0, (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds())
