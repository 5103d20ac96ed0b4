"""What a training came to, in the terminal: the summary at its end, and the evidence when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inferq.client.responses import Training
from inferq.commands import console

_RIGHT = ((24, 72, 44), (38, 150, 78))
_WRONG = ((92, 44, 40), (214, 62, 52))
"""From the palest to the strongest shade of a cell (red, green, blue); dark enough for white figures."""
_HEAD = 12
"""Characters of a label above its column of the confusion matrix."""
_STAGES = {"head": "head", "fine-tuned": "fine-tuning", "scratch": "network"}
"""Method of a version -> the stage of training that made it."""
_LABELS = 24
_FEW = 30
"""Test pictures below which a single one moves the accuracy by points."""
_MISTAKES = 10
"""Shown one by one; `--json` has all that are known."""


def summary(training: Training) -> Group:
    """Accuracy, calibration, how and from what it was made, then each label; for a training that is DONE."""
    known = training.evidence or {}
    return Group(facts(_facts(known)), *_labels(known.get("per_label") or ()))


def details(training: Training, width: int) -> Group:
    """What goes beyond the summary: the parameters, the confusion matrix, and the pictures it got wrong."""
    known = training.evidence or {}
    rows = [("parameters", Text(_listed(known.get("parameters")))), ("machine", Text(_listed(known.get("machine"))))]
    parts: list[RenderableType] = [facts(rows)]
    parts += confusion(known.get("labels") or (), known.get("confusion") or (), width)
    parts += _mistakes(known.get("mistakes") or ())
    return Group(*parts)


def facts(rows: Sequence[tuple[str, Text]]) -> Table:
    """A word and what there is to say about it, line by line; what is too long is wrapped under itself."""
    listed = Table.grid(padding=(0, 2, 0, 1), pad_edge=True)
    listed.add_column(style="dim", no_wrap=True)
    listed.add_column(overflow="fold")
    for about, text in rows:
        if text.plain:
            listed.add_row(about, text)
    return listed


def _facts(known: Mapping[str, Any]) -> list[tuple[str, Text]]:
    accuracy, macro = known.get("accuracy", 0.0), known.get("macro_f1", 0.0)
    right = Text.assemble(
        (f"{console.percent(accuracy)}  ", "bold"), console.bar(accuracy), ("  macro F1 ", "dim"), f"{macro:.3f}"
    )
    return [
        ("accuracy", right),
        ("", few((known.get("examples") or {}).get("test", 0))),
        ("calibration", _calibration(known)),
        ("loss", losses(_own(known))),
        ("how", Text(str(known.get("note", "")))),
        ("pictures", Text(_pictures(known))),
        ("time", Text(_time(known.get("seconds") or {}))),
    ]


def few(tested: int) -> Text:
    """What to make of figures that come from so few test pictures; empty where there are enough, or none."""
    if not 0 < tested < _FEW:
        return Text("")
    pictures = "1 picture: it" if tested == 1 else f"{tested} pictures: each of them"
    return Text(f"tested on {pictures} is worth {100 / tested:.1f} points", "yellow")


def _calibration(known: Mapping[str, Any]) -> Text:
    if known.get("ece_after") is None:
        return Text("")
    return Text.assemble(
        f"{console.percent(known.get('ece_before'))} → ",
        (console.percent(known["ece_after"]), "bold"),
        (f"  expected error of a score, temperature {known.get('temperature', 1.0):.2f}", "dim"),
    )


def _own(known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The epochs that the version comes from: a stage that did not help was tried in vain."""
    stage = _STAGES.get(str(known.get("method")))
    return [one for one in known.get("curve") or () if stage in (None, one["stage"])]


def losses(curve: Sequence[Mapping[str, Any]], width: int = 16) -> Text:
    """Train and validation loss of the last stage, each as a small line that ends in its last value."""
    stage = curve[-1]["stage"] if curve else ""
    line = Text()
    for name in ("train", "validation"):
        values = [one[f"{name}_loss"] for one in curve if one["stage"] == stage and one.get(f"{name}_loss") is not None]
        if values:
            line.append(f"{'  ' if line else ''}{name} ", "dim")
            line.append(console.spark(values, width), "cyan")
            line.append(f" {values[-1]:.3f}")
    return line


def _pictures(known: Mapping[str, Any]) -> str:
    counted, dataset = known.get("examples") or {}, known.get("dataset") or {}
    dealt = ", ".join(f"{counted.get(split, 0)} {split}" for split in ("training", "validation", "test"))
    return f"{dealt}; {dataset.get('name', '')} version {dataset.get('version', '')}" if counted else ""


def _time(seconds: Mapping[str, float]) -> str:
    parts = [f"{name.replace('_', ' ')} {taken:.1f}" for name, taken in seconds.items() if name != "total" and taken]
    return f"{seconds['total']:.1f} s: {', '.join(parts)}" if "total" in seconds else ""


def _listed(values: Mapping[str, Any] | None) -> str:
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in (values or {}).items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value != "")


def _labels(rows: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    """All labels in their order; of many the worst."""
    chosen = rows if len(rows) <= _LABELS else sorted(rows, key=lambda row: float(row["f1"]))[:_LABELS]
    numbers = ("precision", "recall", "F1", "tested")
    listed = console.table("label", "precision", "recall", "F1", "", "tested", numbers=numbers)
    for row in chosen:
        listed.add_row(
            Text(row["label"]),
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}",
            Text(f"{row['f1']:.3f}", "bold"),
            console.bar(row["f1"]),
            str(row["support"]),
        )
    more = len(rows) - len(chosen)
    return [listed, Text(f" and {more} labels with a better F1: --json has them\n", "dim")] if more else [listed]


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], width: int) -> list[RenderableType]:
    """The matrix with shaded cells, rows are the truth; the commonest confusions where it is wider than `width`."""
    if not counts:
        return []
    row_head = min(max(map(len, labels)), width // 4)
    digits = max(len(str(count)) for row in counts for count in row)
    for column_head in (min(max(map(len, labels)), _HEAD), len(str(len(labels)))):  # names, or else numbers
        cell = max(digits, column_head) + 2
        numbered = column_head < min(max(map(len, labels)), _HEAD)
        if row_head + numbered * (column_head + 1) + 3 + cell * len(labels) <= width:
            about = Text("\n rows: what was shown; columns: what it was taken for", "dim")
            return [about, _matrix(labels, counts, cell, numbered=numbered)]
    return [_commonest(labels, counts)]


def _matrix(labels: Sequence[str], counts: Sequence[Sequence[int]], cell: int, *, numbered: bool) -> Table:
    wide = len(str(len(labels)))
    names = [f"{number:>{wide}} {label}" for number, label in enumerate(labels, 1)] if numbered else list(labels)
    heads = [str(number) for number in range(1, len(labels) + 1)] if numbered else list(labels)
    grid = Table.grid()
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for _ in labels:
        grid.add_column(width=cell, no_wrap=True)
    grid.add_row("", *(Text(_cut(head, cell - 2).center(cell), "dim") for head in heads))
    for row, (name, line) in enumerate(zip(names, counts, strict=True)):
        in_all = sum(line) or 1
        cells = [_cell(count, count / in_all, cell, right=row == column) for column, count in enumerate(line)]
        grid.add_row(Text(f" {name}  "), *cells)
    return grid


def _cell(count: int, share: float, width: int, *, right: bool) -> Text:
    if not count:
        return Text("·".center(width), "bright_black")
    low, high = _RIGHT if right else _WRONG
    shade = Color.from_rgb(*(a + (b - a) * share for a, b in zip(low, high, strict=True)))
    return Text(str(count).center(width), Style(color="bright_white", bgcolor=shade, bold=right))


def _commonest(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    pairs = [
        (count, labels[row], labels[column])
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if count and row != column
    ]
    listed = console.table("most often mistaken", "taken for", "times", numbers=("times",))
    for count, shown, taken in sorted(pairs, key=lambda pair: -pair[0])[:_MISTAKES]:
        listed.add_row(Text(shown), Text(taken), str(count))
    return listed


def _mistakes(mistakes: Sequence[Mapping[str, Any]]) -> list[RenderableType]:
    if not mistakes:
        return [Text("\n No test picture was mistaken.", "dim")]
    listed = console.table("mistaken picture", "shows", "taken for", "score", numbers=("score",))
    for one in mistakes[:_MISTAKES]:
        listed.add_row(
            Text(one["name"]), Text(one["expected"]), Text(one["predicted"], "red"), f"{one.get('score', 0.0):.3f}"
        )
    more = len(mistakes) - _MISTAKES
    return [listed, Text(f" and {more} more: --json has them", "dim")] if more > 0 else [listed]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
