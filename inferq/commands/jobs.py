"""`inferq jobs` shows submitted jobs and their results, and runs again what has failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

import click

from inferq.client import Client
from inferq.client.dead_letters import Wanted
from inferq.commands import console, options
from shared.schemas.jobs import Job

JOB = click.argument("job_id", metavar="ID")


def _which(command: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that choose dead letters."""
    for name, help_ in (
        ("--until", "Only those of jobs created before this time, in RFC 3339 or Unix seconds."),
        ("--since", "Only those of jobs created then or later."),
        ("--model", "Only those of this model."),
        ("--reason", "Only those of this reason: poison, gone, expired, model_failed, not_a_picture."),
    ):
        command = click.option(name, default="", help=help_)(command)
    return command


@click.group()
def jobs() -> None:
    """List, show, wait for, cancel, retry and delete jobs; fetch their results."""


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
                letter.name,
                f"{letter.model.name} {letter.model.version}",
                letter.reason,
                console.local_time(letter.created_at),
            )
            for letter in found
        ),
        "job", "picture", "file", "model", "reason", "created",
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
