"""Plots of a version's evidence: confusion matrix, learning curve, reliability diagram; SVG or PNG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

Format = Literal["svg", "png"]

_BLUE, _ORANGE, _GREY, _INK = "#0072B2", "#D55E00", "#8a8f98", "#24292f"
"""Two of Okabe and Ito's colours, which are distinguishable with every kind of colour blindness, and in grey."""
_BLUES = LinearSegmentedColormap.from_list("blues", ["#ffffff", "#9ecae8", "#0072B2", "#003a5d"])
_NORM = PowerNorm(0.6, vmin=0, vmax=1)
"""Not linear: a mistake in one picture of twenty must be visible."""
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "inferq",  # the same numbers give the same bytes
    "svg.fonttype": "none",  # small, searchable, and in whatever script a label is written
    "font.family": ["DejaVu Sans"],
    "font.size": 10.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _GREY,
    "xtick.color": _INK,
    "ytick.color": _INK,
}
_NUMBERED = 20
"""Maximum number of labels for which each cell shows its count."""
_NAMED = 120
"""Maximum number of labels for which names are shown beside the matrix."""
_LONGEST = 22
"""Maximum characters of a label that are shown."""


def render(evidence: Mapping[str, Any]) -> dict[str, bytes]:
    """Return file name, such as `confusion.svg`, -> bytes of all plots in both formats."""
    kinds: tuple[Format, ...] = ("svg", "png")
    return {
        f"{name}.{kind}": draw(kind)
        for kind in kinds
        for name, draw in {
            "confusion": partial(confusion_matrix if evidence["confusion"] else label_counts, evidence),
            "curve": partial(learning_curve, evidence["curve"]),
            "reliability": partial(reliability, evidence),
        }.items()
    }


def confusion_matrix(evidence: Mapping[str, Any], format: Format) -> bytes:
    """Draw the confusion matrix: a row for each true label, a column for each answer; colours are shares of the row."""
    return _drawn(lambda: _confusion_matrix(evidence), format)


def _confusion_matrix(evidence: Mapping[str, Any]) -> Figure:
    counts: list[list[int]] = evidence["confusion"]
    labels = [_short(label) for label in evidence["labels"]]
    size = len(labels)
    side = min(4.2 + 0.42 * size, 7.5 + 0.085 * size, 18.0)
    figure = Figure(figsize=(side + 0.9, side), layout="constrained")
    axes = figure.add_subplot()
    shares = [[count / max(sum(row), 1) for count in row] for row in counts]
    image = axes.imshow(shares, cmap=_BLUES, norm=_NORM, interpolation="nearest")
    _name(axes, labels)
    if size <= _NUMBERED:
        _number(axes, counts, shares)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.set_ticks([0, 0.25, 0.5, 0.75, 1], labels=["0 %", "25 %", "50 %", "75 %", "100 %"])
    bar.set_label("share of the true label's pictures")
    bar.outline.set_visible(False)
    _entitle(axes, "What was answered for which label", f"{_many(evidence)}, {_percent(evidence['accuracy'])} right")
    axes.set_xlabel("answer")
    axes.set_ylabel("true label")
    return figure


def label_counts(evidence: Mapping[str, Any], format: Format) -> bytes:
    """Draw a bar for each label of a multi-label version: pictures with the label that were answered with it, pictures
    with it that were not, and pictures without it that were."""
    return _drawn(lambda: _label_counts(evidence), format)


def _label_counts(evidence: Mapping[str, Any]) -> Figure:
    rows = sorted(evidence["per_label"], key=lambda row: row["support"])[-_NAMED:]
    figure = Figure(figsize=(7.5, min(2.2 + 0.3 * len(rows), 18.0)), layout="constrained")
    axes = figure.add_subplot()
    start = [0] * len(rows)
    for measure, colour, name in (
        ("true_positives", _BLUE, "answered rightly"),
        ("false_negatives", _GREY, "missed"),
        ("false_positives", _ORANGE, "answered wrongly"),
    ):
        counts = [row[measure] for row in rows]
        axes.barh(range(len(rows)), counts, left=start, color=colour, label=name)
        start = [low + count for low, count in zip(start, counts, strict=True)]
    size = 10 if len(rows) <= 12 else max(4.5, 10 - 0.055 * len(rows))
    axes.set_yticks(range(len(rows)), [_short(row["label"]) for row in rows], fontsize=size, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlabel("test pictures")
    figure.legend(*axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=3)
    mean = evidence["mean_average_precision"]
    below = "" if mean is None else f", mean average precision {mean:.3f}"
    _entitle(axes, "What was answered for each label", f"{_many(evidence)}{below}")
    return figure


def learning_curve(epochs: Sequence[Mapping[str, Any]], format: Format) -> bytes:
    """Draw loss and accuracy over the epochs of all stages, in training and on validation; oldest first."""
    return _drawn(lambda: _learning_curve(epochs), format)


def _learning_curve(epochs: Sequence[Mapping[str, Any]]) -> Figure:
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, measure in ((left, "loss"), (right, "accuracy")):
        for part, colour, line, name in (
            ("train", _GREY, "--", "training pictures"),
            ("validation", _BLUE, "-", "validation pictures"),
        ):
            values = [(number, row[f"{part}_{measure}"]) for number, row in enumerate(epochs, 1)]
            rows = [(number, value) for number, value in values if value is not None]
            if rows:
                mark = "o" if len(rows) <= 30 else ""
                axes.plot(*zip(*rows, strict=True), line, color=colour, marker=mark, ms=3.5, lw=1.8, label=name)
        for number, stage in _later_stages(epochs):
            axes.axvline(number - 0.5, color=_GREY, lw=1, ls=":")
            axes.annotate(stage, (number - 0.5, 1), xycoords=("data", "axes fraction"), xytext=(3, -10),
                          textcoords="offset points", color="#57606a", fontsize=8.5)  # fmt: skip
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
        _open(axes)
        axes.margins(x=0.02)
    left.set_ylim(bottom=0)
    right.set_ylim(0, 1.02)
    right.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}".replace("%", " %"))
    _entitle(left, "Loss", "lower is better")
    _entitle(right, "Right answers", "higher is better")
    if left.lines:
        figure.legend(*left.get_legend_handles_labels(), frameon=False, loc="outside lower center", ncols=2)
    return figure


def _later_stages(epochs: Sequence[Mapping[str, Any]]) -> list[tuple[int, str]]:
    """Return (number of its first epoch, name) of each stage except the first."""
    stages = [row["stage"] for row in epochs]
    return [(number, stage) for number, (last, stage) in enumerate(pairwise(stages), 2) if stage != last]


def reliability(evidence: Mapping[str, Any], format: Format) -> bytes:
    """Draw the share of right answers for each score: on the diagonal, scores equal accuracy."""
    return _drawn(lambda: _reliability(evidence), format)


def _reliability(evidence: Mapping[str, Any]) -> Figure:
    figure = Figure(figsize=(5.6, 6.6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls=":")
    axes.annotate("scores mean what they say", (0.3, 0.3), xytext=(-3, 4), textcoords="offset points", color="#57606a",
                  rotation=45, rotation_mode="anchor", transform_rotates_text=True, fontsize=8.5)  # fmt: skip
    before, after = evidence["reliability_before"], evidence["reliability"]
    for when, bins, colour, mark in (("before", before, _ORANGE, "s"), ("after", after, _BLUE, "o")):
        filled = [row for row in bins if row["count"]]
        error = 100 * evidence[f"ece_{when}"]
        where = [row["confidence"] for row in filled], [row["accuracy"] for row in filled]
        sizes = [18 + 220 * row["count"] / max(sum(each["count"] for each in bins), 1) for row in filled]
        name = f"{when} (off by {error:.1f} points on average)"
        axes.plot(*where, color=colour, lw=1, alpha=0.4, ls="--" if when == "before" else "-")
        axes.scatter(*where, s=sizes, color=colour, marker=mark, alpha=0.9, label=name, zorder=3)
    below.bar(
        [row["low"] for row in after],
        [row["count"] for row in after],
        width=1 / len(after),
        align="edge",
        color=_BLUE,
        edgecolor="white",
        linewidth=0.8,
    )
    for panel in (axes, below):
        _open(panel)
    single = bool(evidence["confusion"])
    share, score, counted = (
        ("share of right answers", "score of the answer", "pictures")
        if single
        else ("share that has the label", "score of a label", "labels of pictures")
    )
    axes.set(xlim=(0, 1.01), ylim=(-0.03, 1.03), ylabel=share)
    below.set(xlabel=score, ylabel=counted)
    below.yaxis.get_major_locator().set_params(integer=True, nbins=3)
    legend = figure.legend(
        *axes.get_legend_handles_labels(), frameon=False, loc="outside lower center", title="calibration"
    )
    for handle in legend.legend_handles:
        handle.set_sizes([30])  # type: ignore[union-attr]
    _entitle(axes, "Can the scores be believed?", f"{_many(evidence)}, temperature {evidence['temperature']:.2f}")
    return figure


def _name(axes: Axes, labels: Sequence[str]) -> None:
    if len(labels) > _NAMED:
        return
    size = 10 if len(labels) <= 12 else max(4.5, 10 - 0.055 * len(labels))
    numbers = range(len(labels))
    axes.set_yticks(numbers, labels, fontsize=size, parse_math=False)
    across = max(map(len, labels)) <= 8 and len(labels) <= 8
    turned: dict[str, Any] = {} if across else {"rotation": 90 if len(labels) > 30 else 45}
    if turned.get("rotation") == 45:
        turned |= {"ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(numbers, labels, fontsize=size, parse_math=False, **turned)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    axes.set_xticks([number - 0.5 for number in numbers][1:], minor=True)
    axes.set_yticks([number - 0.5 for number in numbers][1:], minor=True)
    axes.grid(which="minor", color="#e6e8eb", linewidth=0.8 if len(labels) <= 30 else 0.3)
    axes.tick_params(which="minor", length=0)


def _number(axes: Axes, counts: list[list[int]], shares: list[list[float]]) -> None:
    for row, (line, parts) in enumerate(zip(counts, shares, strict=True)):
        for column, (count, share) in enumerate(zip(line, parts, strict=True)):
            if count:
                colour = "white" if share > 0.4 else _INK
                axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=10)


def _open(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=_GREY, alpha=0.25, linewidth=0.8)
    axes.set_axisbelow(True)


def _entitle(axes: Axes, title: str, below: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", pad=22)
    axes.annotate(below, (0, 1), xytext=(0, 8), xycoords="axes fraction", textcoords="offset points", color="#57606a",
                  fontsize=9.5)  # fmt: skip


def _short(label: str) -> str:
    plain = " ".join(label.split())
    return plain if len(plain) <= _LONGEST else f"{plain[: _LONGEST - 1]}…"


def _count(evidence: Mapping[str, Any]) -> int:
    """Return the number of test pictures."""
    if evidence["confusion"] or not evidence["per_label"]:
        return sum(map(sum, evidence["confusion"]))
    row = evidence["per_label"][0]
    kinds = ("true_positives", "false_positives", "false_negatives", "true_negatives")
    return sum(int(row[kind]) for kind in kinds)


def _many(evidence: Mapping[str, Any]) -> str:
    count = _count(evidence)
    return f"{count:,} test picture{'' if count == 1 else 's'}".replace(",", " ")


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _drawn(draw: Callable[[], Figure], format: Format) -> bytes:
    file = io.BytesIO()
    # In a PNG, characters that the font lacks are shown as boxes, and each of them would cause a warning.
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        untimed = {"Date": None, "Creator": None} if format == "svg" else {"Software": None}
        draw().savefig(file, format=format, dpi=144, bbox_inches="tight", pad_inches=0.2, metadata=untimed)
    return file.getvalue()
