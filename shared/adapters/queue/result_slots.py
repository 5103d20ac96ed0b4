"""The slots of the result cache hold short texts that expire or are replaced by the next text for the same slot."""

from __future__ import annotations

from collections.abc import Mapping

from shared.adapters.queue.connection import Connection, translated_errors


class ResultSlots:
    """Texts by slot."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key = connection.redis, connection.key

    def put(self, slots: Mapping[str, str], seconds: float) -> None:
        """Put a text into each slot; it stays for `seconds` or until another text replaces it."""
        with translated_errors(), self._redis.pipeline(transaction=False) as pipe:
            for slot, text in slots.items():
                pipe.set(self._key("cache", slot), text, px=int(seconds * 1000))
            pipe.execute()

    def get(self, slot: str) -> str | None:
        """Return the text in a slot; None when the slot is empty."""
        with translated_errors():
            value: str | None = self._redis.get(self._key("cache", slot))
        return value
