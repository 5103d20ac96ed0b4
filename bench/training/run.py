"""One comparison of trainings in its order: each draw is learned by every contestant in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from bench.training import figures, rejection
from bench.training.base import Base
from bench.training.contestants import Answer, CannotRun, Contestant
from bench.training.contestants.fastai import Fastai
from bench.training.contestants.ours import Ours
from bench.training.contestants.recipe import Recipe
from bench.training.contestants.regression import Regression
from bench.training.result import Found, Result, Row
from bench.training.tasks import Draw, Task, draw
from bench.training.tasks import foreign as draw_foreign

Make = Callable[[Base, Path, int], Contestant]
CONTESTANTS: dict[str, Make] = {
    Ours.name: lambda base, folder, epochs: Ours(base),
    Regression.name: lambda base, folder, epochs: Regression(base),
    Recipe.name: lambda base, folder, epochs: Recipe(base, epochs),
    Fastai.name: lambda base, folder, epochs: Fastai(base, folder),
}
"""Name -> the function that makes it from the base, an empty folder of its own, and the epochs of the plain recipe."""


def run(
    result: Result, tasks: Sequence[Task], contestants: Sequence[str], scratch: Path, say: Callable[[str], None],
    keep: Callable[[Result], None] = lambda result: None,
) -> None:  # fmt: skip
    """Fill the result in with what it does not have yet; `keep` gets it after every training. Raises InferqError."""
    base = Base(scratch / "base")
    try:
        made = [CONTESTANTS[name](base, scratch / f"contestant-{number}", result.epochs)
                for number, name in enumerate(contestants)]  # fmt: skip
        foreign = {task.name: draw_foreign(other for other in tasks if other is not task) for task in tasks}
        for task in tasks:
            result.tasks[task.name] = describe(draw(task, 0))
        # A seed of all tasks after the other, so that a run that is cut short is a whole one with fewer seeds.
        for seed in range(result.seeds):
            for task in tasks:
                drawn = draw(task, seed)
                for contestant in made:
                    if contestant.name in result.left_out or result.has(task.name, contestant.name, seed):
                        continue
                    answer = _learn(result, contestant, drawn, say)
                    if answer and answer.version and isinstance(contestant, Ours):
                        say(rejection.measure(result, base, contestant, drawn, answer.version, foreign[task.name]))
                    keep(result)
    finally:
        base.close()


def _learn(result: Result, contestant: Contestant, drawn: Draw, say: Callable[[str], None]) -> Answer | None:
    """Let a contestant learn and answer; returns None if it cannot."""
    try:
        answer = contestant.learn(drawn)
    except CannotRun as error:
        result.left_out[contestant.name] = str(error)
        say(f"{contestant.name} is left out: {error}")
        return None
    row = judge(contestant.name, drawn, answer)
    result.rows.append(row)
    before = "" if row.uncalibrated_error is None else f" ({row.uncalibrated_error:.3f} before the temperature)"
    say(
        f"{row.task}, seed {row.seed}, {row.contestant}: {row.accuracy:.3f} right, calibration error "
        f"{row.calibration_error:.3f}{before}, {row.seconds:.1f} s {row.note}"
    )
    if drawn.flipped:
        if answer.suspects is not None:
            share = figures.found_share(answer.suspects, drawn.flipped)
            result.found.append(Found(row.task, row.contestant, row.seed, len(drawn.flipped), share))
        elif contestant.name == Ours.name:
            result.left_out["wrong labels found by inferq"] = "its evidence names no suspects"
    return answer


def judge(contestant: str, drawn: Draw, answer: Answer) -> Row:
    """Return the row of an answer."""
    truths, before = drawn.truths, answer.uncalibrated
    return Row(
        task=drawn.task.name,
        contestant=contestant,
        seed=drawn.seed,
        pictures=len(truths),
        accuracy=float(np.mean(answer.scores.argmax(axis=1) == truths)),
        calibration_error=figures.calibration_error(answer.scores, truths),
        uncalibrated_error=None if before is None else figures.calibration_error(before, truths),
        seconds=answer.seconds,
        note=answer.note,
    )


def describe(drawn: Draw) -> dict[str, object]:
    """Return the labels of a task, and how many pictures of each kind a draw has."""
    return {
        "labels": list(drawn.task.labels), "training": len(drawn.training), "held_back": len(drawn.held_back),
        "flipped": len(drawn.flipped),
    }  # fmt: skip
