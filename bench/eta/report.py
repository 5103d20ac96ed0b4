"""The report of the error of `eta`: tables in the terminal; a plot and JSON in `bench/results/`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.eta.result import LEAST, STAGES, Accuracy, Steady, Summary
from bench.report import add_to_section, describe_machine, goals_table, name_of, save, table

_HEAD = "## Errors of `eta`: `inferq bench --eta`"
_COLUMNS = ("model", "looks", "median error", "p90", "bias")


def show(result: Accuracy, console: Console) -> None:
    """Print all tables; in a pipe they are plain text."""
    console.print(describe_machine(result.machine, f"eta · {result.workers} workers"))
    for steady in result.steady:
        console.print(_errors(steady))
    console.print(goals_table(result.goals(), noisy=False))


def _errors(steady: Steady) -> Table:
    shown = table(
        f"{steady.model}: {steady.rate:.0f} pictures/s, {steady.jobs} jobs of {steady.pictures} pictures at once; "
        f"|eta - real| ÷ real, where at least {LEAST:g} s were left; {steady.untold} looks without eta",
        "way", "looks", "median", "p90", "bias",
    )  # fmt: skip
    for name, stages in (("all", STAGES), *((stage, (stage,)) for stage in STAGES)):
        if summary := Summary.of(steady.errors(stages)):
            shown.add_row(name, *_percents(summary))
    return shown


def _percents(summary: Summary) -> Sequence[str]:
    return str(summary.count), f"{summary.median:.0%}", f"{summary.p90:.0%}", f"{summary.bias:+.0%}"


def write(result: Accuracy, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision and machine; list them in the README; return the paths."""
    name = name_of(result.machine, "eta")
    written = save(result.as_json(), partial(plot, result), folder, name)
    found = [(steady.model, summary) for steady in result.steady if (summary := Summary.of(steady.errors()))]
    columns = zip(*((model, *_percents(summary)) for model, summary in found), strict=True)
    add_to_section(folder / "README.md", _HEAD, _COLUMNS, name, ["; ".join(column) for column in columns])
    return written


def plot(result: Accuracy, path: Path) -> None:
    """Draw what jobs were told over what it was, one picture for each model, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, every = plt.subplots(1, len(result.steady), figsize=(4.5 * len(result.steady), 4.5), dpi=100, squeeze=False)
    for axes, steady in zip(every[0], result.steady, strict=True):
        for stage in STAGES:
            told = [(look.real, look.told) for look in steady.looks if look.stage == stage and look.told is not None]
            axes.plot([real for real, _ in told], [value for _, value in told], ".", label=stage, markersize=4)
        most = max((look.real for look in steady.looks), default=1.0)
        axes.plot([0, most], [0, most], color="#444", linewidth=0.8)
        axes.fill_between([0, most], [0, 0.75 * most], [0, 1.25 * most], color="#444", alpha=0.12, linewidth=0)
        axes.set_xlabel("seconds that it still took")
        axes.set_ylabel("seconds by its eta")
        axes.set_title(steady.model, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False, fontsize=7)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
