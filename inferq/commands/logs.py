"""`inferq logs` shows what the parts of the stack in a data folder have logged, and the story of a job."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, options
from inferq.errors import InferqError
from inferq.stack import log_lines
from inferq.stack import logs as log_files
from inferq.stack.log_lines import Line
from shared.schemas.jobs import Job

_EVERY = 0.2
"""Seconds between two looks at the files. The kernel could report changes, on each system in a way of its own."""
_STYLES = {"WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_NEAR = 5.0
"""Seconds between a batch in a timeline and its line in a log: the clocks of two machines may differ."""


@click.command()
@click.argument("job", required=False)
@options.DATA
@click.option("--part", "parts", multiple=True, metavar="NAME",
              help="Only of this part, such as worker-1; repeat it for more.")  # fmt: skip
@click.option("--lines", default=20, show_default=True, type=click.IntRange(min=0), help="Newest lines to begin with.")
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until Ctrl-C.")
@options.server
def logs(client: Client, job: str | None, data: Path, parts: tuple[str, ...], lines: int, follow: bool) -> None:
    """Show the logs of `inferq up`.

    The newest lines of all parts, in the order of time. With JOB, the id of a job or of
    a request, its story: all lines of all parts that belong to it. What the logs of this
    machine lack of a job is asked of the service.

    \b
      inferq logs -f
      inferq logs --part worker-1 --lines 200
      inferq logs 0192f3c1-8d5e-7d3a-9b1c-2f4e6a8b0c1d
    """
    folder = data.expanduser().absolute() / "logs"
    found = log_files.find(folder)
    if unknown := [part for part in parts if part not in found]:
        raise click.BadParameter(f"there is no log of {unknown[0]}; there are: {', '.join(found)}", param_hint="--part")
    if not found and not job:
        raise InferqError(
            f"there are no logs in {folder}. Name the data folder of `inferq up` with --data; "
            "elsewhere the logs are those of your containers"
        )
    chosen = {part: file for part, file in found.items() if part in parts or not parts}

    def show_new(part: str, text: str) -> None:
        if part in chosen and (job is None or job in text):
            _show(part, text)

    follower = log_files.Follower(folder, show_new)
    if job:
        _show_story(client, {part: log_files.find_old(file) for part, file in chosen.items()}, job, folder, follow)
    else:
        for part, text in log_files.newest(chosen, lines):
            _show(part, text)
    while follow:
        time.sleep(_EVERY)
        follower.read()


def _show_story(client: Client, files: dict[str, list[Path]], job: str, folder: Path, follow: bool) -> None:
    shown = log_lines.story(files, job)
    lines = [line for _, _, text in shown if (line := log_lines.read(text.partition("\n")[0]))]
    told = [(line.at, "service", line) for line in _from_service(client, job, lines)]
    if not shown and not told and not follow:
        raise InferqError(f"no line in {folder} names {job}, and no job of the service does; see: inferq jobs list")
    story: list[tuple[float, str, str | Line]] = [*shown, *told]
    for _, part, entry in sorted(story, key=lambda entry: entry[0]):
        _show(part, entry)


def _from_service(client: Client, job_id: str, lines: Sequence[Line]) -> list[Line]:
    """Return what the service knows of a job and these lines do not tell; nothing if it does not answer."""
    try:
        return list(_untold(client.jobs.get(job_id), lines))
    except (InferqError, OSError):
        return []


def _untold(job: Job, lines: Sequence[Line]) -> Iterator[Line]:
    messages = [line.message.split(" ", 1)[0] for line in lines]
    if "accepted" not in messages:
        pictures, model = console.count(job.progress.total, "picture"), job.model
        yield _line(job.created_at, f"accepted {pictures} for {model.name} version {model.version} by {job.wire}")
    ran = [(line.ids.get("worker"), line.at) for line in lines if line.message.startswith("ran ")]
    for run in job.timeline:
        stored_at = datetime.fromisoformat(run.stored_at).timestamp()
        if not any(worker == run.worker and abs(at - stored_at) < _NEAR for worker, at in ran):
            about = f"decode {run.decode_ms:.1f} ms, forward {run.forward_ms:.1f} ms, attempt {run.attempt}"
            yield _line(run.stored_at, f"ran {console.count(run.pictures, 'picture')}; {about}", worker=run.worker)
    if job.finished_at and "ended" not in messages:
        ended = f"ended as {job.status}, {job.progress.done} answered, {job.progress.failed} failed"
        yield _line(job.finished_at, ended)


def _line(when: str, message: str, **ids: str) -> Line:
    at = datetime.fromisoformat(when).astimezone(UTC)
    return Line(at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3], "INFO", message, ids)


def _show(part: str, text: str | Line) -> None:
    """Print a line of the log for people, whether it was written as text or as JSON; another line as it is."""
    head, _, behind = text.partition("\n") if isinstance(text, str) else ("", "", "")
    line = log_lines.read(head) if isinstance(text, str) else text
    if line is None:
        level = next((style for word, style in _STYLES.items() if f" {word} " in head), "")
        shown = Text.assemble((f"{part:<11} ", "dim"), (str(text), level))
    else:
        level = _STYLES.get(line.level, "")
        word = f"{line.level} " if level or line.level == "DEBUG" else ""
        ids = "".join(f"  {name}={value}" for name, value in line.ids.items())
        tail = "".join(f"\n  {row}" for row in line.exception.splitlines()) + (f"\n{behind}" if behind else "")
        shown = Text.assemble(
            (f"{part:<11} ", "dim"), (f"{line.time.replace('T', ' ')} ", "cyan"), (word + line.message, level),
            (ids, "dim"), (tail, level),
        )  # fmt: skip
    console.out.print(shown, soft_wrap=True)
