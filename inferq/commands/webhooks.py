"""`inferq webhooks` shows what was called back, sends it again, tests a receiver and rotates the secret."""

from __future__ import annotations

import click

from inferq.client import Client
from inferq.commands import console, options
from shared.schemas.webhooks import Delivery

DELIVERY = click.argument("delivery_id", metavar="ID")
KIND = click.option(
    "--kind", type=click.Choice(["job", "training", "drift"]), help="Only those of jobs, trainings or drift."
)


@click.group()
def webhooks() -> None:
    """List, show and resend webhooks; ping a receiver; rotate the secret."""


@webhooks.command("list")
@click.option("--status", default="", help="Only those with this status: WAITING, DELIVERED or FAILED.")
@KIND
@click.option("--job", "job_id", default="", metavar="ID", help="Only that of this job.")
@click.option("--training", "training_id", default="", metavar="ID", help="Only that of this training.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(min=1), help="At most this many.")
@options.JSON
@options.server
def list_(
    client: Client, status: str, kind: str | None, job_id: str, training_id: str, limit: int, as_json: bool
) -> None:
    """List the webhooks of the newest jobs, trainings and drifted days."""
    newest = client.webhooks.list(
        status=status.upper(), kind=kind or "", job_id=job_id, training_id=training_id, limit=limit
    )
    if as_json:
        console.print_json(newest)
        return
    console.print_rows(
        (
            (
                delivery.id,
                console.status(delivery.status).append(
                    f" {console.short_time(delivery.next_attempt_at)}" if delivery.next_attempt_at else "", "default"
                ),
                _answers(delivery),
                delivery.url,
            )
            for delivery in newest
        ),
        "id", "status", "answer", "url",
        empty="no webhooks",
    )  # fmt: skip


def _answers(delivery: Delivery) -> str:
    """Return the status of the last answer, and by how many attempts it was got: `500, 3 times`."""
    answer = "none" if delivery.response_status is None else str(delivery.response_status)
    return f"{answer}, {delivery.attempts} times" if delivery.attempts > 1 else answer if delivery.attempts else "–"


@webhooks.command()
@DELIVERY
@options.JSON
@options.server
def show(client: Client, delivery_id: str, as_json: bool) -> None:
    """Show the webhook of the job, training or drifted day ID."""
    delivery = client.webhooks.get(delivery_id)
    if as_json:
        console.print_json(delivery)
        return
    console.print_notes(_notes(delivery))


@webhooks.command()
@click.argument("delivery_id", metavar="[ID]", required=False)
@click.option("--failed", is_flag=True, help="All that have failed, instead of ID.")
@KIND
@options.server
def resend(client: Client, delivery_id: str | None, *, failed: bool, kind: str | None) -> None:
    """Send the webhook of the job, training or drifted day ID again."""
    if (delivery_id is None) != failed or (kind and not failed):
        raise click.UsageError("name the ID of one, or --failed for all that have failed, of one --kind if you like")
    if delivery_id is None:
        resent = client.webhooks.resend_failed(kind=kind or "")
        console.remarks.print(f"{console.count(resent, 'failed webhook')} sent again")
        return
    delivery = client.webhooks.resend(delivery_id)
    console.remarks.print(f"{delivery.id} is sent again to {delivery.url}", soft_wrap=True)


@webhooks.command()
@click.argument("receiver", metavar="URL")
@click.option("--secret", default="", help="Signs the ping; by default your tenant's secret, or the service's.")
@options.JSON
@options.server
def ping(client: Client, receiver: str, secret: str, as_json: bool) -> None:
    """Have the service call URL with a signed test event.

    Exits with 1 unless a status 2xx answers. The service sends it as it sends webhooks, so an address to which it sends
    none is refused.
    """
    result = client.webhooks.ping(receiver, secret=secret)
    if as_json:
        console.print_json(result)
    else:
        answer = result.error if result.response_status is None else f"answered {result.response_status}"
        signed = console.count(result.signatures, "signature") if result.signatures else "unsigned"
        console.out.print(f"{answer} after {result.milliseconds} ms ({signed})", soft_wrap=True)
    if not result.received:
        raise SystemExit(1)


@webhooks.command()
@click.option(
    "--overlap", default=86_400.0, show_default=True, type=click.FloatRange(min=0), metavar="SECONDS",
    help="How long the secret before it signs as well; 0 ends it now.",
)  # fmt: skip
@options.server
def rotate(client: Client, overlap: float) -> None:
    """Make a new secret, which signs your tenant's webhooks. Needs a key with the scope `keys`.

    The secret is shown only once. For the overlap, webhooks carry a signature by the secret before it as well, so that
    receivers can change to the new one at any time until then.
    """
    new = client.webhooks.rotate_secret(overlap=overlap)
    click.echo(new.secret)
    _remark("Store it now: it cannot be shown again.")
    if new.previous_until:
        _remark(f"The secret before it signs as well until {console.local_time(new.previous_until)}.")


def _notes(delivery: Delivery) -> list[tuple[str, str]]:
    lines = [
        (delivery.kind, delivery.id),
        ("url", delivery.url),
        ("status", delivery.status),
        ("attempts", str(delivery.attempts)),
        ("last attempt", console.local_time(delivery.last_attempt_at) if delivery.last_attempt_at else ""),
        ("answer", "" if delivery.response_status is None else str(delivery.response_status)),
        ("error", delivery.error),
        ("next attempt", console.local_time(delivery.next_attempt_at) if delivery.next_attempt_at else ""),
        ("body's SHA-256", delivery.body_sha256),
    ]
    return [(about, text) for about, text in lines if text]


def _remark(text: str) -> None:
    console.remarks.print(text, style="dim", soft_wrap=True)
