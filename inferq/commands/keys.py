"""`inferq keys` manages API keys and registered public keys."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click
from rich.text import Text

from inferq.client import Client
from inferq.commands import console, options, units
from shared.schemas.keys import Key

EXCHANGE = "/v2/oauth2/token"
"""Path at which a signed assertion is exchanged for a token."""
NARROW = 120
"""Columns of a terminal below which the list leaves out what --json tells, and puts names and tenants below
keys."""
SOON = 7 * units.SECONDS["d"]
"""Seconds before its expiry in which a key is marked, as in the diagnosis."""


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.option("--name", default="", help="A description of the key, shown in the list.")
@click.option("--tenant", default="", help="The tenant of the key; by default your own.")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    help="infer, models or keys, of those that your key has; repeat it for more. By default infer and models, and of "
    "the first key all three.",
)
@click.option("--stage", type=click.Choice(["live", "test"]), help="The stage of the key, with which the key begins.")
@click.option(
    "--expires", default="", callback=units.moment_ahead, metavar="WHEN",
    help="When the key expires: a time from now (12h, 30d), a time in RFC 3339, or Unix seconds. By default never.",
)  # fmt: skip
@click.option("--public-key", type=options.FILE, help="Register this public key (PEM) for --account; no key is made.")
@click.option("--account", default="", metavar="EMAIL", help="The account that has the private key of --public-key.")
@options.server
def create(
    client: Client,
    name: str,
    tenant: str,
    scopes: tuple[str, ...],
    stage: str | None,
    expires: str,
    public_key: Path | None,
    account: str,
) -> None:
    """Create a key, or register a public one.

    The key is shown only once, as only a hash of it is stored. From the first key on, requests without a key are
    refused on loopback too. It creates the others, so it has all scopes, if you name none:

    \b
      export INFERQ_KEY=$(inferq keys create --name owner)
      inferq keys create --name app --expires 90d

    Or register the public key of an account, whose clients sign assertions with the private key and exchange them for
    tokens:

    \b
      inferq keys create --public-key public.pem --account anna@example.org
    """
    if bool(public_key) != bool(account):
        raise click.UsageError("--public-key and --account go together")
    if public_key and stage:
        raise click.UsageError("--stage cannot be combined with --public-key, for which no key is created")
    first = not client.keys.list()  # who may ask sees at least the key he asks with, unless the door is open
    if public_key:
        pem = public_key.read_text(errors="replace")  # what is no text is no PEM, and refused as such
        created = client.keys.register(account, pem, name=name, tenant=tenant, scopes=scopes, expires=expires)
        _remark(f"Registered for {account}. An assertion is a JWT, signed with RS256, with exp and")
        _remark(f"  sub {account}")
        _remark(f"  aud {client.url}{EXCHANGE}    (or below INFERQ_PUBLIC_URL, if the server has one)")
        _remark("POST it there for a token, which is sent like a key.")
    else:
        created = client.keys.create(name, tenant=tenant, scopes=scopes, stage=stage or "", expires=expires)
        click.echo(created.key)
        _remark("Store it now: it cannot be shown again.")
    if created.expires:
        _remark(f"It expires on {console.local_time(created.expires)}.")
    _remark(f"To revoke it: inferq keys revoke {created.id}")
    if first:
        _remark("It is the first key: from now on every request needs a key.")


@keys.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """List the keys of your tenant, without their secrets.

    The tenant `default` lists the keys of all tenants.
    """
    entries = client.keys.list()
    if as_json:
        console.print_json(entries)
        return
    rows, titles = _narrow(entries) if console.out.width < NARROW else _wide(entries)
    console.print_rows(rows, *titles, empty="no keys")


@keys.command()
@click.argument("key_id", metavar="ID")
@click.option("--force", is_flag=True, help="Also the last key that can create and revoke keys, or the one of these "
              "that outlives the others.")  # fmt: skip
@options.server
def revoke(client: Client, key_id: str, force: bool) -> None:
    """Revoke a key; it is refused from then on."""
    client.keys.revoke(key_id, force=force)
    console.remarks.print(f"revoked {key_id}")


def _wide(entries: Sequence[Key]) -> tuple[list[tuple[str | Text, ...]], tuple[str, ...]]:
    """Return the rows of the list and their titles."""
    return [
        (
            key.id, _shown(key), key.tenant, key.name, " ".join(key.scopes), key.stage,
            console.local_time(key.created_at), _used(key), _expiry(key),
        )
        for key in entries
    ], ("id", "key", "tenant", "name", "scopes", "stage", "created", "last used", "expires")  # fmt: skip


def _narrow(entries: Sequence[Key]) -> tuple[list[tuple[str | Text, ...]], tuple[str, ...]]:
    """Return the rows and titles for a terminal of fewer than NARROW columns."""
    return [
        (
            key.id, "\n".join(filter(None, (_shown(key), key.name, f"of {key.tenant}"))), "\n".join(key.scopes),
            _used(key), _expiry(key),
        )
        for key in entries
    ], ("id", "key", "scopes", "used", "expires")  # fmt: skip


def _shown(key: Key) -> str:
    return key.account or f"{key.prefix}…"


def _used(key: Key) -> str:
    return f"{units.short(max(0.0, _since(key.last_used)))} ago" if key.last_used else "never"


def _expiry(key: Key) -> Text:
    """Return when a key expires, in the colour of what needs attention, or that it is refused already."""
    if key.revoked_at:
        return Text("revoked", style="dim")
    if not key.expires:
        return Text("never")
    left = -_since(key.expires)
    if left <= 0:
        return Text("expired", style="red")
    return Text(f"in {units.short(left)}", style="yellow" if left < SOON else "")


def _since(when: str) -> float:
    """Return the seconds since a time in RFC 3339; they are negative if it lies ahead."""
    return time.time() - datetime.fromisoformat(when).timestamp()


def _remark(text: str) -> None:
    console.remarks.print(text, style="dim", soft_wrap=True)
