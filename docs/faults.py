"""`python docs/faults.py RESULT.json` puts a kept result of `inferq chaos` into faults.md."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

PAGE = ROOT / "docs" / "faults.md"
BEGIN, END = "<!-- the result begins -->\n", "<!-- the result ends -->\n"
NOISE = 0.25
"""Cores used by other processes from which the page says so."""
HEADS = ("fault", "times", "accepted", "right", "wrong", "lost", "doubled", "seconds, median", "slowest", "callers saw")


def section(result: Mapping[str, Any], name: str) -> str:
    """Return the part of the page about a result that is kept under this name."""
    rows = result["rows"]
    minutes = len(result["rates"]) / 60
    accepted, faults = sum(row["accepted"] for row in rows), sum(row["times"] for row in rows)
    lines = [
        f"## {minutes:.0f} minutes on {result['database']}",
        "",
        f"[{name}](../bench/results/{name}.json), seed {result['seed']}:",
        f"{faults} faults, {accepted:,} requests accepted.",
        *([noise(result)] if result["others"] > NOISE else []),
        "",
        f"![Right answers per second, with the faults](../bench/results/{name}.svg)",
        "",
        *table(("goal", "limit", "measured"), [goal(each) for each in result["goals"]]),
        "",
        "A request belongs to the fault around which it ended. The seconds are those from the end of a fault to the",
        "right answer of a request that began later, for each of the callers.",
        "",
        *table(HEADS, [cells(row) for row in rows]),
        "",
        *([f"Not injected: {', '.join(result['left_out'])}.", ""] if result["left_out"] else []),
    ]
    return "\n".join(lines)


def noise(result: Mapping[str, Any]) -> str:
    """Return what other processes used."""
    return f"Other processes used {result['others']:.1f} cores meanwhile, which delays recovery and changes the rate."


def goal(each: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a goal."""
    sign = "≤" if each["at_most"] else "≥"
    return (
        each["name"],
        f"{sign} {each['limit']:g} {each['unit']}".strip(),
        f"{each['value']:.3g} {each['unit']}".strip(),
    )


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a fault."""
    counts = [f"{row[name]:,}" for name in ("times", "accepted", "right", "wrong", "lost", "doubled")]
    seconds = ["" if row[name] is None else f"{row[name]:.1f}" for name in ("recovery_p50", "recovery_max")]
    saw = ", ".join(f"{name} × {count:,}" for name, count in sorted(row["errors"].items(), key=lambda each: -each[1]))
    return (row["fault"], *counts, *seconds, saw)


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]


if __name__ == "__main__":
    kept = Path(sys.argv[1])
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + section(json.loads(kept.read_text()), kept.stem) + END + rest.split(END)[1])
