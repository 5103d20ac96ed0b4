"""The report of a soak: tables in the terminal; a plot and JSON in `bench/results/`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench.report import add_to_section, describe_machine, name_of, save, table
from bench.soak.result import BYTES, Series, Soak

_MB = 1_000_000


def show(result: Soak, console: Console) -> None:
    """Print all tables; in a pipe they are plain text."""
    console.print(describe_machine(result.machine, f"soak of {result.minutes:g} minutes · {result.workers} workers"))
    console.print(_sent(result))
    console.print(_slopes(result))
    for ended in result.restarts:
        console.print(ended, style="red")


def _sent(result: Soak) -> Table:
    shown = table(
        f"Sent: {result.rate:.1f} requests/s, of {result.capacity:.1f} that the service bears",
        "way", "sent", "unexpected", "the first of them",
    )  # fmt: skip
    for name, kind in result.kinds.items():
        style = "red" if kind.unexpected else "dim"
        shown.add_row(name, str(kind.sent), Text(str(kind.unexpected), style=style), kind.first[:80])
    shown.add_row("webhooks received", str(result.callbacks), "", "")
    return shown


def _slopes(result: Soak) -> Table:
    shown = table("Slopes per hour, after the first tenth", "step", "measure", "first", "last", "most", "per hour", "")
    for series in result.series:
        _, values = series.settled(result.duration)
        if not values:
            continue
        verdict = Text("grows", style="bold red") if series.grows(result.duration) else Text("flat", style="green")
        shown.add_row(
            series.what, series.measure, *(_amount(series, value) for value in (values[0], values[-1], max(values))),
            _amount(series, series.slope(result.duration), "+"), verdict,
        )  # fmt: skip
    return shown


def _amount(series: Series, value: float | None, sign: str = "") -> str:
    if value is None:
        return ""
    return f"{value / _MB:{sign}.1f} MB" if series.unit == BYTES else f"{value:{sign}.0f}"


def write(result: Soak, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision and machine; list them in the README; return the paths."""
    name = name_of(result.machine, f"soak-{result.minutes:g}min")
    written = save(result.as_json(), partial(plot, result), folder, name)
    add_to_section(folder / "README.md", _HEAD, _COLUMNS, name, _cells(result))
    return written


_HEAD = "## Soaks: `inferq bench --soak MINUTES`"
_COLUMNS = ("minutes", "requests/s", "unexpected", "grows")


def _cells(result: Soak) -> Sequence[str]:
    unexpected = sum(kind.unexpected for kind in result.kinds.values())
    grows = "; ".join(f"{series.what} {series.measure} {_amount(series, series.slope(result.duration), '+')}/h"
                      for series in result.growing) or "nothing"  # fmt: skip
    return f"{result.minutes:g}", f"{result.rate:.0f}", f"{unexpected}", grows


def plot(result: Soak, path: Path) -> None:
    """Draw each measure over the minutes, one line for each process, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    measures = list(dict.fromkeys(series.measure for series in result.series))
    figure, every = plt.subplots(len(measures), 1, figsize=(8, 2.4 * len(measures)), dpi=100, squeeze=False)
    for axes, measured in zip(every[:, 0], measures, strict=True):
        for series in (series for series in result.series if series.measure == measured):
            scale = _MB if series.unit == BYTES else 1
            minutes = [second / 60 for second in series.seconds]
            axes.plot(minutes, [value / scale for value in series.values], label=series.what, linewidth=1)
        unit = ", MB" if any(s.unit == BYTES for s in result.series if s.measure == measured) else ""
        axes.set_title(f"{measured}{unit}", loc="left", fontsize=9)
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False, fontsize=6, ncols=3)
    every[-1, 0].set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
