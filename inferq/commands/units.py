"""Times and sizes, as users write them in options and read them in the output."""

from __future__ import annotations

import re
import time

import click

SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)([smhd])")
_BYTES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


def seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Return a time such as `15m`, `12h` or `30d` in seconds; a number without a unit is seconds already.

    An option's callback; raises BadParameter.
    """
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts:
        raise click.BadParameter(f"{text!r} is no time such as 12h or 30d")
    return float(parts[1]) * SECONDS[parts[2] or "s"]


def moment(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """Return a time such as `2h` as the Unix seconds so long ago; others as they are, for the server to read.

    An option's callback.
    """
    return _from_now(text, -1)


def moment_ahead(_ctx: click.Context, _param: click.Parameter, text: str) -> str:
    """Return a time such as `30d` as the Unix seconds in so long; others as they are, for the server to read.

    An option's callback.
    """
    return _from_now(text, 1)


def size_in_bytes(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Return a size such as `500M` or `20G` in bytes; a number without a unit is bytes already.

    An option's callback; raises BadParameter.
    """
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.upper())
    if not parts:
        raise click.BadParameter(f"{text!r} is no size such as 500M or 20G")
    return int(float(parts[1]) * _BYTES[parts[2]])


def duration(of: float) -> str:
    """Return seconds in their usual unit: `4.2 s`, `38 s`, `12 min`, `3.5 h`, `4 days`."""
    for most, unit, figures, name in ((10, 1, ".1f", "s"), (90, 1, ".0f", "s"), (5400, 60, ".0f", "min"),
                                      (172_800, 3600, ".1f", "h")):  # fmt: skip
        if of < most:
            return f"{of / unit:{figures}} {name}"
    return f"{of / 86_400:.0f} days"


def short(of: float) -> str:
    """Return seconds, rounded, in the largest unit of options of which there is at least one: `12s`, `3h`, `30d`."""
    unit = next((unit for unit in "dhm" if of >= SECONDS[unit]), "s")
    return f"{of / SECONDS[unit]:.0f}{unit}"


def size(of: float) -> str:
    """Return bytes in the largest unit of which there is at least one: `840 B`, `1.5 MiB`, `20 GiB`."""
    unit = next((unit for unit in "TGMK" if of >= _BYTES[unit]), "")
    return f"{of / _BYTES[unit]:.1f}".removesuffix(".0") + f" {unit}iB" if unit else f"{of:.0f} B"


def _from_now(text: str, sign: int) -> str:
    """Return a time such as `2h` as the Unix seconds so long ahead, or ago if the sign is negative; others as they
    are."""
    parts = _SPAN.fullmatch(text)
    return f"{time.time() + sign * float(parts[1]) * SECONDS[parts[2]]:.3f}" if parts else text
