"""The report of a run: tables in the terminal, JSON, and one page with goodput over time and the faults in it."""

from __future__ import annotations

import html
import io
import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from bench.chaos.result import Result, Row
from bench.report import goals_table, table
from bench.result import NOISE

_COLUMNS = ("fault", "times", "accepted", "right", "wrong", "lost", "doubled", "p50 s", "max s", "callers saw")
NOISY = "Other processes used {others:.1f} cores meanwhile, which delays recovery and changes the rate."
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1f2328 }
table { border-collapse: collapse; margin: 1rem 0 } td, th { padding: .2rem .7rem; border-bottom: 1px solid #d0d7de }
th { text-align: left } .number { text-align: right; font-variant-numeric: tabular-nums } .bad { color: #cf222e }
svg { width: 100%; height: auto }
"""


def show(result: Result, console: Console) -> None:
    """Print the tables, and what was lost, wrong or doubled in words."""
    console.print(headline(result))
    shown = table("Requests by the fault around which they ended", *_COLUMNS)
    shown.columns[0].justify = shown.columns[-1].justify = "left"
    shown.columns[-1].no_wrap = False
    for row in result.rows:
        shown.add_row(*(Text(cell, style="bold red" if _is_bad(row, number) else "")
                        for number, cell in enumerate(cells(row))))  # fmt: skip
    console.print(shown)
    for line in left_out(result):
        console.print(Text(line, style="yellow"))
    for finding in result.findings:
        console.print(Text(finding, style="red"))
    noisy = result.others > NOISE
    console.print(goals_table(result.goals(), noisy=noisy))
    if noisy:
        console.print(NOISY.format(others=result.others), style="yellow")


def headline(result: Result) -> str:
    """Return in one line what ran."""
    return (
        f"Chaos on {result.database}, seed {result.seed}: {result.total('accepted')} requests accepted in "
        f"{len(result.rates)} s, {result.before:.1f} right answers/s before, {result.after:.1f} afterwards, "
        f"{result.repeated} callbacks repeated"
    )


def left_out(result: Result) -> list[str]:
    """Return a line for each reason for which faults were not injected."""
    by_reason: dict[str, list[str]] = {}
    for name, why in result.left_out.items():
        by_reason.setdefault(why, []).append(name)
    return [f"not injected here, since {why}: {', '.join(names)}" for why, names in by_reason.items()]


def cells(row: Row) -> list[str]:
    """Return a row as texts."""
    counts = [str(getattr(row, name)) for name in ("times", "accepted", "right", "wrong", "lost", "doubled")]
    p50 = "" if row.recovery_p50 is None else f"{row.recovery_p50:.1f}"
    slowest = "" if row.recovery_max is None else f"{row.recovery_max:.1f}"
    never = f"; {row.unrecovered} callers did not recover" if row.unrecovered else ""
    errors = ", ".join(f"{name} × {count}" for name, count in sorted(row.errors.items(), key=lambda each: -each[1]))
    return [row.fault, *counts, p50, slowest, errors + never]


def _is_bad(row: Row, number: int) -> bool:
    name = _COLUMNS[number]
    return name in ("wrong", "lost", "doubled") and getattr(row, name) > 0


def write(result: Result, folder: Path) -> list[Path]:
    """Write JSON and page, named by day, database and seed; returns their paths. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"chaos-{result.machine['date']}-{result.database.lower()}-seed{result.seed}"
    data, shown = folder / f"{name}.json", folder / f"{name}.html"
    data.write_text(json.dumps(result.as_json(), indent=1) + "\n")
    shown.write_text(page(result))
    return [data, shown]


def page(result: Result) -> str:
    """Return the page: it needs no other file."""
    machine = " · ".join(str(value) for value in result.machine.values() if value)
    goals = [
        [goal.name, f"{'≤' if goal.at_most else '≥'} {goal.limit:g} {goal.unit}", f"{goal.value:.3g} {goal.unit}",
         "reached" if goal.reached else "missed"]
        for goal in result.goals()
    ]  # fmt: skip
    noise = [NOISY.format(others=result.others)] if result.others > NOISE else []
    lines = [*result.findings, *noise, *left_out(result)]
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>inferq chaos</title><style>{_STYLE}</style>'
        f"<h1>inferq chaos</h1><p>{html.escape(headline(result))}<p>{html.escape(machine)}"
        f"{_plot(result)}{_table(('target', 'limit', 'measured', ''), goals)}"
        f"{_table(_COLUMNS, [cells(row) for row in result.rows])}"
        f"<ul>{''.join(f'<li>{html.escape(line)}' for line in lines)}</ul></html>\n"
    )


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    def cell(text: str) -> str:
        kind = "number" if text.replace(".", "").isdigit() else "bad" if text == "missed" else ""
        return f'<td class="{kind}">{html.escape(text)}</td>'

    body = "".join(f"<tr>{''.join(map(cell, line))}</tr>" for line in lines)
    return f"<table><tr>{''.join(f'<th>{html.escape(name)}</th>' for name in head)}</tr>{body}</table>"


def _plot(result: Result) -> str:
    """Return goodput over time as SVG; the time of each fault is shaded, and its name stands above."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(max(10.0, len(result.rates) / 18), 4.5))
    axes.plot([second + 0.5 for second in range(len(result.rates))], result.rates, color="#1f6feb", linewidth=1)
    axes.axhline(result.before, color="#444", linestyle="--", linewidth=0.8)
    top = max([*result.rates, 1.0]) * 1.1
    for window in result.windows:
        axes.axvspan(window.began, max(window.ended, window.began + 0.3), color="#cf222e", alpha=0.18, linewidth=0)
        axes.text(window.began, top, window.fault, rotation=60, fontsize=7, va="bottom", clip_on=False)
    axes.set_ylim(0, top)
    axes.set_xlim(0, max(len(result.rates), 1))
    axes.set_xlabel("seconds")
    axes.set_ylabel("right answers/s")
    axes.spines[["top", "right"]].set_visible(False)
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", bbox_inches="tight")
    plt.close(figure)
    return drawn.getvalue()[drawn.getvalue().index("<svg") :]
