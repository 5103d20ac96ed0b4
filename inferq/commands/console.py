"""Output in the terminal: tables, bars, sparklines; a console for answers (stdout), and one for remarks (stderr)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.schemas.jobs import Job, JobSummary, Prediction

_PIPED = None if sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit() else 200
"""Width of tables in a pipe; None lets rich take the width of the terminal or of COLUMNS."""
out = Console(highlight=False, markup=False, width=_PIPED)
"""Answers, on stdout. No markup: file names and labels may hold brackets."""
remarks = Console(stderr=True, highlight=False, markup=False)
"""Remarks and progress, on stderr."""

_BAR = 20
_IDS = ("id", "job", "training")
"""Columns of ids, which users copy into the next command: they are never wrapped."""
_SPARKS = "▁▂▃▄▅▆▇█"
STATUS_STYLE = {
    "DONE": "green", "READY": "green", "ready": "green", "DELIVERED": "green",
    "FAILED": "red", "refused": "red",
    "RUNNING": "yellow", "WAITING": "yellow", "LOADING": "yellow", "checking": "yellow",
}  # fmt: skip


def table(*columns: str, title: str = "", numbers: Collection[str] = ()) -> Table:
    """Return an empty table in the style of all tables; the columns `numbers` are aligned to the right."""
    new = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in numbers else "left"
        new.add_column(column, overflow="fold", justify=justify, no_wrap=column in _IDS)
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


def count(number: int, thing: str) -> str:
    """Return a number with its noun: `1 label`, `5 labels`."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


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


def print_notes(notes: Iterable[tuple[str, str]]) -> None:
    """Print (subject, text) pairs that are too long for a table, one per line; long texts wrap in their column."""
    listed = Table.grid(padding=(0, 1))
    for about, text in notes:
        listed.add_row(Text(about, style="dim", no_wrap=True), Text(text))
    if listed.row_count:
        out.print(listed)


def print_job(job: Job) -> None:
    """Print a job and its labels."""
    head = Text.assemble(
        ("job ", "dim"), job.id, "  ", status(job.status), f"  {job.model.name} {job.model.version}".rstrip()
    )
    if ended(job) < job.progress.total:  # also true of a job that was cancelled or has expired
        head.append(f"  {ended(job)} of {job.progress.total}")
    out.print(head, soft_wrap=True)
    shown_below = [prediction.error.message for prediction in job.predictions if prediction.error]
    if job.error_description and job.error_description not in shown_below:
        out.print(Text(job.error_description, style="red"), soft_wrap=True)
    if job.predictions:
        print_rows(
            (row for prediction in job.predictions for row in _rows(prediction)), "file", "label", "score", "", empty=""
        )


def ended(job: JobSummary) -> int:
    """The pictures of a job that have ended, with an answer or an error."""
    return job.progress.done + job.progress.failed


def _rows(prediction: Prediction) -> list[tuple[Any, ...]]:
    """Return the rows of a picture; sentences are in the last column, since they would widen that of the labels."""
    if prediction.error:
        return [(prediction.name, "", "", Text(prediction.error.message, style="red"))]
    if found := prediction.similar:
        return [
            (hit.name, hit.label or hit.image_id, f"{hit.similarity:.4f}", bar(max(0.0, hit.similarity)))
            for hit in found.hits
        ]
    if not (prediction.results or prediction.feature_vectors or prediction.status):
        return [(prediction.name, Text("no label above its threshold", style="dim"), "", "")]
    names = [prediction.name, *[""] * len(prediction.results)]
    rows: list[tuple[Any, ...]] = [
        (name, result.label, f"{result.score:.4f}", bar(result.score))
        for name, result in zip(names, prediction.results, strict=False)
    ]
    if prediction.doubt:
        rows.append(("", "", "", Text(f"not believed: {prediction.doubt.message}", style="yellow")))
    return rows
