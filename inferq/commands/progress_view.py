"""Progress of trainings, datasets and bulks: a display that changes in place on a terminal, plain lines in a pipe."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from inferq.client import MapProgress
from inferq.commands import console, units
from inferq.commands.evidence import losses
from shared.schemas.datasets import Dataset
from shared.schemas.evidence import Epoch
from shared.schemas.trainings import Training

_EPOCHS = 6
"""Most epochs in the display, which must fit a small terminal."""
_HERTZ = 8
"""How often a second the display is drawn, so that its clock runs between two updates."""
_WINDOW = 20
"""Seconds over which the pace of a map is measured."""


class Progressing(Protocol):
    """The protocol of things with progress: a share from 0 to 1, and a message."""

    @property
    def progress(self) -> float: ...
    @property
    def message(self) -> str: ...


Thing = TypeVar("Thing", bound=Progressing)


def follow(updates: Iterable[Thing], draw: Callable[[Thing], RenderableType], say: Callable[[Thing], str]) -> Thing:
    """Show the updates, drawn by `draw` on a terminal, as lines of `say` in a pipe; return the last update.

    There must be at least one.
    """
    passed = deque(_drawn(updates, draw) if console.remarks.is_terminal else _logged(updates, say), maxlen=1)
    return passed.pop()


def _drawn(updates: Iterable[Thing], draw: Callable[[Thing], RenderableType]) -> Iterator[Thing]:
    """Yield the updates, each drawn over the previous one; the display is cleared at the end."""
    spinner, began = Spinner("dots", style="cyan"), time.monotonic()
    below: list[RenderableType] = []

    def render() -> RenderableType:
        spinner.update(text=Text(_clock(time.monotonic() - began), "dim"))
        return Group(spinner, *below)

    with Live(get_renderable=render, console=console.remarks, transient=True, refresh_per_second=_HERTZ):
        for update in updates:
            below[:] = [meter(update), draw(update)]
            yield update


def _logged(updates: Iterable[Thing], say: Callable[[Thing], str]) -> Iterator[Thing]:
    """Yield the updates, and print the line of each that differs from the last line."""
    last = ""
    for update in updates:
        if (line := say(update)) not in ("", last):
            last = line
            console.remarks.print(line, soft_wrap=True)
        yield update


@contextmanager
def mapping(progress: Callable[[], MapProgress], *, above: bool) -> Iterator[AbstractContextManager[object]]:
    """Show how far a map is while the block runs, on a terminal only; `above` if rows are printed meanwhile.

    Yields a lock that must be held while they are printed.
    """
    drawing = threading.Lock()
    if not console.remarks.is_terminal:
        yield drawing
        return
    seen: deque[tuple[float, int]] = deque(maxlen=_WINDOW * _HERTZ)
    spinner = Spinner("dots", style="cyan")

    def render() -> RenderableType:
        now = progress()
        seen.append((time.monotonic(), now.ended - now.skipped - now.failed))
        spinner.update(text=map_line(now, pace(seen)))
        return Group(spinner, Text(f"  {now.waits_for}", "yellow")) if now.waits_for else spinner

    # Rows that are printed by the console of the display appear above it; by another one they would run into it.
    shown_by = console.out if above and console.out.is_terminal else console.remarks
    ended = threading.Event()

    def draw() -> None:
        while not ended.wait(1 / _HERTZ):
            with drawing:
                live.refresh()

    # Drawn by a thread of our own, since that of Live may draw while rows are printed, which then stand behind it.
    thread = threading.Thread(target=draw, daemon=True)
    with Live(get_renderable=render, console=shown_by, transient=True, auto_refresh=False) as live:
        thread.start()
        try:
            yield drawing
        finally:
            ended.set()
            thread.join()


def pace(seen: Sequence[tuple[float, int]]) -> float:
    """Return pictures per second by (seconds, pictures that had ended) of the last moments; 0 if it is unknown."""
    (began, first), (now, last) = seen[0], seen[-1]
    return (last - first) / (now - began) if now > began else 0.0


def map_line(progress: MapProgress, per_second: float) -> Text:
    """Return how far a map is, with its pace and the time that is left."""
    parts = [f" {progress.ended:,} of {progress.total:,}"]
    if per_second:
        parts.append(f"{per_second:.3g}/s")
        parts.append(f"{units.duration((progress.total - progress.ended) / per_second)} left")
    line = Text("  ").join([Text(parts[0]), console.bar(progress.ended / max(1, progress.total), 20)])
    line.append(f"  {', '.join(parts[1:])}")
    return line.append(f"  {progress.failed:,} failed", "red") if progress.failed else line


def dataset(update: Dataset) -> RenderableType:
    """Return an empty text: a dataset has only its line of progress."""
    return Text("")


def dataset_line(update: Dataset) -> str:
    """Return one line of a log; empty if there is nothing to report."""
    return f"{update.name}: {update.message}" if update.state == "LOADING" and update.message else ""


def training(update: Training) -> RenderableType:
    """Return the newest epochs and the losses; a star marks the lowest loss of each stage."""
    if update.position:
        return Text(_place(update), "dim")
    return Group(_epochs(update.curve), Text(" loss  ", "dim") + losses(update.curve, 20)) if update.curve else Text("")


def training_line(update: Training) -> str:
    """Return one line of a log: the newest epoch, or the current step before the first epoch."""
    if update.terminal:
        return ""
    if not update.curve:
        return f"{update.name}: {update.message}{_place(update)}"
    last = update.curve[-1]
    splits = (
        ("train", last.train_loss, last.train_accuracy),
        ("validation", last.validation_loss, last.validation_accuracy),
    )
    figures = "; ".join(
        f"{split} loss {_number(loss)}, {console.percent(accuracy)} right" for split, loss, accuracy in splits
    )
    return f"{update.name}: {last.stage}, epoch {last.epoch}: {figures}"


def _place(update: Training) -> str:
    return f" (number {update.position} in the queue)" if update.position else ""


def _epochs(curve: Sequence[Epoch]) -> RenderableType:
    best = {id(epoch) for epoch in _best(curve)}
    columns = ("epoch", "train loss", "accuracy", "validation loss", "accuracy")
    listed = console.table("stage", *columns, "", numbers=columns)
    for epoch in curve[-_EPOCHS:]:
        listed.add_row(
            epoch.stage,
            str(epoch.epoch),
            _number(epoch.train_loss),
            console.percent(epoch.train_accuracy),
            _number(epoch.validation_loss),
            console.percent(epoch.validation_accuracy),
            Text("★", "yellow") if id(epoch) in best else "",
        )
    return listed


def _best(curve: Iterable[Epoch]) -> list[Epoch]:
    """Return of each stage the epoch with the lowest validation loss, or training loss if there is no other."""
    best: dict[str, Epoch] = {}
    for epoch in curve:
        stage = epoch.stage
        if stage not in best or _best_loss(epoch) < _best_loss(best[stage]):
            best[stage] = epoch
    return list(best.values())


def _best_loss(epoch: Epoch) -> float:
    losses = (epoch.validation_loss, epoch.train_loss)
    return next((loss for loss in losses if loss is not None), math.inf)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def meter(update: Progressing) -> Text:
    """Return a progress bar, and below it the current step."""
    share = (f" {update.progress:4.0%}", "bold")
    return Text.assemble(" ", console.bar(update.progress, 50), share, f"\n {update.message}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"
