"""The evidence of a training in the terminal: a summary, and the details for `inferq trainings show`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.color import Color
from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from inferq.commands import console
from inferq.errors import InferqError
from shared.schemas.common import MULTI_LABEL
from shared.schemas.evidence import Epoch, Evidence, LabelEvidence, Mistake
from shared.schemas.trainings import Training

_RIGHT = ((24, 72, 44), (38, 150, 78))
_WRONG = ((92, 44, 40), (214, 62, 52))
"""From the palest to the strongest shade of a cell (red, green, blue); dark enough for white figures."""
_HEAD = 12
"""Characters of a label above its column of the confusion matrix."""
_STAGES = {"head": ("head",), "fine-tuned": ("refit", "fine-tuning"), "scratch": ("network",)}
"""Method of a version -> the stages of a training whose epochs it may come from, the last one first."""
_LABELS = 24
_FEW = 30
"""Test pictures below which a single picture changes the accuracy by percentage points."""
_MISTAKES = 10
"""Most mistakes in the output; `--json` has all that are stored."""


def summary(training: Training) -> Group:
    """Return accuracy, calibration, method and data, then a row per label; for a training that is DONE."""
    evidence = _evidence(training)
    return Group(key_value_table(_facts(evidence)), *_labels(evidence.per_label))


def details(training: Training, width: int) -> Group:
    """Return the parameters, the confusion matrix and the mistakes; `width` is that of the terminal, in characters."""
    evidence = _evidence(training)
    rows = [
        ("parameters", Text(_listed(evidence.parameters))),
        ("machine", Text(_listed(evidence.machine))),
    ]
    parts: list[RenderableType] = [key_value_table(rows)]
    parts += confusion(evidence.labels, evidence.confusion, width)
    parts += _mistakes(evidence.mistakes)
    parts += _suspects(evidence)
    return Group(*parts)


def _evidence(training: Training) -> Evidence:
    if training.evidence is None:
        raise InferqError(f"training {training.id} is {training.status}: only a training that is DONE has evidence")
    return training.evidence


def key_value_table(rows: Sequence[tuple[str, Text]]) -> Table:
    """Return a table of (name, text) rows without empty texts; long texts wrap in their column."""
    listed = Table.grid(padding=(0, 2, 0, 1), pad_edge=True)
    listed.add_column(style="dim", no_wrap=True)
    listed.add_column(overflow="fold")
    for about, text in rows:
        if text.plain:
            listed.add_row(about, text)
    return listed


def _facts(evidence: Evidence) -> list[tuple[str, Text]]:
    accuracy, macro = evidence.accuracy, evidence.macro_f1
    line = Text.assemble(
        (f"{console.percent(accuracy)}  ", "bold"), console.bar(accuracy), ("  macro F1 ", "dim"), f"{macro:.3f}"
    )
    is_multi_label = evidence.problem_type == MULTI_LABEL
    return [
        *(_mean_average_precision(evidence) if is_multi_label else ()),
        ("all labels right" if is_multi_label else "accuracy", line),
        ("", _interval(evidence.accuracy_interval, evidence.examples.test if evidence.examples else 0)),
        ("by folds", _by_folds(evidence)),
        ("calibration", _calibration(evidence)),
        ("loss", losses(_kept_epochs(evidence))),
        ("how", Text(evidence.note)),
        ("pictures", Text(_pictures(evidence))),
        ("", _across(evidence)),
        ("unknown", _rejection(evidence)),
        ("suspects", _doubted(evidence)),
        ("time", Text(_time(evidence.seconds))),
    ]


def _mean_average_precision(evidence: Evidence) -> list[tuple[str, Text]]:
    """Return the mean average precision of a multi-label version with its bounds, and the F1 of all labels together."""
    mean, bounds, micro = (
        evidence.mean_average_precision, evidence.mean_average_precision_interval, evidence.micro_f1,
    )  # fmt: skip
    if mean is None or micro is None:
        return [("mAP", Text("no test picture has a label", "yellow"))]
    line = Text.assemble(
        (f"{console.percent(mean)}  ", "bold"), console.bar(mean), ("  micro F1 ", "dim"), f"{micro:.3f}"
    )
    said = f"mean average precision of the labels; {_between(bounds)}" if bounds else ""
    return [("mAP", line), ("", Text(said, "dim"))]


def _interval(bounds: Sequence[float] | None, pictures: int) -> Text:
    """Return between which values the true accuracy probably is; for old evidence, a warning if there are few."""
    return few(pictures) if bounds is None else Text(f"{_between(bounds)} on {pictures} test pictures", "dim")


def _between(bounds: Sequence[float]) -> str:
    low, high = (console.percent(bound) for bound in bounds)
    return f"probably between {low} and {high}"


def _by_folds(evidence: Evidence) -> Text:
    """Return the accuracy of cross-validation, or the mean average precision; empty if there was none."""
    found = evidence.cross_validation
    if found is None:
        return Text("")
    is_multi_label = evidence.problem_type == MULTI_LABEL
    value = found.mean_average_precision if is_multi_label else found.accuracy
    bounds = found.mean_average_precision_interval if is_multi_label else found.accuracy_interval
    if value is None or bounds is None:
        return Text("")
    name = "mAP, " if is_multi_label else ""
    said = f"  {name}{_between(bounds)}; {found.pictures} pictures, each by a head that had not seen it"
    return Text.assemble((console.percent(value), "bold"), (said, "dim"))


def few(tested: int) -> Text:
    """Return a warning if there are so few test pictures that each counts; empty if there are enough, or none."""
    if not 0 < tested < _FEW:
        return Text("")
    pictures = "1 picture: it" if tested == 1 else f"{tested} pictures: each of them"
    return Text(f"tested on {pictures} is worth {100 / tested:.1f} points", "yellow")


def _calibration(evidence: Evidence) -> Text:
    return Text.assemble(
        f"{console.percent(evidence.ece_before)} → ",
        (console.percent(evidence.ece_after), "bold"),
        (f"  expected error of a score, temperature {evidence.temperature:.2f}", "dim"),
    )


def _kept_epochs(evidence: Evidence) -> list[Epoch]:
    """Return the epochs of the stage that made the version; a stage that did not improve it is left out."""
    run = {epoch.stage for epoch in evidence.curve}
    stage = next((name for name in _STAGES.get(evidence.method, ()) if name in run), None)
    return [epoch for epoch in evidence.curve if stage in (None, epoch.stage)]


def losses(curve: Sequence[Epoch], width: int = 16) -> Text:
    """Return the training and validation losses of the last stage as sparklines, each with its last value."""
    stage = curve[-1].stage if curve else ""
    line = Text()
    last = [epoch for epoch in curve if epoch.stage == stage]
    train = [epoch.train_loss for epoch in last if epoch.train_loss is not None]
    validation = [epoch.validation_loss for epoch in last if epoch.validation_loss is not None]
    for name, values in (("train", train), ("validation", validation)):
        if values:
            line.append(f"{'  ' if line else ''}{name} ", "dim")
            line.append(console.spark(values, width), "cyan")
            line.append(f" {values[-1]:.3f}")
    return line


def _pictures(evidence: Evidence) -> str:
    counts, dataset = evidence.examples, evidence.dataset
    if counts is None or dataset is None:
        return ""
    splits = f"{counts.training} training, {counts.validation} validation, {counts.test} test"
    return f"{splits}; {dataset.name} version {dataset.version}"


def _across(evidence: Evidence) -> Text:
    """Return a warning if near-duplicates lie in several splits."""
    found = evidence.near_duplicates
    if found is None or not found.across:
        return Text("")
    groups = "1 group" if found.across == 1 else f"{found.across} groups"
    return Text(f"{groups} of near-duplicates in several splits: the accuracy looks better than it is", "yellow")


def _rejection(evidence: Evidence) -> Text:
    """Return what the rejection rule believes, and turns away; empty if none was asked for."""
    found = evidence.rejection
    if found is None:
        return Text("")
    if found.reason:
        return Text(found.reason, "yellow")
    precision = "–" if found.precision is None else console.percent(found.precision)
    foreign = sum(kind.pictures for kind in found.foreign)
    rejected = console.percent(sum(kind.rejected for kind in found.foreign) / foreign) if foreign else "–"
    said = f"believes {found.believed} of {found.pictures} test pictures, {precision} of them right; turns away "
    return Text.assemble(said, (rejected, "bold"), " of foreign pictures")


def _doubted(evidence: Evidence) -> Text:
    """Return how many labels are probably wrong; empty if none is."""
    count = evidence.suspects_in_all
    if not count:
        return Text("")
    labels = "1 label is" if count == 1 else f"{count} labels are"
    return Text(f"{labels} probably wrong; `inferq trainings show` lists the pictures", "yellow")


def _time(seconds: Mapping[str, float]) -> str:
    parts = [f"{name.replace('_', ' ')} {value:.1f}" for name, value in seconds.items() if name != "total" and value]
    return f"{seconds['total']:.1f} s: {', '.join(parts)}" if "total" in seconds else ""


def _listed(values: Mapping[str, Any]) -> str:
    shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in values.items()}
    return ", ".join(f"{name} {value}" for name, value in shown.items() if value != "")


def _labels(rows: Sequence[LabelEvidence]) -> list[RenderableType]:
    """Return a row per label, in order; of more than _LABELS those with the lowest F1."""
    chosen = rows if len(rows) <= _LABELS else sorted(rows, key=lambda row: row.f1)[:_LABELS]
    numbers = ("precision", "recall", "F1", "tested")
    is_multi_label = any(row.threshold is not None for row in rows)
    more = ("AP", "from score", "missed", "wrongly") if is_multi_label else ()
    listed = console.table("label", *more, "precision", "recall", "F1", "", "tested", numbers=(*numbers, *more))
    for row in chosen:
        listed.add_row(
            Text(row.label),
            *(_label_counts(row) if is_multi_label else ()),
            f"{row.precision:.3f}",
            f"{row.recall:.3f}",
            Text(f"{row.f1:.3f}", "bold"),
            console.bar(row.f1),
            str(row.support),
        )
    hidden = len(rows) - len(chosen)
    return [listed, Text(f" and {hidden} labels with a better F1: --json has them\n", "dim")] if hidden else [listed]


def _label_counts(row: LabelEvidence) -> tuple[str, str, str, str]:
    """Return the average precision and the threshold of a label, and the numbers of its two kinds of mistakes."""
    precision = "–" if row.average_precision is None else f"{row.average_precision:.3f}"
    return precision, f"{row.threshold or 0:.2f}", str(row.false_negatives), str(row.false_positives)


def confusion(labels: Sequence[str], counts: Sequence[Sequence[int]], width: int) -> list[RenderableType]:
    """Return the confusion matrix with shaded cells, one row per true label.

    If it is wider than `width` characters, return the commonest confusions instead.
    """
    if not counts:
        return []
    row_head = min(max(map(len, labels)), width // 4)
    digits = max(len(str(count)) for row in counts for count in row)
    for column_head in (min(max(map(len, labels)), _HEAD), len(str(len(labels)))):  # names, or else numbers
        cell = max(digits, column_head) + 2
        numbered = column_head < min(max(map(len, labels)), _HEAD)
        if row_head + numbered * (column_head + 1) + 3 + cell * len(labels) <= width:
            about = Text("\n rows: true label; columns: predicted label", "dim")
            return [about, _matrix(labels, counts, cell, numbered=numbered)]
    return [_commonest_confusions(labels, counts)]


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
        total = sum(line) or 1
        cells = [_cell(count, count / total, cell, correct=row == column) for column, count in enumerate(line)]
        grid.add_row(Text(f" {name}  "), *cells)
    return grid


def _cell(count: int, share: float, width: int, *, correct: bool) -> Text:
    if not count:
        return Text("·".center(width), "bright_black")
    low, high = _RIGHT if correct else _WRONG
    shade = Color.from_rgb(*(a + (b - a) * share for a, b in zip(low, high, strict=True)))
    return Text(str(count).center(width), Style(color="bright_white", bgcolor=shade, bold=correct))


def _commonest_confusions(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    pairs = [
        (count, labels[row], labels[column])
        for row, line in enumerate(counts)
        for column, count in enumerate(line)
        if count and row != column
    ]
    listed = console.table("true label", "predicted", "times", numbers=("times",))
    for count, actual, predicted in sorted(pairs, key=lambda pair: -pair[0])[:_MISTAKES]:
        listed.add_row(Text(actual), Text(predicted), str(count))
    return listed


def _mistakes(mistakes: Sequence[Mistake]) -> list[RenderableType]:
    if not mistakes:
        return [Text("\n Every test picture was classified correctly.", "dim")]
    listed = console.table("mistaken picture", "true label", "predicted", "score", numbers=("score",))
    for mistake in mistakes[:_MISTAKES]:
        listed.add_row(
            Text(mistake.name),
            Text(mistake.expected or "–"),
            Text(mistake.predicted or "–", "red"),
            f"{mistake.score:.3f}",
        )
    hidden = len(mistakes) - _MISTAKES
    return [listed, Text(f" and {hidden} more: --json has them", "dim")] if hidden > 0 else [listed]


def _suspects(evidence: Evidence) -> list[RenderableType]:
    """Return the examples whose label is probably wrong; empty if there are none."""
    if not evidence.suspects:
        return []
    listed = console.table("suspect label", "picture", "example", "rather", numbers=("example",))
    for suspect in evidence.suspects[:_MISTAKES]:
        listed.add_row(
            Text(suspect.label or "–", "yellow"),
            Text(suspect.name),
            str(suspect.example),
            Text(suspect.suggested or "–"),
        )
    hidden = evidence.suspects_in_all - min(len(evidence.suspects), _MISTAKES)
    return [listed, Text(f" and {hidden} more: --json has them", "dim")] if hidden > 0 else [listed]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
