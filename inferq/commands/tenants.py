"""`inferq tenants` shows and sets the limits of tenants."""

from __future__ import annotations

import re

import click

from inferq.client import Client
from inferq.commands import console, options
from shared.schemas.tenant_limits import TenantLimits

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SIZES = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}
TENANT = click.argument("tenant", metavar="TENANT")


def _seconds(_ctx: click.Context, _param: click.Parameter, text: str | None) -> float | None:
    """Return a time such as `15m`, `12h` or `30d` in seconds; a number without a unit is seconds already."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd]?)", text)
    if not parts:
        raise click.BadParameter(f"{text!r} is no time such as 12h or 30d")
    return float(parts[1]) * _UNITS[parts[2] or "s"]


def _bytes(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Return a size such as `500M` or `20G` in bytes; a number without a unit is bytes already."""
    if text is None:
        return None
    parts = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.upper())
    if not parts:
        raise click.BadParameter(f"{text!r} is no size such as 500M or 20G")
    return int(float(parts[1]) * _SIZES[parts[2]])


@click.group()
def tenants() -> None:
    """Show and set how long the jobs of a tenant are kept, and how much it may send and keep."""


@tenants.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """List the tenants that have limits of their own."""
    _print(client.tenants.list(), as_json)


@tenants.command()
@TENANT
@options.JSON
@options.server
def show(client: Client, tenant: str, as_json: bool) -> None:
    """Show the limits of a tenant, and the bytes that it keeps."""
    limits = client.tenants.limits(tenant)
    if as_json:
        console.print_json(limits)
    else:
        _print([limits], as_json)


@tenants.command("set")
@TENANT
@click.option("--keep-jobs", callback=_seconds, metavar="TIME", help="How long finished jobs are kept: 12h, 30d.")
@click.option("--max-queued", type=click.IntRange(min=0), help="Pictures that may wait for one model version.")
@click.option("--pictures-per-minute", type=click.IntRange(min=1), help="Pictures in new jobs.")
@click.option("--max-bytes", callback=_bytes, metavar="SIZE", help="Bytes that may be kept in all: 500M, 20G.")
@click.option("--reset", is_flag=True, help="Remove the limits first, so that the server's settings apply.")
@options.server
def set_(
    client: Client,
    tenant: str,
    keep_jobs: float | None,
    max_queued: int | None,
    pictures_per_minute: int | None,
    max_bytes: int | None,
    reset: bool,
) -> None:
    """Set limits of a tenant; those that are not named stay.

    \b
      inferq tenants set acme --keep-jobs 30d --pictures-per-minute 600
      inferq tenants set acme --max-bytes 20G
      inferq tenants set acme --reset
    """
    before = None if reset else client.tenants.limits(tenant)
    limits = client.tenants.set_limits(
        tenant,
        keep_jobs=before.keep_jobs if before and keep_jobs is None else keep_jobs,
        max_queued=before.max_queued if before and max_queued is None else max_queued,
        pictures_per_minute=before.pictures_per_minute
        if before and pictures_per_minute is None
        else pictures_per_minute,
        max_bytes=before.max_bytes if before and max_bytes is None else max_bytes,
    )
    _print([limits], as_json=False)


def _print(found: list[TenantLimits], as_json: bool) -> None:
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (
                each.tenant,
                _duration(each.in_effect.keep_jobs) + _mark(each.keep_jobs),
                f"{each.in_effect.max_queued}{_mark(each.max_queued)}",
                each.in_effect.pictures_per_minute or "no limit",
                _size(each.kept_bytes),
                "no limit" if each.max_bytes is None else _size(each.max_bytes),
            )
            for each in found
        ),
        "tenant", "jobs kept", "pictures queued", "pictures a minute", "bytes kept", "at most",
        empty="no tenant has limits of its own",
    )  # fmt: skip


def _mark(own: float | None) -> str:
    return " (setting)" if own is None else ""


def _duration(seconds: float) -> str:
    """Return seconds in the largest unit that gives a whole number."""
    unit = next((unit for unit in "dhm" if seconds and seconds % _UNITS[unit] == 0), "s")
    return f"{seconds / _UNITS[unit]:g}{unit}"


def _size(count: int) -> str:
    """Return bytes in the largest unit of which there is at least one, with one digit behind the point."""
    unit = next((unit for unit in "TGMK" if count >= _SIZES[unit]), "")
    return f"{count / _SIZES[unit]:.1f} {unit}iB" if unit else f"{count} B"
