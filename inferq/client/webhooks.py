"""Webhooks: list and resend deliveries, ping a receiver, rotate the secret."""

from __future__ import annotations

from inferq.client import http
from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import Connection, read
from shared.schemas.webhooks import Delivery, DeliveryPage, NewWebhookSecret, PingResult, Resent

_PING = 30.0
"""Seconds in which the server has the answer to a ping, or has given it up."""


class AsyncWebhooks:
    """The webhooks of the key's tenant."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def list(
        self, *, status: str = "", kind: str = "", job_id: str = "", training_id: str = "", limit: int = 50
    ) -> list[Delivery]:
        """Return the deliveries of the newest jobs and trainings, at most `limit`, from as many pages as needed.

        `status` is WAITING, DELIVERED or FAILED, `kind` is job, training or drift.
        """
        query = {"status": status, "kind": kind, "job_id": job_id, "training_id": training_id}
        return await self._connection.entries(
            "/v1/webhooks/deliveries", DeliveryPage, lambda page: page.deliveries, query, limit
        )

    async def get(self, delivery_id: str) -> Delivery:
        """Return a delivery; its id is that of its job, training or drifted day."""
        return read(Delivery, await self._connection.get(_path(delivery_id)))

    async def resend(self, delivery_id: str) -> Delivery:
        """Send a callback again, whether it was received or not; return the delivery, which is due now."""
        return read(Delivery, await self._connection.request("POST", f"{_path(delivery_id)}/resend"))

    async def resend_failed(self, *, kind: str = "") -> int:
        """Send every callback again that has failed for good, with as many calls as that takes; return their number.

        `kind` is job, training or drift, by default all.
        """
        count, wanted = 0, {"kind": kind, "cursor": ""}
        while True:
            answer = await self._connection.request("POST", "/v1/webhooks/deliveries/resend", json=wanted)
            part = read(Resent, answer)
            count += part.deliveries
            if not part.next:
                return count
            wanted["cursor"] = part.next

    async def ping(self, url: str, *, secret: str = "") -> PingResult:
        """Have the server call the URL with a signed test event, and return what came back.

        `secret` signs it, by default that of the tenant or the service. Raises InferqHTTPError for a URL to which the
        server sends no callbacks.
        """
        wanted = {"url": url} | ({"secret": secret} if secret else {})
        timeout = self._connection.timeout + _PING
        return read(
            PingResult, await self._connection.request("POST", "/v1/webhooks/ping", json=wanted, timeout=timeout)
        )

    async def rotate_secret(self, *, overlap: float = 86_400.0) -> NewWebhookSecret:
        """Make a new secret for the tenant; only this answer contains it. The one before it signs as well for `overlap`
        seconds."""
        path = "/v1/webhooks/secret/rotate"
        return read(NewWebhookSecret, await self._connection.request("POST", path, json={"overlap": overlap}))


class Webhooks(Blocking[AsyncWebhooks]):
    """The webhooks of the key's tenant."""

    list = blocking(AsyncWebhooks.list)
    get = blocking(AsyncWebhooks.get)
    resend = blocking(AsyncWebhooks.resend)
    resend_failed = blocking(AsyncWebhooks.resend_failed)
    ping = blocking(AsyncWebhooks.ping)
    rotate_secret = blocking(AsyncWebhooks.rotate_secret)


def _path(delivery_id: str) -> str:
    return f"/v1/webhooks/deliveries/{http.word(delivery_id)}"
