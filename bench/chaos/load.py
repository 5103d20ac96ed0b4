"""The steady load: one thread for each caller, at a pace that two cores bear with ease."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from bench.chaos import ways
from bench.chaos.journal import Journal, Request
from bench.chaos.receiver import Receiver
from bench.chaos.ways import Caller, Way

_ARCHIVED = 24
"""Pictures of one archive."""
_BURST = 800
"""Pictures of the archive that is on its way when a fault comes: about a second of work."""
BURST = "native, burst"


@dataclass(frozen=True)
class Lane:
    """What one caller does again and again."""

    name: str
    way: Way
    every: float
    """Seconds from the beginning of one request to that of the next, unless its answer takes longer."""
    pictures: int = 1
    callback: str = ""


def lanes(receiver: Receiver) -> list[Lane]:
    """Return the callers of a run: each way alone, archives, and jobs with callbacks."""
    url = receiver.url()
    return [
        *(Lane(name, way, 0.2) for name, way in ways.ALONE.items()),
        Lane("native, archive", ways.archived, 1.0, _ARCHIVED),
        Lane("native, callback", partial(ways.polled, webhook=url), 1.0, callback=url),
    ]


class Load:
    """Runs the lanes until it is stopped."""

    def __init__(self, journal: Journal, urls: Sequence[str], lanes: Sequence[Lane]) -> None:
        self.journal = journal
        self._urls = urls
        self._lanes = lanes
        self._stop = threading.Event()
        self._aborted = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(lane,), daemon=True) for lane in lanes]

    def start(self) -> None:
        """Start every caller."""
        for thread in self._threads:
            thread.start()

    def burst(self) -> Request:
        """Send one large archive, and return its request once it is accepted, or after 5 s; it goes on in a thread."""
        request = self._begin(BURST, _BURST)
        caller = Caller(self._urls, self._aborted.is_set)
        sending = partial(ways.send, caller, request, ways.archived, self.journal.now)
        thread = threading.Thread(target=sending, daemon=True)
        thread.start()
        self._threads.append(thread)
        for _ in range(500):
            if request.job_id or self._aborted.wait(0.01):
                break
        return request

    def stop(self) -> None:
        """Begin no other request, and wait until every caller has its answer or has given up."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def abort(self) -> None:
        """End the callers as soon as their current request to the service ends; it does not wait for that."""
        self._aborted.set()
        self._stop.set()

    def recovery(self, since: float) -> dict[str, float | None]:
        """Return for each lane the seconds after `since` when it had a right answer to a request that began later,
        None if it has not had one yet."""
        firsts: dict[str, float | None] = {lane.name: None for lane in self._lanes}
        for request in reversed(self.journal.requests):
            if request.began < since - ways.PATIENCE:
                break
            if request.began >= since and request.is_right and request.ended and request.way in firsts:
                firsts[request.way] = request.ended - since
        return firsts

    def _run(self, lane: Lane) -> None:
        caller = Caller(self._urls, self._aborted.is_set)
        try:
            while not self._stop.is_set():
                request = self.once(caller, lane.name, lane.way, lane.pictures, lane.callback)
                self._stop.wait(max(0.0, request.began + lane.every - self.journal.now()))
        finally:
            caller.close()

    def once(self, caller: Caller, name: str, way: Way, pictures: int = 1, callback: str = "") -> Request:
        """Send one request and return it when it has ended."""
        request = self._begin(name, pictures)
        request.callback = callback
        ways.send(caller, request, way, self.journal.now)
        return request

    def _begin(self, name: str, pictures: int) -> Request:
        return self.journal.begin(name, ways.digits(len(self.journal.requests), pictures))
