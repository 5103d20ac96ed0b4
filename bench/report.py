"""The report of a result: tables in the terminal; a plot and JSON in `bench/results/`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from bench.result import FIRST, GOAL_WAYS, NOISE, Goal, Limit, Percentiles, Result

_PARTS = ("worker", "api", "valkey", "maintenance", "client")
_WORDS = ("way", "goal", "step", "contestant", "")
"""Columns of words."""
_STAGES = ("waiting", "features", "head", "fine_tuning", "testing")


def show(result: Result, console: Console) -> None:
    """Print all tables; in a pipe they are plain text."""
    head = describe_machine(result.machine, f"{result.model} · {result.workers} workers")
    parts: list[Text | Table] = [_sent_material(result), _idle(result)]
    if result.limit:
        parts.insert(1, _limit(result.limit))
    console.print(Panel(Group(*parts), title=Text(head), title_align="left", box=box.ROUNDED, padding=(1, 2)))
    console.print(_throughput(result))
    if result.teaching:
        console.print(_trainings(result))
    console.print(goals_table(result.goals(), noisy=result.noise > NOISE))
    if result.noise > NOISE:
        console.print(
            f"Other processes used up to {result.noise:.1f} cores meanwhile, which distorts shares and latencies. Run "
            "it again on a quiet machine; noise hardly affects `of CPU`.", style="yellow"
        )  # fmt: skip


def describe_machine(machine: Mapping[str, Any], measured: str) -> str:
    """Return in one line what was measured, and on what."""
    return (
        f"{measured} on {machine['cores']} cores · {machine['cpu']} · Python {machine['python']} · "
        f"torch {machine['torch']} · {machine['date']} · {machine['revision']}"
    )


def table(title: str, *columns: str) -> Table:
    """Return an empty table; columns of words are on the left, those of numbers on the right."""
    empty = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        empty.add_column(column, justify="left" if column in _WORDS else "right", no_wrap=True)
    return empty


def _sent_material(result: Result) -> Text:
    sent = result.material
    return Text(
        f"sent: {sent['pictures']} JPEGs of {sent['sizes']}, {sent['mean_bytes'] / 1000:.0f} kB on average; "
        f"archive of {sent['archive']}\n",
        style="dim",
    )


def _limit(limit: Limit) -> Table:
    shown = table(
        "In-process limit, pictures/s, decoding included", *(f"batch {size}" for size in limit.by_batch),
        "runs at the best", "mean", "CPU ms per picture",
    )  # fmt: skip
    best = limit.best_batch
    cells = [Text(f"{rate:.0f}", style="bold" if size == best else "") for size, rate in limit.by_batch.items()]
    runs = " ".join(f"{rate:.0f}" for rate in limit.runs)
    shown.add_row(*cells, Text(runs), Text(f"{limit.mean:.0f}", style="bold cyan"), f"{limit.cpu_ms:.2f}")
    return shown


def _idle(result: Result) -> Table:
    shown = table("One picture on an idle system, milliseconds", "way", "p50", "p95", "p99", "n", "p50 added")
    if result.limit:
        shown.add_row("in process", *_percentiles(result.limit.one_picture), str(result.limit.one_picture.count), "")
    for kind, label in (("warm", "HTTP, back to back"), ("bell", "HTTP, a notification for each")):
        if percentiles := result.idle.get(kind):
            added = result.added(kind)
            shown.add_row(
                label, *_percentiles(percentiles), str(percentiles.count), "" if added is None else f"{added:+.1f}"
            )
    return shown


def _throughput(result: Result) -> Table:
    parts = [part for part in _PARTS if any(part in row.cpu_ms for row in result.rows)]
    shown = table(
        "Saturated; the columns of parts are milliseconds of CPU per picture", "way", "at once", "per s", "share", "",
        "of CPU",
        "p50 ms", "p95", "p99", "batch", *parts, "others", "errors",
    )  # fmt: skip
    for row in result.rows:
        share = result.share(row)
        shown.add_row(
            row.way,
            str(row.concurrency),
            Text(f"{row.rate:.1f}", style="bold"),
            "" if share is None else f"{share:.2f}",
            _bar(share),
            "" if (used := result.cpu_share(row)) is None else f"{used:.2f}",
            *_percentiles(row.latency),
            "" if row.batch is None else f"{row.batch:.1f}",
            *(f"{row.cpu_ms[part]:.2f}" for part in parts),
            Text(f"{row.others:.2f}", style="yellow" if row.others > NOISE else "dim"),
            Text(str(row.errors), style="red" if row.errors else "dim"),
        )
    return shown


def _trainings(result: Result) -> Table:
    sent = result.material
    shown = table(
        f"Training on {sent['taught']} pictures of {sent['taught_labels']} labels, seconds",
        "step", "from request to end", *(stage.replace("_", "-") for stage in _STAGES), "rest", "trainer's CPU",
        "made", "accuracy", "others",
    )  # fmt: skip
    for step in result.teaching:
        stage_seconds = [step.stages.get(stage, 0.0) for stage in _STAGES]
        shown.add_row(
            step.what,
            Text(f"{step.seconds:.2f}", style="bold"),
            *(
                f"{seconds:.2f}" if step.stages else ""
                for seconds in (*stage_seconds, step.seconds - sum(stage_seconds))
            ),
            f"{step.cpu['trainer']:.2f}" if "trainer" in step.cpu else "",
            step.method,
            "" if step.accuracy is None else f"{step.accuracy:.2f}",
            Text(f"{step.others:.2f}", style="yellow" if step.others > NOISE else "dim"),
        )
    if result.beside is not None:
        shown.caption = f"While a training runs, single pictures reach {result.beside:.2f} of the rate before it."
        shown.caption_justify = "left"
    return shown


def _bar(share: float | None, width: int = 6) -> Text:
    if share is None:
        return Text("")
    filled = round(min(1.0, share) * width)
    return Text("━" * filled, style="green" if share >= 0.8 else "yellow") + Text("━" * (width - filled), style="dim")


def _percentiles(percentiles: Percentiles | None) -> Sequence[str]:
    return (
        ["", "", ""]
        if percentiles is None
        else [f"{value:.1f}" for value in (percentiles.p50, percentiles.p95, percentiles.p99)]
    )


def goals_table(goals: Sequence[Goal], *, noisy: bool) -> Table:
    """Return the table of goals with what was measured; on a noisy machine a goal of speed is not judged."""
    shown = table("Goals", "goal", "limit", "measured", "")
    for goal in goals:
        mark = Text("✓ reached", style="bold green") if goal.reached else Text("✗ missed", style="bold red")
        if noisy and goal.unit != "MB" and goal.limit:
            mark = Text("? too noisy", style="yellow")
        sign = "≤" if goal.at_most else "≥"
        shown.add_row(goal.name, f"{sign} {goal.limit:g} {goal.unit}", f"{goal.value:.3g} {goal.unit}", mark)
    return shown


def write(result: Result, folder: Path) -> list[Path]:
    """Write JSON and plot, named by day, revision, machine and model; list them in the README; return the paths."""
    name = name_of(result.machine, result.model)
    written = save(result.as_json(), partial(plot, result), folder, name)
    _add_to_readme(result, folder / "README.md", name)
    return written


def save(document: Mapping[str, Any], draw: Callable[[Path], None], folder: Path, name: str) -> list[Path]:
    """Write the document as JSON and what `draw` draws as PNG into the folder; return the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    data, picture = folder / f"{name}.json", folder / f"{name}.png"
    data.write_text(json.dumps(document, indent=1) + "\n")
    draw(picture)
    return [data, picture]


def name_of(machine: Mapping[str, Any], model: str) -> str:
    """Return the name of a result's files, without suffix."""
    return "-".join(
        filter(None, (machine["date"], machine["revision"], f"{machine['cores']}cores", machine["device"], model))
    )


def _add_to_readme(result: Result, readme: Path, name: str) -> None:
    columns = "| run | best pictures/s | of the limit | p50 added, ms | trained, s | noise |"
    head = ["# Results of `inferq bench`", "", columns, "|---|---|---|---|---|---|"]
    lines = readme.read_text().splitlines() if readme.exists() else head
    best = max((row for row in result.rows if row.way in GOAL_WAYS), key=lambda row: row.rate)
    share, added = result.share(best), result.added("warm")
    trained = next((f"{step.seconds:.0f}" for step in result.teaching if step.what == FIRST), "")
    line = (
        f"| [{name}]({name}.json) ([plot]({name}.png)) | {best.rate:.0f} ({best.way}) | "
        f"{'' if share is None else f'{share:.2f}'} | {'' if added is None else f'{added:.1f}'} | "
        f"{trained} | {result.noise:.1f} |"
    )
    others = [other for other in lines if f"[{name}]" not in other]
    last = max(number for number, other in enumerate(others[: first_table(others)]) if other.startswith("|"))
    readme.write_text("\n".join([*others[: last + 1], line, *others[last + 1 :]]) + "\n")


def add_to_section(readme: Path, head: str, columns: Sequence[str], name: str, cells: Sequence[str]) -> None:
    """Add the row of a result to the table of the section with that heading, in place of an earlier row of the same
    name; a section that the page lacks comes before the others."""
    lines = readme.read_text().splitlines() if readme.exists() else ["# Results of `inferq bench`"]
    lines = [line for line in lines if f"[{name}]" not in line]
    if head not in lines:
        first = first_table(lines)
        before = [] if first and not lines[first - 1] else [""]
        after = [""] if first < len(lines) else []
        lines[first:first] = [*before, head, "", _row("run", *columns), "|---" * (len(columns) + 1) + "|", *after]
    begin = lines.index(head) + 1
    end = begin + first_table(lines[begin:])
    last = max(number for number in range(begin, end) if lines[number].startswith("|"))
    row = _row(f"[{name}]({name}.json) ([plot]({name}.png))", *cells)
    readme.write_text("\n".join([*lines[: last + 1], row, *lines[last + 1 :]]) + "\n")


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def first_table(lines: Sequence[str]) -> int:
    """Return the number of lines before the next heading, below which is another table."""
    return next((number for number, line in enumerate(lines) if line.startswith("## ")), len(lines))


def plot(result: Result, path: Path) -> None:
    """Draw throughput over concurrency, with the in-process limit as a line, into a PNG."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    for way, colour in (("synchronous", "#1f6feb"), ("submit, poll", "#d29922")):
        rows = [row for row in result.rows if row.way == way]
        axes.plot([r.concurrency for r in rows], [r.rate for r in rows], "o-", color=colour, label=way)
    for row in (row for row in result.rows if row.way == "one archive"):
        axes.axhline(row.rate, color="#2da44e", linestyle=":", label=f"one archive of {result.material['archive']}")
    if result.limit:
        axes.axhline(result.limit.mean, color="#444", label="in-process limit")
        axes.axhspan(min(result.limit.runs), max(result.limit.runs), color="#444", alpha=0.12, linewidth=0)
        axes.axhline(0.8 * result.limit.mean, color="#444", linestyle="--", linewidth=0.8, label="0.8 of it")
    ticks = sorted({row.concurrency for row in result.rows})
    axes.set_xscale("log", base=2)
    axes.set_xticks(ticks, [str(tick) for tick in ticks])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("callers at once")
    axes.set_ylabel("pictures/s")
    axes.set_title(f"{result.model}, {result.workers} workers, {result.machine['cores']} cores", loc="left")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", alpha=0.25)
    axes.legend(frameon=False, loc="lower right")
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
