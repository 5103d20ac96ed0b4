"""Output in the terminal: tables, bars, sparklines; a console for answers (stdout), and one for remarks (stderr)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, TextIO

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.schemas.jobs import JobSummary


def _width(stream: TextIO) -> int | None:
    """Return the width of tables in a pipe; None lets rich take the width of the terminal or of COLUMNS."""
    return None if stream.isatty() or os.environ.get("COLUMNS", "").isdigit() else 200


out = Console(highlight=False, markup=False, width=_width(sys.stdout))
"""Answers, on stdout. No markup: file names and labels may hold brackets."""
remarks = Console(stderr=True, highlight=False, markup=False, width=_width(sys.stderr))
"""Remarks and progress, on stderr."""

_BAR = 20
_WHOLE = ("id", "job", "training", "status", "state", "created", "since")
"""Columns that are never wrapped: ids, which users copy into the next command, and short words."""
_CUT = ("file", "model", "url")
"""Columns that are cut where a terminal is too narrow; folded over several lines, they could not be read. The whole is
in the output of --json, and in a pipe."""
_SPARKS = "▁▂▃▄▅▆▇█"
STATUS_STYLE = {
    "DONE": "green", "READY": "green", "ready": "green", "DELIVERED": "green",
    "FAILED": "red", "refused": "red",
    "RUNNING": "yellow", "WAITING": "yellow", "LOADING": "yellow", "checking": "yellow",
}  # fmt: skip


def table(*columns: str, title: str = "", numbers: Collection[str] = ()) -> Table:
    """Return an empty table in the style of all tables; the columns `numbers` are aligned to the right."""
    new = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0))
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        is_cut = column in _CUT and out.is_terminal
        new.add_column(
            column, overflow="ellipsis" if is_cut else "fold", justify=justify, no_wrap=is_cut or column in _WHOLE
        )
    return new


def status(state: str) -> Text:
    """Return a status or state in its colour."""
    return Text(state, style=STATUS_STYLE.get(state, ""))


def bar(score: float, width: int = _BAR) -> Text:
    """Return a score from 0 to 1 as a bar; an empty text for other values, which `function_to_apply=none` gives."""
    if not 0 <= score <= 1:
        return Text("")
    filled = round(score * width)
    # Two characters, not two colours of one: a pipe and NO_COLOR show it as well.
    return Text("━" * filled, style="green") + Text("·" * (width - filled), style="bright_black")


def percent(share: float | None) -> str:
    """Return a share from 0 to 1 as `93.3 %`; None is a dash."""
    return "–" if share is None else f"{share * 100:.1f} %"


def shortened(name: str, on: Console, width: int) -> str:
    """Return the end of a name that has more than `width` characters, on a terminal; elsewhere the whole name."""
    return f"…{name[len(name) - width + 1 :]}" if on.is_terminal and len(name) > width else name


def number(count: int) -> Text:
    """Return a number for a column of numbers: `1,234`, aligned to the right."""
    return Text(f"{count:,}", justify="right")


def count(number: int, thing: str) -> str:
    """Return a number with its noun: `1 label`, `5 labels`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def spark(values: Sequence[float], width: int = _BAR) -> str:
    """Return numbers as a line of small columns, scaled to their range; of more than `width` an even selection."""
    if len(values) > width:
        values = [values[round(place * (len(values) - 1) / (width - 1))] for place in range(width)]
    low, high = min(values, default=0.0), max(values, default=0.0)
    scale = (len(_SPARKS) - 1) / (high - low) if high > low else 0.0
    return "".join(_SPARKS[round((value - low) * scale)] for value in values)


def local_time(when: str) -> str:
    """Return a time in RFC 3339 in the local time zone, as `2026-01-02 03:04:05`."""
    return datetime.fromisoformat(when).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def short_time(when: str) -> str:
    """Return the local time of day of a time of today, else its day; for a narrow column."""
    day, _, clock = local_time(when).partition(" ")
    return clock if day == datetime.now().astimezone().strftime("%Y-%m-%d") else day


def print_json(data: object) -> None:
    """Print answers, or a list of them, as JSON on stdout, never wrapped."""
    out.print(json.dumps(msgspec.to_builtins(data), indent=2, ensure_ascii=False), soft_wrap=True)


def print_rows(rows: Iterable[Iterable[Any]], *columns: str, empty: str) -> None:
    """Print a table, or the remark `empty` if there are no rows."""
    filled = table(*columns)
    for row in rows:
        filled.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    if filled.row_count:
        out.print(filled)
    else:
        remarks.print(empty)


def print_notes(notes: Iterable[tuple[str, str]], *, on: Console = out) -> None:
    """Print (subject, text) pairs that are too long for a table, one per line; long texts wrap in their column."""
    listed = Table.grid(padding=(0, 1))
    for about, text in notes:
        listed.add_row(Text(about, style="dim", no_wrap=True), Text(text))
    if listed.row_count:
        on.print(listed)


def ended(job: JobSummary) -> int:
    """The pictures of a job that have ended, with an answer or an error."""
    return job.progress.done + job.progress.failed
