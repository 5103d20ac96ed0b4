"""Counts for metrics: a process adds them up in memory, and adds what is new to hashes in Redis every few seconds.

    request, batch ──> numbers in memory ──every 5 s──> hash of all models     ──> /metrics of any API process
                                                    ├─> hash of a tenant's own models together
                                                    └─> hash of each of these

The hashes belong to no process, so what a process has counted stays when it is gone.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Collection
from contextlib import suppress
from typing import TypeAlias

from shared import errors
from shared.adapters.queue.connection import Connection, translated_errors
from shared.domain.metrics import MILLIONTHS, SUM, Labels, Metric, Owner, Sums

log = logging.getLogger(__name__)

AFTER = 5.0
"""Seconds from the first number that is counted until those of that time are stored together."""
KEPT = 30 * 86_400
"""Seconds for which the numbers of a tenant's version are kept after the last; those of all versions stay."""

_Numbers: TypeAlias = dict[tuple[Owner | None, str, Labels, int], float]
"""Owner, metric, labels and place -> number."""


class Counts:
    """The counts of one process until they are stored, and those of all processes that are; any thread may call."""

    def __init__(self, connection: Connection) -> None:
        self._redis, self._key = connection.redis, connection.key
        self._lock = threading.Lock()
        self._storing = threading.Lock()
        self._numbers: _Numbers = {}
        self._timer: threading.Timer | None = None
        self._is_closed = False

    def add(self, metric: Metric, labels: Labels = (), number: float = 1, owner: Owner | None = None) -> None:
        """Count in a counter, in memory; `owner` is given if the model is that of a single tenant."""
        self._add({(owner, metric.name, labels, 0): number})

    def observe(
        self, metric: Metric, value: float, labels: Labels = (), owner: Owner | None = None, times: int = 1
    ) -> None:
        """Count a value, of at least 0, in a histogram, once or several times."""
        name, total = metric.name, round(value * MILLIONTHS) * times
        self._add({(owner, name, labels, metric.place(value)): times, (owner, name, labels, SUM): total})

    def _add(self, numbers: _Numbers) -> None:
        with self._lock:
            known = self._numbers
            for key, number in numbers.items():
                known[key] = known.get(key, 0.0) + number
            if self._timer is None and not self._is_closed:
                timer = threading.Timer(AFTER, self._store_later)
                timer.daemon = True
                with suppress(RuntimeError):  # no thread can be started: the next number tries again
                    timer.start()
                    self._timer = timer

    def store(self) -> None:
        """Add what is new to that of all processes. Raises Unavailable, and keeps it for the next time: if only the
        reply was lost, it is counted twice."""
        with self._storing:
            with self._lock:
                numbers, self._numbers = self._numbers, {}
            if not numbers:
                return
            try:
                self._write(numbers)
            except BaseException:
                self._add(numbers)
                raise

    def read(self, tenant: str, version_ids: Collection[str]) -> tuple[Sums, Sums, dict[str, Sums]]:
        """Return the stored sums over all models, those over the models of the tenant, and by version id those of some
        versions; the models of single tenants have the labels HIDDEN."""
        keys = [self._key("counts"), self._key("counts", "tenant", tenant), *map(self._version_key, version_ids)]
        # All of one moment: if those of the tenant were newer than those of all, the difference would fall.
        with translated_errors(), self._redis.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.hgetall(key)
            of_all, of_tenant, *of_versions = [_sums(stored) for stored in pipe.execute()]
        return of_all, of_tenant, dict(zip(version_ids, of_versions, strict=True))

    def close(self) -> None:
        """Store what is new, and start no further timer."""
        with self._lock:
            self._is_closed = True
            if self._timer:
                self._timer.cancel()
        try:
            self.store()
        except errors.Unavailable as error:
            log.info("the last counts are lost: %s", error.message)

    def _store_later(self) -> None:
        with self._lock:
            self._timer = None
        try:
            self.store()
        except errors.Unavailable as error:
            log.info("counts are stored later: %s", error.message)
        except Exception:
            log.exception("counts are stored later")

    def _write(self, numbers: _Numbers) -> None:
        # All or nothing: of a pipeline without a transaction, a Redis that becomes full would take a part.
        with translated_errors(), self._redis.pipeline(transaction=True) as pipe:
            for (owner, metric, labels, place), number in numbers.items():
                field = json.dumps([metric, place, *labels], separators=(",", ":"))
                pipe.hincrbyfloat(self._key("counts"), field, number)
                if owner:
                    pipe.hincrbyfloat(self._key("counts", "tenant", owner.tenant), field, number)
                    pipe.hincrbyfloat(self._version_key(owner.version_id), field, number)
            for version_id in {owner.version_id for owner, *_ in numbers if owner}:
                pipe.expire(self._version_key(version_id), KEPT)
            pipe.execute()

    def _version_key(self, version_id: str) -> str:
        return self._key("counts", "version", version_id)


def _sums(stored: dict[str, str]) -> Sums:
    sums = Sums()
    for field, number in stored.items():
        metric, place, *labels = json.loads(field)
        sums.add(metric, tuple(labels), place, float(number))
    return sums
