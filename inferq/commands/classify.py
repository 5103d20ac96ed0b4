"""`inferq classify` sends pictures, any number of them, and prints their labels."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypedDict, Unpack

import click

from inferq.client import Answered, Client, Source
from inferq.client.mapping import Map
from inferq.commands import console, model_import, options, progress_view, results, sources, units
from inferq.commands.prediction_rows import FEW, Rows
from inferq.errors import InferqError

_FAILURES = 5
"""Most failures in the summary."""


class Asked(TypedDict):
    """What is asked of the server."""

    model: str | None
    version: str | None
    task: str | None
    top_k: int | None
    explain: Path | None
    explain_label: str | None
    priority: str | None
    deadline: str | None
    webhook: str | None
    webhook_secret: str | None
    metadata: dict[str, str] | None


def _metadata(_context: click.Context, _parameter: click.Parameter, pairs: Sequence[str]) -> dict[str, str] | None:
    """Return KEY=VALUE texts as an object, None if there are none; raises BadParameter."""
    if wrong := next((pair for pair in pairs if not pair.partition("=")[1] or pair.startswith("=")), None):
        raise click.BadParameter(f"{wrong!r} is not of the form KEY=VALUE")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs)} or None


@click.command()
@click.argument("words", metavar="SOURCES...", nargs=-1, required=True)
@click.option("--model", help="The model; by default the server's default model.")
@click.option("--version", help="The version of the model; by default its default version.")
@click.option("--task", type=click.Choice(["classify", "features"]), help="Labels with scores (the default), or what "
              "the network computes before its last layer.")  # fmt: skip
@click.option("--top-k", type=click.IntRange(min=1), help="Number of labels per picture; 5 by default.")
@click.option("--json", "format", flag_value="json", help="Print a line of JSON for each picture.")
@click.option("--csv", "format", flag_value="csv", help="Print CSV, with a row for each label.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE",
              help="Write the answers into FILE as they come: CSV if its name ends in .csv, else lines of "
              "JSON.")  # fmt: skip
@click.option("--resume", is_flag=True, help="Go on with --out FILE: pictures that have an answer in it, and whose "
              "bytes are the same, are not sent again.")  # fmt: skip
@click.option("--explain", type=click.Path(file_okay=False, path_type=Path), metavar="FOLDER",
              help="Write each picture into FOLDER, under a heat map of the evidence for its best label.")  # fmt: skip
@click.option("--explain-label", metavar="LABEL", help="With --explain: the evidence for this label instead.")
@click.option("--priority", type=click.Choice(["high", "normal", "low"]), help="Which pictures go first.")
@click.option("--deadline", metavar="WHEN", help="Seconds from now, or a time in RFC 3339, when the job expires.")
@click.option("--webhook", metavar="URL", help="Is called when a job has ended.")
@click.option("--webhook-secret", metavar="SECRET", help="Signs these calls.")
@click.option("--metadata", multiple=True, metavar="KEY=VALUE", callback=_metadata,
              help="Kept with the job; repeat it for more.")  # fmt: skip
@options.TIMEOUT
@options.DETACH
@options.server
def classify(
    client: Client, words: tuple[str, ...], *, format: results.Format | None, out: Path | None, resume: bool,
    timeout: float | None, detach: bool, **asked: Unpack[Asked],
) -> None:  # fmt: skip
    """Classify pictures.

    SOURCES are files, archives, folders with all that is below them, patterns, URLs that
    the server fetches, and - for standard input. A picture that cannot be used does not
    keep the others from being classified. Many pictures are sent as several jobs.

    \b
      inferq classify duck.jpg cat.png
      inferq classify photos/ 'more/**/*.jpg' --out labels.csv
      inferq classify photos/ 'more/**/*.jpg' --out labels.csv --resume
      inferq classify photos.zip --detach       then: inferq jobs wait ID

    Exits with 1 if any picture has no answer. Ctrl-C leaves jobs running that were sent.
    """
    _check(asked, out, resume=resume, detach=detach)
    written = format or results.format_of(out)
    found = sources.find(words)
    mapped = client.jobs.map(
        found,
        timeout=math.inf if timeout is None else timeout,
        skip=results.resume(out, written) if out and resume else (),
        when_not_ready=lambda: _wait_for_model(client, asked),
        **_sent(asked),
    )
    if detach:
        raise SystemExit(_send(mapped, written))
    writing = _rows(found, asked) if written == "rows" else results.opened(out, written)
    # Lines for programs that a terminal shows are left as they are: a display of progress would wrap them.
    is_raw = written != "rows" and out is None and console.out.is_terminal
    showing: AbstractContextManager[AbstractContextManager[object]] = (
        nullcontext(nullcontext()) if is_raw else progress_view.mapping(lambda: mapped.progress, above=out is None)
    )
    began, kept = time.monotonic(), _Kept()
    with _continuing(mapped, kept, out), writing as write, showing as printing:
        for batch in mapped.batches():
            with printing:
                if folder := asked["explain"]:  # before the rows: --resume does not ask again for what has its row
                    _write_explanations(client, batch, folder)
                write(batch)
            kept.add(batch)
    _summarize(mapped, kept, time.monotonic() - began, are_shown=written == "rows" and len(found) <= FEW)
    if mapped.progress.failed:
        raise SystemExit(1)


def _check(asked: Asked, out: Path | None, *, resume: bool, detach: bool) -> None:
    """Raise UsageError for options that do not go together."""
    if asked["explain_label"] and not asked["explain"]:
        raise click.UsageError("--explain-label needs --explain FOLDER")
    if detach and (asked["explain"] or out or resume):
        raise click.UsageError("--explain, --out and --resume wait for the answers; leave out --detach")
    if asked["webhook_secret"] and not asked["webhook"]:
        raise click.UsageError("--webhook-secret needs --webhook URL")
    if resume and out is None:
        raise click.UsageError("--resume needs the --out FILE to go on with")
    if out and not resume and out.exists() and out.stat().st_size:
        raise click.UsageError(f"{out} exists already; go on with it by --resume, or remove it")


def _sent(asked: Asked) -> dict[str, Any]:
    """Return the options of the jobs. What is not asked for is None, and left out: an older server may not know it."""
    options: dict[str, Any] = {**asked, "explain": True if asked["explain"] else None}
    if secret := options.pop("webhook_secret"):
        options["webhook"] = {"url": asked["webhook"], "secret": secret}
    return options


def _wait_for_model(client: Client, asked: Asked) -> None:
    """Wait until the model is ready; raises InferqError with the reason if it will not be."""
    model = client.models.get(asked["model"] or client.models.get_default().model)
    for _ in model_import.until_ready(client, model.name, asked["version"] or model.default_version):
        pass


class _Kept:
    """What the summary needs of the answers, which are not kept."""

    def __init__(self) -> None:
        self.pictures = 0
        self.jobs: list[str] = []
        self.models: list[str] = []
        self.failures: list[Answered] = []

    def add(self, answers: Sequence[Answered]) -> None:
        """Count these answers."""
        for answered in answers:
            self.pictures += 1
            if job := answered.job:
                self.jobs += [] if job.id in self.jobs[-1:] else [job.id]
                model = f"{job.model.name} {job.model.version}".rstrip()
                self.models += [] if model in self.models else [model]
            if answered.prediction.error and len(self.failures) < _FAILURES:
                self.failures.append(answered)


@contextmanager
def _rows(found: Sequence[Source], asked: Asked) -> Iterator[Callable[[Sequence[Answered]], None]]:
    """Yield a function that prints answers as rows."""
    # Of a single archive, the rows have the names of its pictures.
    rows = Rows([source.file for source in found] if len(found) > 1 else ())

    def name(answered: Answered) -> str:
        member, file = answered.prediction.name, answered.source.file
        return file if not answered.is_member else f"{file}: {member}" if len(found) > 1 else member

    def write(answers: Sequence[Answered]) -> None:
        is_few = max(len(found), len(answers)) <= FEW
        named = [(name(answered), answered.prediction) for answered in answers]
        rows.write(named, all_labels=is_few or asked["top_k"] is not None)

    yield write


@contextmanager
def _continuing(mapped: Map, kept: _Kept, out: Path | None) -> Iterator[None]:
    """On Ctrl-C and on errors, print what continues and how to go on."""
    try:
        yield
    except (KeyboardInterrupt, InferqError):
        now = mapped.progress
        if out:
            words = f"{kept.pictures + now.skipped:,} of {console.count(now.total, 'picture')} are in {out}"
            console.remarks.print(f"{words}; go on with the same command and --resume", soft_wrap=True)
        elif len(now.unfinished) == 1:
            (job,) = now.unfinished
            console.remarks.print(f"job {job} continues; wait for it with: inferq jobs wait {job}", soft_wrap=True)
        elif now.unfinished:
            console.remarks.print(f"{len(now.unfinished)} jobs continue; see them with: inferq jobs list")
        raise


def _summarize(mapped: Map, kept: _Kept, seconds: float, *, are_shown: bool) -> None:
    """Print on a terminal what was done, and everywhere what failed; `are_shown` if the rows have the reasons."""
    now = mapped.progress
    if console.remarks.is_terminal:
        parts = [f"{console.count(kept.pictures, 'picture')} in {units.duration(seconds)}"]
        if seconds >= 1 and kept.pictures > 1:
            parts.append(f"{kept.pictures / seconds:.3g}/s")
        if kept.models:
            parts.append(f"by {' and '.join(kept.models)}")
        if kept.jobs:
            parts.append(f"job {kept.jobs[0]}" if len(kept.jobs) == 1 else console.count(len(kept.jobs), "job"))
        if now.skipped:
            parts.append(f"{now.skipped:,} had their answers")
        console.remarks.print(", ".join(parts), style="dim", soft_wrap=True)
    if now.failed:
        console.remarks.print(f"{now.failed:,} of {console.count(now.total, 'picture')} failed", style="red")
    if now.failed and not are_shown:
        _print_failures(kept.failures, now.failed)


def _print_failures(failures: Sequence[Answered], of: int) -> None:
    """Print the first failures with their reasons, and how many others there are."""
    for failure in failures:
        name = console.shortened(failure.source.file, console.remarks, console.remarks.width // 3)
        reason = failure.prediction.error.message if failure.prediction.error else ""
        if console.remarks.is_terminal:
            console.print_notes([(f"  {name}:", reason)], on=console.remarks)
        else:
            console.remarks.print(f"  {name}: {reason}", soft_wrap=True)
    if of > len(failures):
        console.remarks.print(f"  and {of - len(failures):,} more")


def _send(mapped: Map, format: results.Format) -> int:
    """Send everything and print the ids of the jobs, or the jobs as lines of JSON; return the exit code."""
    code = 0
    for sent in mapped.send():
        if isinstance(sent, Answered):
            code = 1
            reason = sent.prediction.error.message if sent.prediction.error else ""
            console.remarks.print(f"{sent.source.file}: {reason}", style="red", soft_wrap=True)
        else:
            click.echo(sent.encode().decode() if format == "json" else sent.id)
    return code


def _write_explanations(client: Client, answers: Sequence[Answered], folder: Path) -> None:
    """Write the heat maps of answers into a folder, by the number of the source, for a picture of an archive its number
    there, and the name. They are the same when the command goes on with --resume."""
    folder.mkdir(parents=True, exist_ok=True)
    for answered in answers:
        given, name = answered.prediction.explanation, answered.prediction.name
        if given is None or answered.job is None:  # the picture has no answer
            continue
        if given.reason:
            console.remarks.print(f"{name}: no explanation: {given.reason}", soft_wrap=True)
            continue
        number = f"{answered.index + 1}-{answered.position + 1}" if answered.is_member else f"{answered.index + 1}"
        file = folder / f"{number}-{Path(name).name}.png"
        file.write_bytes(client.jobs.explanation(answered.job.id, answered.position))
        console.remarks.print(f"{file} explains {given.label!r}", soft_wrap=True)
