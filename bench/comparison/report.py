"""The report of a comparison: tables in the terminal; a plot and JSON in `bench/results/`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich import box
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.comparison.result import (
    ARCHIVE,
    HARDLY,
    INFERQ,
    PHOTOS,
    PICTURES,
    Comparison,
    Overload,
    Point,
    Waiting,
)
from bench.report import add_to_section, describe_machine, goals_table, name_of, save, table
from bench.result import NOISE

_PLOTTED = (PICTURES, PHOTOS, HARDLY)


def show(result: Comparison, console: Console) -> None:
    """Print all tables; in a pipe they are plain text."""
    versions = ", ".join(f"{name} {version}" for name, version in result.versions.items())
    console.print(
        Panel(Text(versions, style="dim"), title=Text(describe_machine(result.machine, result.model)),
              title_align="left", box=box.ROUNDED, padding=(1, 2))
    )  # fmt: skip
    for section in (PICTURES, PHOTOS, HARDLY, ARCHIVE):
        if points := result.best(section):
            console.print(_points(section, points))
    if result.devices:
        console.print(_devices(result))
    if result.overload:
        console.print(_overload(result.overload))
    if result.waiting:
        console.print(_waiting(result.waiting))
    for once in result.once:
        console.print(
            f"{once.contestant}: {once.answered:,} jobs answered, {once.listed:,} listed with those of the warm-up; "
            f"{once.missing} missing, {once.repeated} repeated, {once.unfinished} not answered exactly once."
        )
    for contestant, reason in result.left_out.items():
        console.print(Text(f"left out: {contestant}: {reason}", style="yellow"))
    console.print(goals_table(result.goals(), noisy=result.noise > NOISE))


def _points(section: str, points: list[Point]) -> Table:
    own_rates = {callers: _own_rate(points, callers) for callers in {point.callers for point in points}}
    shown = table(
        f"{section}, the best of workers × threads, medians of {len(points[0].samples)} rounds",
        "contestant", "setting", "at once", "per s", "slowest–fastest", "inferq ÷ this", "p50 ms", "p99",
        "CPU ms", "client", "MB", "others", "errors",
    )  # fmt: skip
    for point in points:
        own = own_rates[point.callers]
        low, high = point.spread
        others = max(sample.others for sample in point.samples)
        shown.add_row(
            point.contestant,
            point.setting,
            str(point.callers),
            Text(f"{point.rate:.1f}", style="bold"),
            f"{low:.1f}–{high:.1f}",
            f"{own / point.rate:.2f}" if own and point.rate and point.contestant != INFERQ else "",
            *(f"{value:.1f}" if (value := point.latency(which)) is not None else "" for which in ("p50", "p99")),
            f"{point.cpu():.2f}",
            f"{point.cpu('client'):.2f}",
            f"{point.memory / 1e6:.0f}",
            Text(f"{others:.2f}", style="yellow" if others > NOISE else "dim"),
            Text(str(point.errors), style="red" if point.errors else "dim"),
        )
    return shown


def _own_rate(points: list[Point], callers: int) -> float | None:
    """Return the rate of inferq at this number of callers, if it took part."""
    return next((point.rate for point in points if point.contestant == INFERQ and point.callers == callers), None)


def _devices(result: Comparison) -> Table:
    one = next((point.rate for point in result.devices if point.setting == "1"), None)
    shown = table(
        f"simulated devices of {result.device_rate:g} pictures/s each", "devices", "at once", "per s",
        "slowest–fastest", "÷ 1 device", "p50 ms", "CPU ms",
    )  # fmt: skip
    for point in sorted(result.devices, key=lambda point: int(point.setting)):
        low, high = point.spread
        ratio = f"{point.rate / one:.2f}" if one else ""
        p50 = point.latency("p50")
        shown.add_row(
            point.setting, str(point.callers), Text(f"{point.rate:.1f}", style="bold"), f"{low:.1f}–{high:.1f}", ratio,
            "" if p50 is None else f"{p50:.1f}", f"{point.cpu():.2f}",
        )  # fmt: skip
    return shown


def _overload(load: Overload) -> Table:
    shown = table(
        f"{load.factor:g}× the peak rate arrives; good is an answer within {load.budget_ms:.0f} ms, twice the p99 at "
        "the peak", "peak per s", "offered", "answered", "good", "good ÷ peak", "p99 ms of answered", "status: answers",
        "refused with Retry-After", "unanswered at the end",
    )  # fmt: skip
    shown.add_row(
        *(f"{rate:.1f}" for rate in (load.peak, load.offered, load.answered, load.good)),
        Text(f"{load.share:.2f}", style="bold"),
        "" if load.p99_ms is None else f"{load.p99_ms:.0f}",
        ", ".join(f"{status}: {count}" for status, count in load.statuses.items()),
        "" if load.guided is None else f"{load.guided:.2f}",
        str(load.waiting),
    )
    return shown


def _waiting(load: Waiting) -> Table:
    shown = table("clients that all wait at once", "clients", "all answered, s", "errors", "API MB", "before, MB")
    shown.add_row(
        f"{load.clients:,}", f"{load.seconds:.1f}", Text(str(load.errors), style="red" if load.errors else ""),
        f"{load.api_bytes / 1e6:.0f}", f"{load.idle_bytes / 1e6:.0f}",
    )  # fmt: skip
    if load.first_error:
        shown.caption = load.first_error
    return shown


def write(result: Comparison, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision, machine and model; list them in the README; return the paths."""
    name = f"{name_of(result.machine, result.model)}-peers"
    written = save(result.as_json(), partial(plot, result), folder, name)
    add_to_section(folder / "README.md", _HEAD, _COLUMNS, name, _cells(result))
    return written


_HEAD = "## Comparisons: `inferq bench --peers`"
_COLUMNS = ("goals reached", "missed", "noise")


def _cells(result: Comparison) -> Sequence[str]:
    goals = result.goals()
    missed = "; ".join(f"{goal.name} {goal.value:.3g}" for goal in goals if not goal.reached)
    reached = sum(goal.reached for goal in goals)
    return f"{reached} of {len(goals)}", missed, f"{result.noise:.1f}"


def plot(result: Comparison, path: Path) -> None:
    """Draw the rate over the number of callers for each section that was measured, with the spread, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sections = [section for section in _PLOTTED if result.best(section)] or [PICTURES]
    figure, every = plt.subplots(1, len(sections), figsize=(5.5 * len(sections), 4.5), dpi=120, squeeze=False)
    for axes, section in zip(every[0], sections, strict=True):
        points = result.best(section)
        for contestant in dict.fromkeys(point.contestant for point in points):
            line = sorted((p for p in points if p.contestant == contestant), key=lambda point: point.callers)
            errors = [[p.rate - p.spread[0] for p in line], [p.spread[1] - p.rate for p in line]]
            width = 2.4 if contestant.startswith(INFERQ) else 1.2
            axes.errorbar(
                [p.callers for p in line], [p.rate for p in line], errors, fmt="o-", label=contestant, linewidth=width,
                markersize=3, capsize=2,
            )  # fmt: skip
        ticks = sorted({point.callers for point in points})
        axes.set_xscale("log", base=2)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_ylim(bottom=0)
        axes.set_xlabel("callers at once")
        axes.set_ylabel("pictures/s")
        axes.set_title(section, loc="left")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", alpha=0.25)
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
