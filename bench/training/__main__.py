"""`python -m bench.training`: the quality of trainings, beside scikit-learn, torchvision's recipe and fastai."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from pathlib import Path

import click

from bench.__main__ import NEEDED, RESULTS, machine, remarks, report_console, say
from bench.training import report, tasks
from bench.training.contestants.recipe import EPOCHS
from bench.training.result import Result
from bench.training.run import CONTESTANTS, run
from bench.training.tasks import Task
from inferq.errors import InferqError


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder "
              "with a folder of pictures for each label, as one more task; may be repeated.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), default=5, show_default=True, help="How often each task is drawn "
              "and learned.")  # fmt: skip
@click.option("--task", multiple=True, metavar="NAME", help=f"Only this task: {', '.join(tasks.MADE)}, or the name of "
              "a folder of --data; may be repeated.")  # fmt: skip
@click.option("--contestant", multiple=True, type=click.Choice(list(CONTESTANTS)), help="Only this contestant; may be "
              "repeated.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1, 100), default=EPOCHS, show_default=True, help="Epochs of the plain "
              "recipe; torchvision's tutorial has 25.")  # fmt: skip
@click.option("--save/--no-save", default=False, help="Keep the result in bench/results.")
def main(
    data: tuple[Path, ...], seeds: int, task: tuple[str, ...], contestant: tuple[str, ...], epochs: int, *, save: bool
) -> None:  # fmt: skip
    """Train on the same pictures with inferq's defaults and with what people would use instead, and measure accuracy
    and calibration on pictures that were held back.

    inferq runs without HTTP, in a temporary folder; nothing is left behind but the result, and fastai's environment in
    a cache folder: INFERQ_BENCH_ENVS, or inferq-bench in the user's.
    """
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise click.ClickException(f"the benchmark needs {', '.join(missing)}: pip install 'inferq[dev]'")
    for name in [name for name in os.environ if name.startswith("INFERQ_") and name != "INFERQ_BENCH_ENVS"]:
        del os.environ[name]  # the settings of another installation
    chosen = _tasks(data, task)
    versions = {name: importlib.metadata.version(name) for name in ("torch", "scikit-learn")}
    result = Result(machine(versions | {"device": "cpu"}), seeds)
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        try:
            run(result, chosen, contestant or tuple(CONTESTANTS), epochs, Path(scratch), say)
        except InferqError as error:
            raise click.ClickException(str(error)) from None
    report.show(result, report_console())
    for path in report.write(result, RESULTS) if save else []:
        remarks.print(f"written: bench/results/{path.name}")


def _tasks(folders: tuple[Path, ...], named: tuple[str, ...]) -> list[Task]:
    """Return the tasks of the folders and those that are made, or only the named ones; raises UsageError."""
    known = {folder.name: folder for folder in folders}
    if clash := known.keys() & tasks.MADE.keys():
        raise click.UsageError(f"a folder of --data must not be named as a task that is made: {', '.join(clash)}")
    if len(known) < len(folders):
        raise click.UsageError("two folders of --data have the same name")
    if unknown := set(named) - known.keys() - tasks.MADE.keys():
        raise click.UsageError(f"no task {', '.join(unknown)}; there are {', '.join([*known, *tasks.MADE])}")
    wanted = [name for name in (*known, *tasks.MADE) if not named or name in named]
    try:
        return [tasks.MADE[name]() if name in tasks.MADE else tasks.from_folder(known[name]) for name in wanted]
    except ValueError as error:
        raise click.UsageError(str(error)) from None


if __name__ == "__main__":
    main(prog_name="python -m bench.training")
