"""Errands: what a worker is asked to do once for a version, such as to fit a rule, and why it could not.

    asked for ──> task ──> worker, under a lock ──> done: forgotten, or failed: the reason stays

An errand is a key-value pair: `request` with its `attempts`, or the `failure` of the last one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.container import Container, UnitOfWork


@dataclass(frozen=True)
class Errand:
    """One kind of errand."""

    task: str
    """The task that has a worker look at it; its argument is the id of the version."""
    prefix: str
    """The names of its key-value pairs are this and the id of the version."""
    lock: Callable[[str], str]
    """The name of the lock that a worker holds while it is at it, by the id of the version."""

    def name(self, version_id: str) -> str:
        """Return the name of the key-value pair of a version."""
        return f"{self.prefix}{version_id}"

    def stored(self, uow: UnitOfWork, version_id: str) -> dict[str, Any]:
        """Return what is stored for a version; empty if nothing is asked for and nothing has failed."""
        stored: dict[str, Any] = json.loads(uow.key_values.get(self.name(version_id)) or "{}")
        return stored

    def ask(self, uow: UnitOfWork, version_id: str, request: Mapping[str, Any]) -> None:
        """Store a request, in place of one that is not done yet; `call` a worker after the commit."""
        uow.key_values.set(self.name(version_id), json.dumps({"request": request}))

    def call(self, container: Container, version_id: str) -> None:
        """Have a worker look at a request, unless one is at it: that will see it."""
        if not container.queue.locks.is_held(self.lock(version_id)):
            container.queue.notifications.send_task(self.task, version_id)

    def begin(self, container: Container, uow: UnitOfWork, version_id: str) -> tuple[dict[str, Any], bool] | None:
        """Return (the request, True if another attempt is left, which is counted); None if there is no request."""
        stored = self.stored(uow, version_id)
        if "request" not in stored:
            return None
        attempts = stored.get("attempts", 0)
        if attempts >= container.settings.max_attempts:
            return stored["request"], False
        uow.key_values.set(self.name(version_id), json.dumps(stored | {"attempts": attempts + 1}))
        return stored["request"], True

    def put_back(self, container: Container, version_id: str) -> None:
        """Leave a request to another attempt, without counting this one: database or storage did not allow it."""
        with container.database.write() as uow:
            stored = self.stored(uow, version_id)
            if "request" in stored:
                left = stored | {"attempts": max(0, stored.get("attempts", 0) - 1)}
                uow.key_values.set(self.name(version_id), json.dumps(left))

    def call_again(self, container: Container) -> None:
        """Have workers look at the requests that none is at."""
        with container.database.read() as uow:
            stored = uow.key_values.get_prefixed(self.prefix)
        for name, value in stored.items():
            if "request" in json.loads(value):
                self.call(container, name.removeprefix(self.prefix))

    def fail(self, container: Container, version_id: str, request: Mapping[str, Any], reason: str) -> None:
        """Store and announce why a request cannot be met, unless it is not asked for any more."""
        with container.database.write() as uow:
            if uow.model_versions.find(version_id) and self.stored(uow, version_id).get("request") == request:
                uow.key_values.set(self.name(version_id), json.dumps({"failure": reason}))
        container.queue.events.publish([version_id])
