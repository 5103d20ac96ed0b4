"""`python -m bench.training`: the quality of trainings, beside scikit-learn, torchvision's recipe and fastai."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import tempfile
from functools import partial
from pathlib import Path

import click

from bench.__main__ import NEEDED, RESULTS, machine, remarks, report_console, say
from bench.training import report, tasks, unfinished
from bench.training.contestants.recipe import EPOCHS
from bench.training.result import Result
from bench.training.run import CONTESTANTS, run
from bench.training.tasks import Task
from inferq.errors import InferqError

SEEDS = 5


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder "
              "with a folder of pictures for each label, as one more task; may be repeated.")  # fmt: skip
@click.option("--seeds", type=click.IntRange(1, 100), help=f"How often each task is drawn and learned  [default: "
              f"{SEEDS}, or as the run that is resumed]")  # fmt: skip
@click.option("--task", multiple=True, metavar="NAME", help=f"Only this task: {', '.join(tasks.MADE)}, or the name of "
              "a folder of --data; may be repeated.")  # fmt: skip
@click.option("--contestant", multiple=True, type=click.Choice(list(CONTESTANTS)), help="Only this contestant; may be "
              "repeated.")  # fmt: skip
@click.option("--epochs", type=click.IntRange(1, 100), help=f"Epochs of the plain recipe; torchvision's tutorial has "
              f"25  [default: {EPOCHS}, or as the run that is resumed]")  # fmt: skip
@click.option("--save/--no-save", default=False, help="Keep the result in bench/results; until it is complete, in a "
              "file whose name ends in .unfinished.json.")  # fmt: skip
@click.option("--resume", type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="FILE", help="Measure "
              "only what this unfinished result lacks; with fewer --seeds than it has, report these.")  # fmt: skip
def main(
    data: tuple[Path, ...], seeds: int | None, task: tuple[str, ...], contestant: tuple[str, ...], epochs: int | None,
    resume: Path | None, *, save: bool,
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
    chosen = choose_tasks(data, task)
    about = machine({name: importlib.metadata.version(name) for name in ("torch", "scikit-learn")} | {"device": "cpu"})
    if resume:
        result, path = unfinished.read(resume, about, seeds, epochs, chosen), resume
    else:
        result = Result(about, seeds or SEEDS, epochs or EPOCHS)
        path = unfinished.path_of(result, RESULTS)
        if save and path.exists():
            raise click.UsageError(f"there is an unfinished result: --resume bench/results/{path.name}, or remove it")
    keep = partial(unfinished.write, path=path) if save or resume else _forget
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        try:
            run(result, chosen, contestant or tuple(CONTESTANTS), Path(scratch), say, keep)
        except InferqError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            report.show(result, report_console())
            remarks.print(f"interrupted; go on with --resume {path}" if path.exists() else "interrupted")
            raise click.Abort from None
    report.show(result, report_console())
    for written in report.write(result, RESULTS) if save else []:
        remarks.print(f"written: bench/results/{written.name}")
    if save:
        path.unlink(missing_ok=True)


def _forget(result: Result) -> None:
    """Keep nothing of a result that has not ended."""


def choose_tasks(folders: tuple[Path, ...], named: tuple[str, ...]) -> list[Task]:
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
