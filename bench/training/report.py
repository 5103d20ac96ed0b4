"""The report of a comparison of trainings: tables in the terminal; a plot and JSON in `bench/results/`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report import describe_machine, goals_table, name_of, table
from bench.training import figures
from bench.training.figures import Mean
from bench.training.result import OURS, WANTED, Result


def show(result: Result, console: Console) -> None:
    """Print all tables; in a pipe they are plain text."""
    console.print(describe_machine(result.machine, f"quality of trainings over {result.seeds} seeds"))
    console.print(_runs(result))
    if result.found:
        console.print(_found(result))
    if result.rejections:
        console.print(_rejections(result))
    for what, why in result.left_out.items():
        console.print(Text(f"not measured: {what}, since {why}", style="yellow"))
    console.print(goals_table(result.goals(), noisy=False))


def _runs(result: Result) -> Table:
    shown = table(
        "Pictures held back: mean over the seeds ± 95 %",
        "task", "contestant", "accuracy", "inferq − this, points", "calibration error", "before temperature", "seconds",
    )  # fmt: skip
    shown.columns[0].justify = "left"
    for task in result.tasks:
        best = result.best_other(task)
        for contestant in result.contestants:
            accuracy, seconds = (result.mean(task, contestant, what) for what in ("accuracy", "seconds"))
            if accuracy is None or seconds is None:
                continue
            shown.add_row(
                task,
                Text(contestant, style="bold" if contestant in (OURS, best) else ""),
                str(accuracy),
                "" if contestant == OURS else points(result.ahead(task, contestant)),
                _text(result.mean(task, contestant, "calibration_error")),
                _text(result.mean(task, contestant, "uncalibrated_error")),
                f"{seconds.mean:.1f}",
            )
    return shown


def _found(result: Result) -> Table:
    shown = table("Wrong labels among the first suspects, as many as are wrong", "task", "contestant", "found")
    shown.columns[0].justify = "left"
    for task, contestant in dict.fromkeys((each.task, each.contestant) for each in result.found):
        shares = [each.share for each in result.found if (each.task, each.contestant) == (task, contestant)]
        shown.add_row(task, contestant, str(figures.mean(shares)))
    return shown


def _rejections(result: Result) -> Table:
    shown = table(
        f"Rejection, with a precision of {WANTED:g} wanted", "task", "precision", "coverage", "foreign rejected"
    )
    shown.columns[0].justify = "left"
    for task in dict.fromkeys(each.task for each in result.rejections):
        own = [each for each in result.rejections if each.task == task]
        precisions = [each.precision for each in own if each.precision is not None]
        shown.add_row(
            task,
            str(figures.mean(precisions)) if precisions else "",
            str(figures.mean([each.coverage for each in own])),
            str(figures.mean([each.foreign_rejected for each in own])),
        )
    return shown


def _text(mean: Mean | None) -> str:
    return "" if mean is None else str(mean)


def points(mean: Mean | None) -> str:
    """Return a difference in percentage points with its interval."""
    if mean is None:
        return ""
    return f"{mean.mean:+.1f}" if mean.high is None else f"{mean.mean:+.1f} ± {mean.high - mean.mean:.1f}"


def write(result: Result, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision and machine; list them in the README; return the paths."""
    name = name_of(result.machine, "trainings")
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / f"{name}.json", folder / f"{name}.png"
    data.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    plot(result, picture)
    _add_to_readme(result, folder / "README.md", name)
    return [data, picture]


_HEAD = "## Trainings: `python -m bench.training`"
_ABOUT = [
    "Accuracy on pictures that were held back, mean over the seeds: inferq's with its default parameters, then that of",
    "the best other contestant, and how many points inferq is ahead of it, with the interval of 95 %.",
]
_COLUMNS = "| run | seeds | inferq, best other, ahead | calibration error, before → after the temperature |"


def _add_to_readme(result: Result, readme: Path, name: str) -> None:
    """Add a row to the table of trainings, which has a section of its own at the end."""
    lines = readme.read_text().splitlines() if readme.exists() else ["# Results of `inferq bench`"]
    lines = [line for line in lines if f"[{name}]" not in line]
    if _HEAD not in lines:
        lines += ["", _HEAD, "", *_ABOUT, "", _COLUMNS, "|---|---|---|---|"]
    begin = lines.index(_COLUMNS)
    last = next(
        (number for number in range(begin, len(lines)) if not lines[number].startswith("|")), len(lines)
    )  # fmt: skip
    row = (
        f"| [{name}]({name}.json) ([plot]({name}.png)) | {result.seeds} | {_summary(result)} | {_calibration(result)} |"
    )
    readme.write_text("\n".join([*lines[:last], row, *lines[last:]]) + "\n")


def _summary(result: Result) -> str:
    cells = []
    for task in result.tasks:
        best = result.best_other(task)
        ours, theirs = result.mean(task, OURS, "accuracy"), result.mean(task, best, "accuracy")
        if ours and theirs:
            ahead = points(result.ahead(task, best))
            cells.append(f"{task} {ours.mean:.3f}, {best} {theirs.mean:.3f}, {ahead}")
    return "; ".join(cells)


def _calibration(result: Result) -> str:
    cells = []
    for task in result.tasks:
        before, after = (result.mean(task, OURS, what) for what in ("uncalibrated_error", "calibration_error"))
        if before and after:
            cells.append(f"{task} {before.mean:.3f} → {after.mean:.3f}")
    return "; ".join(cells)


def plot(result: Result, path: Path) -> None:
    """Draw accuracy and calibration error of every contestant, task by task, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, every = plt.subplots(2, 1, figsize=(8, 6.4), dpi=110)
    for axes, measure, title in (
        (every[0], "accuracy", "accuracy on pictures held back"),
        (every[1], "calibration_error", "calibration error"),
    ):
        _bars(result, axes, measure)
        axes.set_title(title, loc="left", fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
    lowest = min((row.accuracy for row in result.rows), default=0.0)
    every[0].set_ylim(max(0.0, lowest - 0.1), 1.0)
    every[0].legend(frameon=False, fontsize=8, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1.08))
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)


_COLOURS: Sequence[str] = ("#1f6feb", "#d29922", "#8c959f", "#2da44e")


def _bars(result: Result, axes: object, measure: str) -> None:
    """Draw a group of bars for each task, with the intervals as lines."""
    contestants, tasks = result.contestants, list(result.tasks)
    width = 0.8 / max(1, len(contestants))
    for place, contestant in enumerate(contestants):
        for number, task in enumerate(tasks):
            if not (found := result.mean(task, contestant, measure)):
                continue
            half = 0.0 if found.high is None else found.high - found.mean
            axes.bar(  # type: ignore[attr-defined]
                number + (place - (len(contestants) - 1) / 2) * width, found.mean, width * 0.92, yerr=half or None,
                color=_COLOURS[place % len(_COLOURS)], label=contestant if number == 0 else None,
                error_kw={"linewidth": 0.8},
            )  # fmt: skip
    axes.set_xticks(range(len(tasks)), tasks)  # type: ignore[attr-defined]
