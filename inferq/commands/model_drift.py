"""`inferq models drift` shows whether the pictures of each day are still like those that a version has learned from."""

from __future__ import annotations

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, options
from inferq.errors import InferqError
from shared.schemas.drift import Drift, DriftedPictures, Shift

_KINDS = ("labels", "confidence", "distance")
_BAR = 5
_UNKNOWN = {
    "no_reference": "–",
    "too_few_pictures": "too few",
    "too_few_reference_pictures": "too few",
    "not_measured": "–",
}
_SOURCES = {
    "test": "the test pictures of its training",
    "unseen": "pictures that its training has not learned from",
    "dataset": "the dataset",
}


@click.command()
@click.argument("name")
@click.argument("version", default="")
@click.option("--days", default=30, show_default=True, type=click.IntRange(1, 90), help="Days with today, in UTC.")
@click.option("--reference", "dataset", metavar="DATASET", help="Compare with the pictures of this dataset.")
@click.option("--webhook", metavar="URL", help="Call this URL when a finished day has drifted; none ends that.")
@options.JSON
@options.server
def drift(
    client: Client, name: str, version: str, *, days: int, dataset: str | None, webhook: str | None, as_json: bool
) -> None:
    """Show whether answers are still like those of the training.

    By default those of the default version, day by day. Each number is a distance from the reference, 0 to 1; one
    that is large and more than chance is marked with an exclamation mark.

    \b
      inferq models drift flowers
      inferq models drift flowers --webhook https://example.org/hook
      inferq models drift bought 1 --reference flowers
    """
    if webhook == "none":
        client.models.remove_webhook(name)
    elif webhook:
        client.models.set_webhook(name, webhook)
    if dataset:
        version = version or client.models.get(name).default_version
        with console.remarks.status(f"measuring {name} {version} on {dataset}"):
            measured = client.models.measure_reference(name, version, dataset)
        if measured.error:
            raise InferqError(f"{name} {version} has no new reference: {measured.error}")
    found = client.models.get_drift(name, version, days=days)
    if as_json:
        console.print_json(found)
        return
    _print(found)


def _print(found: Drift) -> None:
    head = Text.assemble((f"{found.name} {found.version}", "bold"))
    if found.reference:
        compared = " ".join(filter(None, (_SOURCES.get(found.reference.source), found.reference.dataset)))
        head.append(f" compared with {compared}, {console.count(found.reference.pictures, 'picture')}")
    console.out.print(head, soft_wrap=True)
    if found.days:
        listed = console.table("day", "pictures", *_KINDS, numbers=("pictures",))
        for day in found.days:
            listed.add_row(day.day, str(day.pictures), *_cells(day))
        if found.recent and found.recent.since != found.days[-1].day:
            listed.add_section()
            listed.add_row(f"since {found.recent.since}", str(found.recent.pictures), *_cells(found.recent))
        console.out.print(listed)
    has_drifted = found.verdict in ("other_labels", "other_confidence", "unlike_pictures")
    console.out.print(Text(found.message, "yellow" if has_drifted else ""), soft_wrap=True)
    if found.advice:
        console.out.print(Text(found.advice.replace("NAME", found.name), "dim"), soft_wrap=True)
    if found.webhook:
        console.out.print(Text.assemble(("webhook ", "dim"), found.webhook), soft_wrap=True)


def _cells(compared: DriftedPictures) -> list[Text]:
    return [_cell(getattr(compared, kind)) for kind in _KINDS]


def _cell(shift: Shift) -> Text:
    """Return the distance with its bar, marked if it is a drift; or why it is not known."""
    if shift.effect is None:
        return Text(_UNKNOWN.get(shift.unknown or "", "–"), "dim")
    mark = Text(" !", "bold red") if shift.drifted else Text("")
    return Text.assemble(f"{shift.effect:.2f} ", console.bar(shift.effect, _BAR), mark)
