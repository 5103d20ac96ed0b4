"""`python -m bench.training.suggestions`: whether labels of suggested pictures are worth more than those of random
ones.

A draw of a task begins with a few labelled pictures. In each round the head that has learned from the labelled ones
answers the others, a rule chooses some of these, they get their true labels, and a new head is judged on pictures that
were held back. The features are those of the default model; nothing is fine-tuned.
"""

from __future__ import annotations

import importlib.metadata
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from bench.__main__ import RESULTS, machine, remarks, report_console, say
from bench.report import add_to_section, describe_machine, goals_table, name_of, save, table
from bench.result import Goal
from bench.training import figures
from bench.training.__main__ import choose_tasks
from bench.training.base import Base
from bench.training.figures import Mean
from bench.training.report import points
from bench.training.tasks import HELD_BACK, Task
from shared.domain.models import ModelVersion
from shared.domain.seen_pictures import LEAST_UNCERTAINTY, measure_uncertainty
from shared.similarity import choose_different, unit
from worker.training import calibration
from worker.training.cross_validation import folds
from worker.training.head import fit

FIRST, ROUNDS = 4, 3
"""Pictures of each label that are labelled from the start, and how often more are chosen: as many for each label."""
DRAWS = 3
"""Random choices for each seed, whose mean is compared: a single one would add its own chance to the difference."""
RANDOM, SUGGESTED = "random", "suggested"
_SEED = 21


@dataclass(frozen=True)
class Pool:
    """The pictures of a draw that are not held back, as a rule sees them when it chooses."""

    rows: np.ndarray
    """(N, D) features of length 1, of all pictures."""
    labelled: np.ndarray
    """Numbers of the pictures that have labels."""
    others: np.ndarray
    """Numbers (M,) of those that have none."""
    uncertainty: np.ndarray
    """(M,) of these, 0 to 1, by the head that has learned from the labelled ones."""


Rule = Callable[[Pool, int], Sequence[int]]
"""Pool and wanted count -> positions in `others`, in the order of choice; they may be fewer."""


def _suggested(pool: Pool, count: int) -> Sequence[int]:
    """The rule of the service: uncertain enough to be kept, then different from each other, see `choose_different`."""
    kept = np.flatnonzero(pool.uncertainty >= LEAST_UNCERTAINTY)
    return [
        int(kept[number])
        for number in choose_different(pool.uncertainty[kept].tolist(), pool.rows[pool.others[kept]], count)
    ]


def _uncertain(pool: Pool, count: int) -> Sequence[int]:
    """The most uncertain."""
    return np.argsort(-pool.uncertainty, kind="stable")[:count].tolist()


def _different(pool: Pool, count: int) -> Sequence[int]:
    """Different from each other, and nothing else."""
    return choose_different([1.0] * len(pool.others), pool.rows[pool.others], count)


def _away(pool: Pool, count: int) -> Sequence[int]:
    """As the rule of the service, but different from the labelled pictures as well."""
    products = pool.rows[pool.others] @ pool.rows[pool.labelled].T
    apart = np.sqrt(np.maximum(0.0, 2.0 - 2.0 * products.max(axis=1)))
    kept = np.flatnonzero(pool.uncertainty >= LEAST_UNCERTAINTY)
    worth = pool.uncertainty[kept] * apart[kept]
    return [int(kept[number]) for number in choose_different(worth.tolist(), pool.rows[pool.others[kept]], count)]


RULES: Mapping[str, Rule] = {
    SUGGESTED: _suggested, "most uncertain": _uncertain, "different": _different, "away from the labelled": _away,
}  # fmt: skip
"""The rules beside a random choice; the first is that of the service."""


@dataclass(frozen=True)
class Row:
    """The accuracy after some pictures have got labels."""

    task: str
    rule: str
    seed: int
    labelled: int
    """Pictures with labels, those of the start included."""
    accuracy: float
    """On the pictures that were held back; of the random rule the mean of its draws."""
    filled: int = 0
    """Of the chosen pictures, random ones, since the rule chose too few."""


@dataclass
class Result:
    """The whole result, as it is written to the JSON file."""

    machine: dict[str, Any]
    seeds: int
    tasks: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)

    def steps(self, task: str) -> list[int]:
        """Return how many pictures were labelled after each round, without the start, where all rules are the same."""
        return sorted({row.labelled for row in self.rows if row.task == task})[1:]

    def ahead(self, task: str, rule: str, labelled: int | None = None) -> Mean | None:
        """Return by how many percentage points the rule is more often right than a random choice, paired by seed: after
        so many labels, or in the mean over all rounds. None if that was not measured."""
        steps = self.steps(task) if labelled is None else [labelled]
        found: dict[tuple[str, int], dict[int, float]] = {}
        for row in self.rows:
            if row.task == task and row.labelled in steps:
                found.setdefault((row.rule, row.seed), {})[row.labelled] = row.accuracy
        differences = [
            float(np.mean([100 * (found[rule, seed][step] - found[RANDOM, seed][step]) for step in steps]))
            for seed in range(self.seeds)
            if steps and (rule, seed) in found and (RANDOM, seed) in found
        ]
        return figures.mean(differences) if differences else None

    def goals(self) -> list[Goal]:
        """Return for each task whether the suggested pictures are worth more than random ones, beyond chance."""
        return [
            Goal(f"{task}: lower bound of what suggested pictures add", 0.0, found.low, at_most=False, unit="points")
            for task in self.tasks
            if (found := self.ahead(task, SUGGESTED)) and found.low is not None
        ]

    def as_json(self) -> dict[str, Any]:
        """Return the result for JSON, with differences and goals, which are computed from the rows."""
        ahead = [
            {"task": task, "rule": rule, "labelled": labelled, "points": asdict(found)}
            for task in self.tasks for rule in RULES for labelled in (*self.steps(task), None)
            if (found := self.ahead(task, rule, labelled))
        ]  # fmt: skip
        goals = [asdict(goal) | {"reached": goal.reached} for goal in self.goals()]
        return asdict(self) | {"ahead": ahead, "goals": goals}


def measure(
    result: Result, task: Task, features: np.ndarray, version: ModelVersion, say: Callable[[str], None]
) -> None:
    """Add the rows of a task, whose pictures have these features (N, D), by the rules of `RULES` and at random."""
    labels = np.array([picture.label for picture in task.pictures])
    rows = unit(features.astype(np.float32))
    result.tasks[task.name] = {"labels": list(task.labels), "pictures": len(labels)}
    for seed in range(result.seeds):
        random = np.random.default_rng([_SEED, seed])
        start, rest, held = _divide(labels, random)
        draws = [np.random.default_rng([_SEED, seed, number]) for number in range(DRAWS)]
        learn = partial(_grow, features, rows, labels, (start, rest, held), version)
        at_random = [learn(None, draw) for draw in draws]
        for step, several in enumerate(zip(*at_random, strict=True)):
            mean = float(np.mean([accuracy for _, accuracy, _ in several]))
            result.rows.append(Row(task.name, RANDOM, seed, several[0][0], mean))
            if step == ROUNDS:
                say(f"{task.name}, seed {seed}: {mean:.3f} of {len(held)} right after {several[0][0]} random labels")
        for name, rule in RULES.items():
            grown = learn(rule, draws[0])
            result.rows += [Row(task.name, name, seed, *about) for about in grown]


def _divide(labels: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the numbers of the pictures that are labelled from the start, of those that may be chosen, and of those
    that are held back: a third of each label, HELD_BACK at most."""
    start, rest, held = [], [], []
    for label in range(labels.max() + 1):
        own = random.permutation(np.flatnonzero(labels == label))
        kept = min(HELD_BACK, len(own) // 3)
        held.append(own[:kept])
        start.append(own[kept : kept + FIRST])
        rest.append(own[kept + FIRST :])
    return np.concatenate(start), np.concatenate(rest), np.concatenate(held)


def _grow(
    features: np.ndarray, rows: np.ndarray, labels: np.ndarray, parts: tuple[np.ndarray, np.ndarray, np.ndarray],
    version: ModelVersion, rule: Rule | None, random: np.random.Generator,
) -> list[tuple[int, float, int]]:  # fmt: skip
    """Return (labelled pictures, accuracy, random pictures among those that the rule was to choose) from the start on,
    and after each round; without a rule all are chosen at random."""
    labelled, others, held = parts
    each, classes = len(labelled), int(labels.max()) + 1
    found = []
    filled = 0
    for step in range(ROUNDS + 1):
        known = torch.from_numpy(features[labelled]), torch.from_numpy(labels[labelled])
        weight, bias = fit(*known, classes, biased=True)
        logits = torch.from_numpy(features) @ weight.T + bias
        right = logits[held].argmax(dim=1).numpy() == labels[held]
        found.append((len(labelled), float(right.mean()), filled))
        if step == ROUNDS:
            break
        count = min(each, len(others))
        chosen: Sequence[int] = []
        if rule is not None:
            scaled = logits[others] / _temperature(*known, classes)
            uncertainty = np.array([measure_uncertainty(version, row) for row in scaled.tolist()])
            chosen = rule(Pool(rows, labelled, others, uncertainty), count)
        left = np.setdiff1d(np.arange(len(others)), np.array(chosen, dtype=np.int64))
        filled = count - len(chosen) if rule is not None else 0
        picked = np.concatenate([np.array(chosen, dtype=np.int64), random.permutation(left)[: count - len(chosen)]])
        labelled, others = np.concatenate([labelled, others[picked]]), np.delete(others, picked)
    return found


def _temperature(features: torch.Tensor, labels: torch.Tensor, classes: int) -> float:
    """Return the temperature by the answers of folds, as of a training."""
    fold = folds(labels)
    logits = torch.zeros(len(labels), classes)
    for number in fold.unique().tolist():
        weight, bias = fit(features[fold != number], labels[fold != number], classes, biased=True)
        logits[fold == number] = features[fold == number] @ weight.T + bias
    return calibration.temperature(logits, labels)


def plot(result: Result, path: Path) -> None:
    """Draw accuracy over labelled pictures of each task, for each rule, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, every = plt.subplots(1, len(result.tasks), figsize=(4 * len(result.tasks), 3.6), dpi=110, squeeze=False)
    for axes, task in zip(every[0], result.tasks, strict=True):
        for rule in (RANDOM, *RULES):
            own = [row for row in result.rows if (row.task, row.rule) == (task, rule)]
            steps = sorted({row.labelled for row in own})
            means = [figures.mean([row.accuracy for row in own if row.labelled == step]).mean for step in steps]
            axes.plot(steps, means, "o--" if rule == RANDOM else "o-", label=rule, markersize=3)
        axes.set_title(task, loc="left", fontsize=10)
        axes.set_xlabel("labelled pictures")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    every[0][0].set_ylabel("right of the pictures held back")
    every[0][0].legend(frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


def _shown(result: Result, console: Any) -> None:
    console.print(describe_machine(result.machine, f"worth of suggestions over {result.seeds} seeds"))
    for task in result.tasks:
        steps = result.steps(task)
        shown = table(
            f"{task}: right more often than after random labels, percentage points ± 95 %",
            "rule", *(f"{step} labels" for step in steps), "mean of the rounds",
        )  # fmt: skip
        for rule in RULES:
            shown.add_row(rule, *(points(result.ahead(task, rule, step)) for step in (*steps, None)))
        console.print(shown)
    console.print(goals_table(result.goals(), noisy=False))


def write(result: Result, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision and machine; list them in the README; return the paths."""
    name = name_of(result.machine, "suggestions")
    written = save(result.as_json(), partial(plot, result), folder, name)
    ahead = [f"{task} {points(result.ahead(task, SUGGESTED))}" for task in result.tasks]
    head = "## Worth of suggestions: `python -m bench.training.suggestions`"
    columns = ("seeds", "suggested − random, points in the mean of the rounds")
    add_to_section(folder / "README.md", head, columns, name, (str(result.seeds), "; ".join(ahead)))
    return written


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--data", multiple=True, type=click.Path(exists=True, file_okay=False, path_type=Path), help="A folder "
              "with a folder of pictures for each label, as one more task; may be repeated.")  # fmt: skip
@click.option(
    "--seeds", type=click.IntRange(2, 100), default=20, show_default=True, help="How often each task is drawn."
)
@click.option("--task", multiple=True, metavar="NAME", help="Only this task; may be repeated.")
@click.option("--save/--no-save", "keep", default=False, help="Keep the result in bench/results.")
def main(data: tuple[Path, ...], seeds: int, task: tuple[str, ...], *, keep: bool) -> None:
    """Label the pictures that inferq suggests, and as many random ones, and compare what is learned from both."""
    versions = {name: importlib.metadata.version(name) for name in ("torch", "numpy")}
    result = Result(machine(versions | {"device": "cpu"}), seeds)
    with tempfile.TemporaryDirectory(prefix="inferq-bench-") as scratch:
        base = Base(Path(scratch) / "base")
        try:
            for each in choose_tasks(data, task):
                say(f"{each.name}: features of {len(each.pictures)} pictures")
                measure(result, each, base.features([picture.data for picture in each.pictures]), base.version, say)
        finally:
            base.close()
    _shown(result, report_console())
    for path in write(result, RESULTS) if keep else []:
        remarks.print(f"written: bench/results/{path.name}")


if __name__ == "__main__":
    main(prog_name="python -m bench.training.suggestions")
