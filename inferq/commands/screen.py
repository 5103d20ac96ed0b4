"""How things look in the terminal: tables, score bars, one console for answers and one for remarks."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from inferq.answers import Job, Prediction

out = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 200)
"""Answers: what a pipe should get. No markup: file names and labels may hold brackets."""
remarks = Console(stderr=True, highlight=False, markup=False)
"""Everything that is not the answer."""

_BAR = 20
STATUS_STYLE = {"DONE": "green", "ready": "green", "FAILED": "red", "refused": "red", "RUNNING": "yellow"}


def table(*columns: str, title: str = "") -> Table:
    """An empty table in the style of all tables here."""
    made = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def status(word: str) -> Text:
    """A status or state in its colour."""
    return Text(word, style=STATUS_STYLE.get(word, ""))


def bar(score: float) -> Text:
    """A score between 0 and 1 as a bar; values outside, from `function_to_apply=none`, have none."""
    if not 0 <= score <= 1:
        return Text("")
    filled = round(score * _BAR)
    return Text("━" * filled, style="green") + Text("━" * (_BAR - filled), style="bright_black")


def print_json(data: object) -> None:
    """JSON for programs: plain in a pipe, and never wrapped."""
    out.print(json.dumps(data, indent=2, ensure_ascii=False), soft_wrap=True)


def print_rows(rows: Iterable[Iterable[Any]], *columns: str, empty: str) -> None:
    """A table, or one remark where there is nothing."""
    filled = table(*columns)
    for row in rows:
        filled.add_row(*(cell if isinstance(cell, Text) else Text(str(cell)) for cell in row))
    if filled.row_count:
        out.print(filled)
    else:
        remarks.print(empty)


def print_job(job: Job) -> None:
    """A job and its labels."""
    head = Text.assemble(("job ", "dim"), job.id, "  ", status(job.status), f"  {job.model} {job.version}".rstrip())
    if not job.terminal:
        head.append(f"  {job.done} of {job.total}")
    out.print(head, soft_wrap=True)
    if job.error:
        out.print(Text(job.error, style="red"), soft_wrap=True)
    if job.predictions:
        print_rows(
            (row for prediction in job.predictions for row in _rows(prediction)), "file", "label", "score", "", empty=""
        )


def _rows(prediction: Prediction) -> list[tuple[Any, ...]]:
    if prediction.error:
        return [(prediction.name, Text(prediction.error, style="red"), "", "")]
    names = [prediction.name, *[""] * len(prediction.results)]
    return [
        (name, found.label, f"{found.score:.4f}", bar(found.score))
        for name, found in zip(names, prediction.results, strict=False)
    ]
