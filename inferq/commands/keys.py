"""`inferq keys`: who may use the service."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import options, screen


@click.group()
def keys() -> None:
    """Create, list and revoke API keys."""


@keys.command()
@click.option("--name", default="", help="What the key is for; shown in the list.")
@click.option("--tenant", default="", help="Whose key it is; your own tenant where none is named.")
@click.option("--scope", "scopes", multiple=True, help="infer, models or keys, once for each; without: infer, models.")
@options.server
def create(client: Client, name: str, tenant: str, scopes: tuple[str, ...]) -> None:
    """Create a key.

    It is shown this once: only a hash of it is kept. The first key closes the open door of loopback, so let it be one
    that can make others:

    \b
      export INFERQ_KEY=$(inferq keys create --name owner --scope infer --scope models --scope keys)
    """
    first = not client.keys()  # who may ask sees at least the key he asks with, unless the door is open
    made = client.create_key(name, tenant=tenant, scopes=scopes)
    click.echo(made["key"])
    screen.remarks.print("Keep it: it cannot be shown again.", style="dim")
    screen.remarks.print(f"To revoke it: inferq keys revoke {made['id']}", style="dim", soft_wrap=True)
    if first:
        screen.remarks.print("It is the first key: from now on every request needs one.", style="dim")


@keys.command("list")
@options.JSON
@options.server
def list_(client: Client, as_json: bool) -> None:
    """The keys that you manage, without what must stay secret.

    Those of your tenant; the tenant `default` manages everybody's.
    """
    found = client.keys()
    if as_json:
        screen.print_json(found)
        return
    screen.print_rows(
        (
            (
                key["id"],
                f"{key['prefix']}…",
                key.get("tenant", ""),
                key.get("name", ""),
                " ".join(key.get("scopes") or ()),
                screen.local_time(key.get("created_at", "")),
                "revoked" if key.get("revoked_at") else "valid",
            )
            for key in found
        ),
        "id", "key", "tenant", "name", "scopes", "created", "state",
        empty="no keys",
    )  # fmt: skip


@keys.command()
@click.argument("key_id", metavar="ID")
@options.server
def revoke(client: Client, key_id: str) -> None:
    """Make a key worthless, at once."""
    client.revoke_key(key_id)
    screen.remarks.print(f"revoked {key_id}")
