"""Labels that people give to pictures, as arguments of a command."""

from __future__ import annotations

from collections.abc import Sequence

import click

from inferq.commands import console
from shared.schemas.datasets import Example


def right(labels: Sequence[str], *, is_none: bool) -> str | Sequence[str]:
    """Return the label, or the labels of a picture of a multi-label dataset; raises UsageError for labels and --none,
    or neither."""
    if bool(labels) == is_none:
        raise click.UsageError("name the label that the picture shows, or --none for none of a multi-label dataset")
    return labels[0] if len(labels) == 1 else labels


def tell(example: Example, labels: Sequence[str], *, as_json: bool) -> None:
    """Print which example a picture has become, and its labels."""
    if as_json:
        console.print_json(example)
        return
    shown = ", ".join(labels) or "no label"
    console.remarks.print(f"{example.name} is now example {example.id} of {shown}", soft_wrap=True)
