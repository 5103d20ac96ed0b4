"""`inferq chaos`: the proof that nothing that was accepted is lost, whatever fails."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import click
import psycopg

from bench.__main__ import NEEDED, machine, report_console, say
from bench.chaos import report, small_disk
from bench.chaos.faults import FAULTS
from bench.chaos.result import Result
from bench.chaos.run import Run
from bench.chaos.system import WORKERS, System
from bench.comparison.run import database as own_database
from inferq.commands.up import running
from inferq.errors import CannotStart, InferqError
from inferq.stack import stack

_BASE_MB, _MB_A_MINUTE = 256, 20
"""Size of the small file system, for which the longest run has room."""


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]}, epilog=f"FAULT is one of: {', '.join(FAULTS)}."
)
@click.option("--minutes", type=click.FloatRange(0.5, 24 * 60), help="Inject faults for so long, again and again; each "
              "once if not given, which takes about eight minutes.")  # fmt: skip
@click.option("--seed", type=int, help="Decides the order of the faults and what they hit; random if not given.")
@click.option("--database", default="", help="A PostgreSQL server, postgresql://USER:PASSWORD@HOST:PORT/NAME, on which "
              "a database is created and dropped; SQLite if not given.")  # fmt: skip
@click.option("--redis", default="", help="An empty Redis, redis://HOST:PORT/0, which is flushed and filled; an own "
              "Valkey if not given.")  # fmt: skip
@click.option("--fault", multiple=True, type=click.Choice(list(FAULTS)), metavar="FAULT", help="Only this fault; "
              "may be repeated.")  # fmt: skip
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="A new folder, in which logs and data "
              "stay; a temporary one if not given.")  # fmt: skip
@click.option("--into", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The folder for the "
              "result, as JSON and as a page; the current one if not given.")  # fmt: skip
def main(
    minutes: float | None, seed: int | None, database: str, redis: str, fault: tuple[str, ...], data: Path | None,
    into: Path,
) -> None:  # fmt: skip
    """Start the service, put a steady load on all its wires, break one part after another, and judge every answer.

    It starts two API processes, three workers and maintenance, with stores of their own, and leaves nothing behind but
    the result. It exits with 1 if anything that was accepted is lost, wrong or answered twice.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f"chaos needs {', '.join(missing)}: pip install 'inferq[dev]'")
    for name in [name for name in os.environ if name.startswith("INFERQ_")]:
        del os.environ[name]  # the settings of another installation
    seed = random.randrange(10_000) if seed is None else seed
    say(f"seed {seed}")
    try:
        with _data_folder(data, minutes or 10.0) as (folder, is_small), _database(database) as database_url:
            result = _run(folder, seed, minutes, fault, redis, database_url, is_small=is_small)
    except InferqError as error:
        click.echo(f"inferq: {error}", err=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    result.machine = machine({})
    report.show(result, report_console())
    for path in report.write(result, into):
        say(f"written: {path}")
    sys.exit(result.exit_code)


def _run(
    folder: Path, seed: int, minutes: float | None, chosen: tuple[str, ...], redis: str, database: str, *,
    is_small: bool,
) -> Result:  # fmt: skip
    """Start the system, run in a thread, stop the system; raises InferqError and KeyboardInterrupt."""
    options = stack.StackOptions(folder, port=0, workers=WORKERS, trainer=False, default_model="digits")
    with ThreadPoolExecutor(1) as beside, running(options, lambda *_: None) as (plan, supervisor):
        try:
            system = System(plan, supervisor, redis, database)
            system.disk_is_small = is_small
            system.start()
            run = Run(system, seed, minutes, chosen, say)
            # In a thread, so that the main thread keeps the parts running and receives Ctrl-C.
            done = beside.submit(run.all)
            if not supervisor.watch(done.done):
                run.interrupt()
                raise KeyboardInterrupt
            return done.result()
        finally:
            supervisor.stop()  # twice: the parts are killed, since they have nothing left to finish
            supervisor.stop()


@contextmanager
def _data_folder(chosen: Path | None, minutes: float) -> Iterator[tuple[Path, bool]]:
    """Yield the folder of all data, and whether its folder `disk` is a small file system; raises CannotStart."""
    with ExitStack() as leave:
        if chosen is None:
            folder = Path(leave.enter_context(tempfile.TemporaryDirectory(prefix="inferq-chaos-")))
        elif chosen.exists() and any(chosen.iterdir()):
            raise CannotStart(f"{chosen} is not empty; name a folder that is new")
        else:
            folder = chosen.absolute()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # private before it holds anything, as a stack wants it
        is_small = small_disk.mount(folder / "disk", int(_BASE_MB + _MB_A_MINUTE * minutes))
        if is_small:
            leave.callback(small_disk.unmount, folder / "disk")
        yield folder, is_small


@contextmanager
def _database(server: str) -> Iterator[str]:
    """Create a database on the server for the block and yield its URL, empty without a server; raises CannotStart."""
    if not server:
        yield ""
        return
    if urlsplit(server).scheme != "postgresql":
        raise CannotStart(f"--database is postgresql://USER:PASSWORD@HOST:PORT/NAME, not {server!r}")
    try:
        with own_database(server) as url:
            yield url
    except psycopg.OperationalError as error:
        raise CannotStart(f"PostgreSQL cannot be used: {error}") from error


if __name__ == "__main__":
    main(prog_name="inferq chaos")
