"""`inferq bench`: throughput and latency of the real HTTP path, beside the in-process limit of the same run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import platform
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from bench.models import warm_up
from bench.service import Service, measure_own
from inferq.client import Client
from inferq.commands.up import few_workers
from inferq.errors import InferqError
from inferq.stack import stack

RESULTS = Path(__file__).parent / "results"
NEEDED = ("psutil", "matplotlib", "numpy")
PARTS = ("peers", "digits", "overload", "waiting", "devices")
"""The parts of a comparison."""
ETA_SECONDS, ETA_QUICK = 60.0, 25.0
"""Seconds of the steady load of each model, by which the error of `eta` is measured."""
POSTGRES = "postgresql://postgres@127.0.0.1:5432/postgres"
remarks = Console(stderr=True, highlight=False, markup=False)


@dataclass(frozen=True)
class Options:
    """The options of the command."""

    model: str
    weights: Path | None
    workers: int | None
    quick: bool
    url: str
    key: str
    save: bool | None
    peers: bool
    part: tuple[str, ...]
    rounds: int | None
    postgres: str
    soak: float | None
    eta: bool


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="mobilenet_v2", show_default=True, help="A torchvision architecture.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its weights, with 1000 "
              "classes (.safetensors); random ones, which cost the same, if not given.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), help="Workers of the stack; as `inferq up` if not given.")
@click.option("--quick", is_flag=True, help="A rough measurement, in about a third of the time.")
@click.option("--url", default="", help="Measure a service that runs already, at http://HOST:PORT.")
@click.option(
    "--key",
    envvar="INFERQ_KEY",
    default="",
    help="Its API key; the model is registered there for the duration of the run.",
)
@click.option("--save/--no-save", default=None, help="Keep the result in bench/results; a quick one only on request.")
@click.option("--peers", is_flag=True, help="Compare with other ways to serve a model, and under heavier loads.")
@click.option("--part", multiple=True, type=click.Choice(PARTS), help="With --peers: only this part; may be repeated.")
@click.option("--rounds", type=click.IntRange(1, 100), help="With --peers: how often each is measured, in turn; 3.")
@click.option("--postgres", envvar="INFERQ_TEST_POSTGRES", default=POSTGRES, show_default=True, help="With --peers: a "
              "PostgreSQL server, on which a database is created and dropped.")  # fmt: skip
@click.option("--soak", type=click.FloatRange(min=0.1), metavar="MINUTES", help="Load the service for that long, and "
              "say which process or file grows under it.")  # fmt: skip
@click.option("--eta", is_flag=True, help="Measure the error of the `eta` that waiting jobs report.")
def main(**choices: Any) -> None:
    """Measure throughput, latency, batches, CPU and memory of the real HTTP path, beside the in-process limit; and how
    long a training takes. With --peers, compare it with LitServe, Mosec, BentoML, Ray Serve and Flask + Celery instead.
    With --soak, send a mixed load at a third of the capacity instead, and measure memory, file descriptors and threads
    of every process. With --eta, keep a steady backlog instead, of digits and then of the model, and report by how much
    the `eta` of jobs was off.

    It starts a stack in a temporary folder, generates pictures and weights, and leaves nothing behind but the result,
    and the peers' environments in a cache folder: INFERQ_BENCH_ENVS, or inferq-bench in the user's.
    """
    options = Options(**choices)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f"the benchmark needs {', '.join(missing)}: pip install 'inferq[dev]'")
    if options.url and not options.url.startswith("http://"):
        raise click.UsageError("--url must begin with http://; the load speaks plain HTTP over raw sockets")
    if options.peers and options.url:
        raise click.UsageError("--peers starts every service itself; leave --url out")
    if not options.peers and (options.part or options.rounds):
        raise click.UsageError("--part and --rounds belong to --peers")
    if options.soak and (options.peers or options.url):
        raise click.UsageError("--soak starts a service of its own, and compares nothing; leave --url and --peers out")
    if options.eta and (options.soak or options.peers or options.url):
        raise click.UsageError("--eta starts a service of its own; leave --url, --peers and --soak out")
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        try:
            written = _chosen(options)(options, Path(scratch))
        except InferqError as error:
            raise click.ClickException(str(error)) from None
    for path in written:
        remarks.print(f"written: bench/results/{path.name}")


def _chosen(options: Options) -> Callable[[Options, Path], list[Path]]:
    """Return what is to be measured."""
    if options.soak:
        return _soak
    if options.eta:
        return _eta
    return _compare if options.peers else _measure


def _soak(options: Options, scratch: Path) -> list[Path]:
    """Measure what grows under a long load; returns the files that were written."""
    from bench.soak import report
    from bench.soak.result import Soak
    from bench.soak.run import soak

    facts = {"torch": importlib.metadata.version("torch"), "device": "cpu"}
    result = Soak(machine(facts), options.workers or few_workers(), options.soak or 0.0)
    soak(result, scratch, say)
    report.show(result, report_console())
    return report.write(result, RESULTS) if _is_kept(options) else []


def _eta(options: Options, scratch: Path) -> list[Path]:
    """Measure the error of `eta`; returns the files that were written."""
    from bench.eta import report
    from bench.eta.result import Accuracy
    from bench.eta.run import measure
    from bench.models import Model

    say("making pictures and weights")
    folder = scratch / "material"
    weights = write_material(folder, options.model, options.weights)
    facts = {"torch": importlib.metadata.version("torch"), "device": "cpu"}
    result = Accuracy(machine(facts), options.workers or few_workers())
    model = Model(options.model, weights, folder / "labels.txt", folder)
    measure(result, model, ETA_QUICK if options.quick else ETA_SECONDS, scratch, say)
    report.show(result, report_console())
    return report.write(result, RESULTS) if _is_kept(options) else []


def write_material(folder: Path, architecture: str, weights: Path | None) -> Path:
    """Write pictures, labels, and weights unless some are given, into the folder; return the path of the weights.

    Raises InferqError.
    """
    from bench import material

    material.pictures(folder)
    material.labels(folder / "labels.txt")
    if weights:
        return weights
    command = [sys.executable, "-P", "-m", "bench.material", str(folder), architecture]
    completed = subprocess.run(command, capture_output=True, text=True, check=False)
    if completed.returncode:
        raise InferqError(f"no weights for {architecture}: {completed.stderr.strip().splitlines()[-1]}")
    return folder / "weights.safetensors"


def _measure(options: Options, scratch: Path) -> list[Path]:
    """Measure inferq alone; returns the files that were written."""
    from bench import report
    from bench.run import QUICK, Effort

    effort = QUICK if options.quick else Effort()
    bench = Bench(scratch, options.model, options.workers or few_workers(), effort)
    bench.prepare(options.weights)
    result = bench.running_service(options.url, options.key) if options.url else bench.own_service()
    report.show(result, report_console())
    return report.write(result, RESULTS) if _is_kept(options) else []


def _compare(options: Options, scratch: Path) -> list[Path]:
    """Measure inferq and its peers; returns the files that were written."""
    from bench.comparison import report
    from bench.comparison.result import Comparison
    from bench.comparison.rounds import QUICK, Effort
    from bench.comparison.run import Run

    # As Ctrl-C, so that no server of a peer is left running.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    effort = QUICK if options.quick else Effort()
    effort = replace(effort, rounds=options.rounds or effort.rounds)
    facts = {"torch": importlib.metadata.version("torch"), "device": "cpu"}  # without a GPU, as the peers are started
    result = Comparison(machine(facts), options.model, {})
    run = Run(scratch, options.model, options.workers or few_workers(), effort, say)
    run.all(result, options.part or PARTS, options.weights, options.postgres)
    report.show(result, report_console())
    return report.write(result, RESULTS) if _is_kept(options) else []


def report_console() -> Console:
    """Return the console for tables; in a pipe it is as wide as they need."""
    return Console(highlight=False, width=None if sys.stdout.isatty() else 160)


def _is_kept(options: Options) -> bool:
    """Return True if the result is to be kept: a quick one only on request, and so a part of a comparison."""
    return not (options.quick or options.part) if options.save is None else options.save


class Bench:
    """Bench holds the material that is sent, its folder, and the measured model; it starts or finds the service."""

    def __init__(self, scratch: Path, model: str, workers: int, effort: Any) -> None:
        self._scratch = scratch
        self._folder = scratch / "material"
        self._model = model
        self._registered = f"bench-{model}"
        self._workers = workers
        self._threads = str(max(1, stack.cores() // workers))
        self._effort = effort

    def prepare(self, weights: Path | None) -> None:
        """Write pictures, archive, labels and weights into the scratch folder; raises InferqError."""
        from bench import material

        say("making pictures and weights")
        self._weights = write_material(self._folder, self._model, weights)
        pictures = sorted(self._folder.glob("*.jpg"))
        material.archive(self._folder / "pictures.tar", pictures, self._effort.archive)
        material.labelled(self._folder / "labelled.tar")
        self._sent = {
            "pictures": len(pictures),
            "sizes": ", ".join(f"{width}x{height}" for width, height in material.SIZES),
            "mean_bytes": sum(path.stat().st_size for path in pictures) / len(pictures),
            "archive": self._effort.archive,
            "taught": material.TAUGHT_LABELS * material.TAUGHT_EACH,
            "taught_labels": material.TAUGHT_LABELS,
            "seed": material.SEED,
            "weights": "given" if weights else "random",
        }

    def own_service(self) -> Any:
        """Start a stack, measure it from a thread, stop it; raises InferqError and KeyboardInterrupt."""
        options = stack.StackOptions(self._scratch / "data", port=0, workers=self._workers, default_model="digits")
        say("starting the service")
        with ExitStack() as helpers:
            return measure_own(
                options, lambda service: self._measure(service, helpers), stopping=helpers.close
            )  # fmt: skip

    def running_service(self, url: str, key: str) -> Any:
        """Measure a running service; the CPU and memory of its processes are unknown."""
        with ExitStack() as helpers:
            return self._measure(Service(url, key), helpers)

    def _measure(self, service: Service, helpers: ExitStack) -> Any:
        from bench.result import Result
        from bench.run import Run
        from bench.subprocess_rpc import Helper

        with Client(service.url, service.key, timeout=120.0) as client:
            say(f"registering {self._model}")
            client.models.upload(
                self._registered, architecture=self._model, weights=self._weights, labels=self._folder / "labels.txt"
            )
            try:
                say("warming up, until the engine is chosen")
                warm_up(client, self._registered, self._folder)
                env = {"INFERQ_TORCH_THREADS": self._threads, "OMP_NUM_THREADS": self._threads}
                arguments = (self._model, str(self._weights), str(self._folder))
                limits = [Helper("bench.limit", *arguments, env=env) for _ in range(self._workers)]
                run = Run(service, self._registered, self._effort, self._folder, limits, say)
                helpers.callback(run.close)
                facts = [helper.ask(do="facts") for helper in limits]
                result = Result(machine(facts[0]), self._model, self._workers, self._sent)
                return run.all(result)
            finally:
                if not service.redis_url:
                    client.models.remove(self._registered)


def machine(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the numbers depend on, without names of hosts or folders."""
    from bench import measure

    command = ["git", "describe", "--always", "--dirty"]
    git = subprocess.run(command, capture_output=True, text=True, cwd=RESULTS.parent, check=False)
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "time": f"{datetime.now(UTC):%H:%M} UTC",
        "revision": git.stdout.strip() if git.returncode == 0 else "",
        "cores": stack.cores(),
        "cpu": measure.cpu_model(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torchvision": importlib.metadata.version("torchvision"),
        "pillow": importlib.metadata.version("pillow"),
        **facts,
    }


def say(text: str) -> None:
    """Print a line of progress on stderr."""
    remarks.print(f"  {text}", style="dim")


if __name__ == "__main__":
    main()
