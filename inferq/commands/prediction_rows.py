"""Predictions as rows for people: in columns of fixed widths on a terminal, else as plain text that is never cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group
from rich.table import Table
from rich.text import Text

from inferq.commands import console
from shared.schemas.jobs import Job, Label, Prediction

FEW = 10
"""Pictures of which all labels are shown; of more, the rows have the best one."""
_GAP = 2
_FILE = 16
"""Least width of the names on a terminal: those of pictures in a second archive are not known before."""
_SCORE = 6
_BAR = 10
_LABEL = 30
"""Width of the labels, where the names leave no more; in a pipe, longer ones are not wrapped."""


class Rows:
    """A table that is printed while its answers come, so that its widths are chosen with the first of them."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        """`names` are those that will come, as far as they are known: those of pictures in an archive are not."""
        self._names = names
        self._is_begun = False
        self._is_plain = not console.out.is_terminal
        self._widths = self._chosen_widths(names)

    def _chosen_widths(self, names: Sequence[str]) -> tuple[int, int, int, int]:
        longest, width = max(map(len, names), default=0), console.out.width
        others = _SCORE + _BAR + 3 * _GAP
        name = longest if self._is_plain else max(_FILE, min(longest, width - others - _LABEL))
        label = _LABEL if self._is_plain else max(_FILE, width - others - name)
        return name, label, _SCORE, _BAR

    def write(self, predictions: Sequence[tuple[str, Prediction]], *, all_labels: bool) -> None:
        """Print the rows of some pictures, given as (name, prediction), below those before."""
        if not self._is_begun:
            self._widths = self._chosen_widths([*self._names, *(name for name, _ in predictions)])
        rows = [row for name, prediction in predictions for row in self._rows(name, prediction, all_labels=all_labels)]
        if rows and not self._is_begun:
            self._is_begun = True
            rows.insert(0, [Text(heading, "dim") for heading in ("file", "label", "score")])
        if self._is_plain:
            for row in rows:
                console.out.print(self._plain(row), soft_wrap=True)
        elif rows:  # at once, since a display of progress is drawn anew below each print
            console.out.print(Group(*(self._grid(row) for row in rows)))

    def _rows(self, name: str, prediction: Prediction, *, all_labels: bool) -> Iterator[list[Text]]:
        """Yield rows of name, label, score and bar, or of a name and a sentence that goes over the other columns."""
        first = Text(self._shortened(name))
        if prediction.error:
            yield [first, Text(prediction.error.message, "red")]
        elif prediction.status:
            yield [first, Text(f"{prediction.status} before it ran", "dim")]
        elif vector := prediction.feature_vectors:
            yield [first, Text(f"{len(vector)} features: {', '.join(f'{number:.4g}' for number in vector[:3])}, …")]
        elif prediction.similar:
            for hit in prediction.similar.hits:
                found = Label(label=hit.label or hit.image_id, score=max(0.0, hit.similarity))
                yield from self._scores(Text(self._shortened(hit.name)), [found])
        elif not prediction.results:
            yield [first, Text("no label above its threshold", "dim")]
        yield from self._scores(first, prediction.results[: None if all_labels else 1])
        if prediction.doubt:
            yield [Text(""), Text(f"not believed: {prediction.doubt.message}", "yellow")]

    def _scores(self, name: Text, labels: Sequence[Label]) -> Iterator[list[Text]]:
        for rank, label in enumerate(labels):
            cells = [Text("") if rank else name, Text(label.label), Text(f"{label.score:.4f}")]
            yield cells if self._is_plain else [*cells, console.bar(label.score, _BAR)]

    def _plain(self, row: Sequence[Text]) -> str:
        *padded, last = (cell.plain.ljust(width or 0) for cell, width in self._cells(row))
        return (" " * _GAP).join([*padded, last.rstrip()])

    def _grid(self, row: Sequence[Text]) -> Table:
        grid = Table.grid(padding=(0, _GAP, 0, 0))
        for _, width in self._cells(row):
            grid.add_column(width=width, overflow="fold")
        grid.add_row(*row)
        return grid

    def _cells(self, row: Sequence[Text]) -> Iterator[tuple[Text, int | None]]:
        """Yield the cells with their widths; that of a sentence is what is left."""
        return zip(row, self._widths if len(row) > 2 else (self._widths[0], None), strict=False)

    def _shortened(self, name: str) -> str:
        return console.shortened(name, console.out, self._widths[0])


def print_job(job: Job) -> None:
    """Print a job and its labels."""
    head = Text.assemble(
        ("job ", "dim"), job.id, "  ", console.status(job.status), f"  {job.model.name} {job.model.version}".rstrip()
    )
    if console.ended(job) < job.progress.total:  # also true of a job that was cancelled or has expired
        head.append(f"  {console.ended(job)} of {job.progress.total}")
    console.out.print(head, soft_wrap=True)
    shown_below = [prediction.error.message for prediction in job.predictions if prediction.error]
    if job.error_description and job.error_description not in shown_below:
        console.out.print(Text(job.error_description, style="red"), soft_wrap=True)
    if job.predictions:
        console.out.print()
        named = [(prediction.name, prediction) for prediction in job.predictions]
        Rows().write(named, all_labels=len(job.predictions) <= FEW)
        console.out.print()
