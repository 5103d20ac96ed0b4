"""`inferq bench`: throughput and latency of the real HTTP path, beside the in-process limit of the same run."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from inferq.client import Client
from inferq.commands.up import few_workers, running
from inferq.errors import InferqError
from inferq.stack import stack

RESULTS = Path(__file__).parent / "results"
NEEDED = ("psutil", "matplotlib", "numpy")
_WARM_UP_SECONDS = 120.0
"""Seconds after which the benchmark measures with whatever runtime the workers have."""
remarks = Console(stderr=True, highlight=False, markup=False)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--model", default="mobilenet_v2", show_default=True, help="A torchvision architecture.")
@click.option("--weights", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Its weights, with 1000 "
              "classes (.safetensors); random ones, which cost the same, if not given.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 64), help="Workers of the stack; as `inferq up` if not given.")
@click.option("--quick", is_flag=True, help="Two rough minutes instead of six precise ones.")
@click.option("--url", default="", help="Measure a service that runs already, at http://HOST:PORT.")
@click.option(
    "--key",
    envvar="INFERQ_KEY",
    default="",
    help="Its API key; the model is registered there for the duration of the run.",
)
@click.option("--save/--no-save", default=None, help="Keep the result in bench/results; a quick one only on request.")
def main(
    model: str, weights: Path | None, workers: int | None, quick: bool, url: str, key: str, save: bool | None
) -> None:
    """Measure throughput, latency, batches, CPU and memory of the real HTTP path, beside the in-process limit; and how
    long a training takes.

    It starts a stack in a temporary folder, generates pictures and weights, and leaves nothing behind but the result.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f"the benchmark needs {', '.join(missing)}: pip install 'inferq[dev]'")
    if url and not url.startswith("http://"):
        raise click.ClickException("--url must begin with http://; the load speaks plain HTTP over raw sockets")
    from bench import report
    from bench.run import QUICK, Effort

    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        bench = Bench(Path(scratch), model, workers or few_workers(), QUICK if quick else Effort())
        try:
            bench.prepare(weights)
            result = bench.running_service(url, key) if url else bench.own_service()
        except InferqError as error:
            raise click.ClickException(str(error)) from None
    report.show(result, Console(highlight=False, width=None if sys.stdout.isatty() else 160))
    if save or (save is None and not quick):
        for path in report.write(result, RESULTS):
            remarks.print(f"written: bench/results/{path.name}")


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
        self._folder.mkdir()
        pictures = material.pictures(self._folder)
        material.archive(self._folder / "pictures.tar", pictures, self._effort.archive)
        material.labelled(self._folder / "labelled.tar")
        material.labels(self._folder / "labels.txt")
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
        self._weights = weights or self._folder / "weights.safetensors"
        if weights is None:
            command = [sys.executable, "-P", "-m", "bench.material", str(self._folder), self._model]
            completed = subprocess.run(command, capture_output=True, text=True, check=False)
            if completed.returncode:
                raise InferqError(f"no weights for {self._model}: {completed.stderr.strip().splitlines()[-1]}")

    def own_service(self) -> Any:
        """Start a stack, measure it from a thread, stop it; raises InferqError and KeyboardInterrupt."""
        data = self._scratch / "data"
        stack_options = stack.StackOptions(data, port=0, workers=self._workers, default_model="digits")
        data.mkdir()
        say("starting the service")
        with (
            ThreadPoolExecutor(1) as beside,
            ExitStack() as helpers,
            running(stack_options, quiet) as (plan, supervisor),
        ):
            stack.start(plan, supervisor, quiet)
            # In a thread, so that the main thread keeps the parts running and receives Ctrl-C.
            pids = grouped(supervisor.pids())
            key = os.environ.get("INFERQ_ADMIN_KEY", "")  # the stack inherits it, and asks for it
            measured = beside.submit(self._measure, plan.url, key, pids, plan.redis_url, helpers)
            if not supervisor.watch(measured.done):
                helpers.close()
                raise KeyboardInterrupt
            return measured.result()

    def running_service(self, url: str, key: str) -> Any:
        """Measure a running service; the CPU and memory of its processes are unknown."""
        with ExitStack() as helpers:
            return self._measure(url, key, {}, "", helpers)

    def _warm_up(self, client: Client) -> None:
        """Send pictures until every worker has chosen its runtime: no conversion must run beside the measurement."""
        say("warming up, until the engine is chosen")
        pictures = sorted(self._folder.glob("*.jpg"))
        until = time.monotonic() + _WARM_UP_SECONDS
        while not _is_tuned(client, self._registered) and time.monotonic() < until:
            for _ in range(4):
                client.jobs.classify(*pictures, model=self._registered)

    def _measure(self, url: str, key: str, pids: dict[str, list[int]], redis_url: str, helpers: ExitStack) -> Any:
        from bench.result import Result
        from bench.run import Run, Target
        from bench.subprocess_rpc import Helper

        with Client(url, key, timeout=120.0) as client:
            say(f"registering {self._model}")
            client.models.upload(
                self._registered, architecture=self._model, weights=self._weights, labels=self._folder / "labels.txt"
            )
            try:
                self._warm_up(client)
                env = {"INFERQ_TORCH_THREADS": self._threads, "OMP_NUM_THREADS": self._threads}
                arguments = (self._model, str(self._weights), str(self._folder))
                limits = [Helper("bench.limit", *arguments, env=env) for _ in range(self._workers)]
                target = Target(url, key, self._registered, pids, redis_url)
                run = Run(target, self._effort, self._folder, limits, say)
                helpers.callback(run.close)
                facts = [helper.ask(do="facts") for helper in limits]
                result = Result(machine(facts[0]), self._model, self._workers, self._sent)
                return run.all(result)
            finally:
                if not redis_url:
                    client.models.remove(self._registered)


def _is_tuned(client: Client, name: str) -> bool:
    """Return True if every worker has chosen the runtime of the model."""
    version = client.models.get_version(name, "1")
    report = version.engine_report
    return report is not None and (version.engine or "").split()[0] == report.runtime and "," not in str(version.engine)


def grouped(pids: Mapping[str, int]) -> dict[str, list[int]]:
    """Return part -> pids, with all workers as one part: worker-1 and worker-2 are `worker`."""
    by_part: dict[str, list[int]] = {}
    for name, pid in pids.items():
        by_part.setdefault(name.partition("-")[0], []).append(pid)
    return by_part


def machine(facts: dict[str, Any]) -> dict[str, Any]:
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


def quiet(name: str, text: str) -> None:
    """Print nothing: the parts of the stack start silently."""


if __name__ == "__main__":
    main()
