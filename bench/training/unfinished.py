"""The file of a comparison of trainings that has not ended: written after each training, and resumed by another run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from bench.report import name_of
from bench.training.result import Result
from bench.training.run import CONTESTANTS, describe
from bench.training.tasks import Task, draw


def path_of(result: Result, folder: Path) -> Path:
    """Return the file of a result that has not ended."""
    return folder / f"{name_of(result.machine, 'trainings')}.unfinished.json"


def write(result: Result, path: Path) -> None:
    """Replace the file, so that it is whole whenever the run is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    os.replace(part, path)


def read(
    path: Path, machine: Mapping[str, Any], seeds: int | None, epochs: int | None, tasks: Sequence[Task]
) -> Result:
    """Return what a run has measured, of the first `seeds` only; without seeds or epochs those of that run.

    Raises UsageError if it was another comparison: of another revision, with other tasks, or with other epochs. What a
    contestant could not do then is tried again.
    """
    try:
        result = Result.from_json(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError) as error:
        raise click.UsageError(f"{path.name} is no unfinished comparison of trainings") from error
    result = result.only_seeds(result.seeds if seeds is None else seeds)
    described = {task.name: describe(draw(task, 0)) for task in tasks}
    for what, wanted, found in (
        ("the revision", machine["revision"], result.machine["revision"]),
        ("the number of cores", machine["cores"], result.machine["cores"]),
        ("the number of epochs", result.epochs if epochs is None else epochs, result.epochs),
        ("the pictures of the tasks", described, result.tasks),
    ):
        if wanted != found:
            raise click.UsageError(f"{path.name} cannot be resumed: {what} was {found}, and is {wanted}")
    result.left_out = {what: why for what, why in result.left_out.items() if what not in CONTESTANTS}
    return result
