"""`inferq up` runs the whole service as one process tree."""

from __future__ import annotations

import contextlib
import errno
import shlex
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.text import Text

from inferq import __version__
from inferq.client.connection import DEFAULT_URL
from inferq.commands import console, options
from inferq.stack import data_dir, stack
from inferq.stack.logs import Follower
from inferq.stack.supervisor import Supervisor
from shared.samples import installed

FEW = 2
"""Most workers by default. Each needs some 400 MB for torch; on more cores each uses more threads."""


@click.command()
@click.option("--host", envvar="INFERQ_HOST", default="127.0.0.1", show_default=True, help="Host to listen on.")
@click.option(
    "--port", envvar="INFERQ_PORT", default=8000, show_default=True, type=click.IntRange(0, 65535),
    help="Port to listen on; 0 picks a free one.",
)  # fmt: skip
@options.DATA
@click.option(
    "--workers", type=click.IntRange(1, 256), help=f"Number of workers; by default one per core, at most {FEW}."
)
@click.option("--no-trainer", is_flag=True, help="Start no trainer: datasets and trainings then wait.")
@click.option("--default-model", default="", help="Model for requests that name none; efficientnet_lite0 by default.")
@click.option("--verbose", is_flag=True, help="Show the logs of the parts.")
def up(
    host: str, port: int, data: Path, workers: int | None, no_trainer: bool, default_model: str, verbose: bool
) -> None:
    """Start the whole service on this machine; Ctrl-C drains and stops it.

    It starts its own Redis (Valkey), database (SQLite) and blob folder in the data folder, and ignores DATABASE_URL,
    REDIS_URL and STORAGE_URL. To run the service on your own, see docker-compose.yml.
    No accepted job is lost when it is stopped or killed: unfinished jobs are finished after the next start.
    """
    stack_options = stack.StackOptions(
        data.expanduser().absolute(), host, port, workers or few_workers(), not no_trainer, default_model
    )
    began = time.monotonic()
    with running(stack_options, _part_up, verbose=verbose) as (plan, supervisor):
        _say("inferq", f"{__version__}, data folder {stack_options.data}", "bold")
        decision = stack.start(plan, supervisor, _part_up)
        _welcome(stack_options, plan.url, decision, time.monotonic() - began)
        supervisor.watch(lambda: False)
        _say("stopping", "running batches are finished first; Ctrl-C again stops at once", "yellow")
    _say("stopped", "", "bold")


@contextlib.contextmanager
def running(
    stack_options: stack.StackOptions, progress: Callable[[str, str], None], *, verbose: bool = False
) -> Iterator[tuple[stack.Plan, Supervisor]]:
    """Lock the data folder and yield the plan of the stack and its supervisor; the end of the block drains the stack.

    Raises CannotStart. Ctrl-C, SIGTERM and a closed terminal ask the supervisor to stop. Call it in the main thread.
    """
    if not stack_options.data.exists():  # a start that is refused leaves no folder behind
        stack.check_port(stack_options.host, stack_options.port)
    with data_dir.claim(stack_options.data):
        orphans = data_dir.clean(stack_options.data)
        if orphans:
            progress("leftovers", f"stopped {len(orphans)} processes of an earlier run")
        plan = stack.plan(stack_options)
        follower = Follower(stack_options.data / "logs", _log_line)
        description = stack.Description(plan)

        def tick() -> None:
            description.tick()
            if verbose:
                follower.read()

        supervisor = Supervisor(_trouble, changed=description.write, tick=tick)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, supervisor.stop)
        try:
            yield plan, supervisor
        finally:
            supervisor.drain()


def few_workers() -> int:
    """Return the default number of workers: one per core, at most FEW."""
    return min(stack.cores(), FEW)


def _welcome(stack_options: stack.StackOptions, url: str, decision: stack.Decision, seconds: float) -> None:
    _say("default", f"{decision.model}: {decision.why}")
    _say("logs", str(stack_options.data / "logs"))
    _say("ready", f"after {seconds:.1f} s", "bold green")
    lines = {
        "try it": _try_it(url),
        **_elsewhere(url),
        "pages": f"{url}/   {url}/docs",
        "health": f"{url}/readyz   {url}/metrics",
    }
    console.out.print()
    for name, text in lines.items():
        _say(name, text)
    console.out.print(Text("\n  Ctrl-C drains and stops.", style="dim"))


def _try_it(url: str) -> str:
    """Return a curl command; it works unchanged if a sample photograph is installed."""
    photo = installed().get("coffee.png")
    picture = shlex.quote(str(_relative(photo))) if photo else "photo.jpg"
    key = '-H "Authorization: Bearer $INFERQ_KEY" ' if stack.locked(url) else ""
    return f"curl {key}-F files=@{picture} {url}/v1/classify"


def _elsewhere(url: str) -> dict[str, str]:
    """Return how to direct the other commands to the service; empty if they find it by default."""
    return {} if url == DEFAULT_URL else {"commands": f"export INFERQ_URL={url}"}


def _relative(path: Path) -> Path:
    """Return the path relative to the current folder, if it is below it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _part_up(name: str, text: str) -> None:
    _say(f"✓ {name}", text, "green")


def _trouble(line: str) -> None:
    _say("!", line, "yellow")


def _log_line(name: str, line: str) -> None:
    _say(name, line, "dim")


def _say(name: str, text: str, style: str = "cyan") -> None:
    try:
        console.out.print(Text.assemble((f"  {name:<11}", style), text), soft_wrap=True)
    except OSError as error:  # its output goes to a file on a full disk: the stack runs on without these words
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
