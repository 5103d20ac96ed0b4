"""`inferq models reject` has a rule fitted by which a version says which of its answers it does not believe."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options
from inferq.errors import InferqError
from shared.schemas.models import Rejection


@click.command()
@click.argument("name")
@click.argument("version", default="")
@click.option("--below-precision", type=click.FloatRange(0.5, 0.999), metavar="SHARE",
              help="The share of right answers among those that are believed: 0.95.")  # fmt: skip
@click.option("--on", "dataset", help="The dataset that the rule is fitted on; it has the labels of the version.")
@click.option("--unknown-label", help="The label of answers that are not believed, on wires without a word for doubt.")
@click.option("--off", is_flag=True, help="Remove the rule.")
@options.server
def reject(
    client: Client, name: str, version: str, *, below_precision: float | None, dataset: str | None,
    unknown_label: str | None, off: bool,
) -> None:  # fmt: skip
    """Let a version say which answers it does not believe.

    By default of the default version. A worker chooses the lowest score and the largest distance that are believed.

    \b
      inferq models reject flowers --below-precision 0.95 --on flowers --unknown-label unknown
      inferq models reject flowers --unknown-label none
      inferq models reject flowers 2 --off
    """
    if off and (below_precision is not None or dataset or unknown_label is not None):
        raise click.UsageError("--off takes no other option")
    if (below_precision is None) != (dataset is None):
        raise click.UsageError("--below-precision and --on belong together")
    if not off and below_precision is None and unknown_label is None:
        raise click.UsageError("give --below-precision and --on, --unknown-label, or --off")
    version = version or client.models.get(name).default_version
    if off:
        client.models.remove_rejection(name, version)
        console.remarks.print(f"{name} {version} believes all its answers", soft_wrap=True)
        return
    with console.remarks.status(f"fitting the rule of {name} {version}"):
        fit = client.models.reject(
            name, version, precision=below_precision, dataset=dataset, unknown_label=unknown_label or ""
        )
    if fit.error or fit.rejection is None:
        raise InferqError(f"{name} {version} has no new rule: {fit.error or 'it was removed meanwhile'}")
    console.out.print(f"{name} {version} {describe(fit.rejection)}", soft_wrap=True)


def describe(rule: Rejection) -> str:
    """Return a rule in words."""
    text = f"believes scores from {rule.min_score:.3f} on" if rule.min_score else "believes every score"
    if rule.max_distance is not None:
        text += f" of pictures within a distance of {rule.max_distance:.3f}"
    text += f", for a precision of {rule.precision:g}"
    return text + (
        f"; otherwise {rule.unknown_label!r} on wires without a word for doubt" if rule.unknown_label else ""
    )
