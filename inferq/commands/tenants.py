"""`inferq tenants` shows what tenants use, and shows and sets their limits."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options, units
from shared.schemas.tenant_limits import TenantLimits

TENANT = click.argument("tenant", metavar="TENANT")


@click.group()
def tenants() -> None:
    """Show what tenants use; show and set how much they may keep and send."""


@tenants.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """List the tenants that have limits of their own."""
    _print(client.tenants.list(), as_json)


@tenants.command()
@options.JSON
@options.server
def usage(client: Client, as_json: bool) -> None:
    """List what tenants use: keys, jobs, pictures, bytes and trainings.

    The tenant `default` lists all; others, themselves.
    """
    found = client.tenants.usage()
    if as_json:
        console.print_json(found)
        return
    console.print_rows(
        (
            (
                each.tenant,
                str(each.keys),
                str(each.jobs),
                f"{each.answered}, {each.failed} failed" if each.failed else str(each.answered),
                str(each.waiting),
                units.size(each.kept_bytes),
                f"{each.trainings}, {units.duration(each.training_seconds)}" if each.trainings else "0",
            )
            for each in found
        ),
        "tenant", "keys", "jobs", "pictures of a day", "waiting", "keeps", "trainings",
        empty="no tenants",
    )  # fmt: skip


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
@click.option("--keep-jobs", callback=units.seconds, metavar="TIME", help="How long finished jobs are kept: 12h, 30d.")
@click.option("--max-queued", type=click.IntRange(min=0), help="Pictures that may wait for one model version.")
@click.option("--pictures-per-minute", type=click.IntRange(min=1), help="Pictures in new jobs.")
@click.option(
    "--max-bytes", callback=units.size_in_bytes, metavar="SIZE", help="Bytes that may be kept in all: 500M, 20G."
)
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
                units.size(each.kept_bytes),
                "no limit" if each.max_bytes is None else units.size(each.max_bytes),
            )
            for each in found
        ),
        "tenant", "jobs kept", "most queued", "a minute", "keeps", "at most",
        empty="no tenant has limits of its own",
    )  # fmt: skip


def _mark(own: float | None) -> str:
    return " (setting)" if own is None else ""


def _duration(seconds: float) -> str:
    """Return seconds in the largest unit that gives a whole number."""
    unit = next((unit for unit in "dhm" if seconds and seconds % units.SECONDS[unit] == 0), "s")
    return f"{seconds / units.SECONDS[unit]:g}{unit}"
