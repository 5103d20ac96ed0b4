"""What goes on, while it goes on: a display that changes in place on a terminal, plain lines in a pipe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, TypeVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from inferq.client.responses import Dataset, Training
from inferq.commands import console
from inferq.commands.evidence import losses

_EPOCHS = 6
"""The newest epochs shown at once; the display has to fit a small terminal."""


class Moving(Protocol):
    """What a display needs to know of anything that moves."""

    @property
    def progress(self) -> float: ...
    @property
    def message(self) -> str: ...


Thing = TypeVar("Thing", bound=Moving)


def follow(updates: Iterable[Thing], draw: Callable[[Thing], RenderableType], say: Callable[[Thing], str]) -> Thing:
    """Show the updates, the way `draw` has them on a terminal, as lines that `say` gives in a pipe; the last one.

    There has to be one at least.
    """
    passed = deque(_drawn(updates, draw) if console.remarks.is_terminal else _said(updates, say), maxlen=1)
    return passed.pop()


def _drawn(updates: Iterable[Thing], draw: Callable[[Thing], RenderableType]) -> Iterator[Thing]:
    """The updates as they pass, each shown in the place of the one before; nothing stays of them."""
    spinner, began = Spinner("dots", style="cyan"), time.monotonic()
    below: list[RenderableType] = []

    def now() -> RenderableType:
        spinner.update(text=Text(_clock(time.monotonic() - began), "dim"))
        return Group(spinner, *below)

    # Drawn anew several times a second, so that the clock runs between two updates.
    with Live(get_renderable=now, console=console.remarks, transient=True, refresh_per_second=8):
        for found in updates:
            below[:] = [meter(found), draw(found)]
            yield found


def _said(updates: Iterable[Thing], say: Callable[[Thing], str]) -> Iterator[Thing]:
    """The updates as they pass, each as one line if it is a new one."""
    said = ""
    for found in updates:
        if (line := say(found)) not in ("", said):
            said = line
            console.remarks.print(line, soft_wrap=True)
        yield found


def dataset(found: Dataset) -> RenderableType:
    """Nothing beyond the line of progress."""
    return Text("")


def dataset_line(found: Dataset) -> str:
    """One line of a log."""
    return f"{found.name}: {found.message}" if found.state == "LOADING" and found.message else ""


def training(found: Training) -> RenderableType:
    """The newest epochs, and how the losses went; a star is the lowest loss of its stage so far."""
    if found.position:
        return Text(_place(found), "dim")
    return Group(_epochs(found.curve), Text(" loss  ", "dim") + losses(found.curve, 20)) if found.curve else Text("")


def training_line(found: Training) -> str:
    """One line of a log: the newest epoch, or what it is doing before the first."""
    if found.terminal:
        return ""
    if not found.curve:
        return f"{found.name}: {found.message}{_place(found)}"
    last = found.curve[-1]
    said = "; ".join(
        f"{split} loss {_number(last.get(f'{split}_loss'))}, {console.percent(last.get(f'{split}_accuracy'))} right"
        for split in ("train", "validation")
    )
    return f"{found.name}: {last['stage']}, epoch {last['epoch']}: {said}"


def _place(found: Training) -> str:
    return f" (number {found.position} in the queue)" if found.position else ""


def _epochs(curve: tuple[Mapping[str, Any], ...]) -> RenderableType:
    best = {id(one) for one in _best(curve)}
    columns = ("epoch", "train loss", "accuracy", "validation loss", "accuracy")
    listed = console.table("stage", *columns, "", numbers=columns)
    for one in curve[-_EPOCHS:]:
        listed.add_row(
            str(one["stage"]),
            str(one["epoch"]),
            _number(one.get("train_loss")),
            console.percent(one.get("train_accuracy")),
            _number(one.get("validation_loss")),
            console.percent(one.get("validation_accuracy")),
            Text("★", "yellow") if id(one) in best else "",
        )
    return listed


def _best(curve: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Of each stage the epoch with the lowest loss, of validation where there is one."""
    best: dict[str, Mapping[str, Any]] = {}
    for one in curve:
        stage = str(one["stage"])
        if stage not in best or _watched(one) < _watched(best[stage]):
            best[stage] = one
    return list(best.values())


def _watched(one: Mapping[str, Any]) -> float:
    losses = (one.get("validation_loss"), one.get("train_loss"), float("inf"))
    return float(next(loss for loss in losses if loss is not None))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def meter(found: Moving) -> Text:
    """How far it is, and below what it is doing."""
    share = (f" {found.progress:4.0%}", "bold")
    return Text.assemble(" ", console.bar(found.progress, 50), share, f"\n {found.message}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
