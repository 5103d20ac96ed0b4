"""One worker process: its name, its engine, what it holds, and the heart that tells the fleet it lives."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from shared import errors, models
from shared.models import State, Version
from shared.queue import Entry
from shared.tenants import DEFAULT
from shared.tools import Tools
from worker import batches, checking
from worker.engine import Engine

log = logging.getLogger(__name__)

WEDGED = 60.0
"""Seconds that one picture may take in decoding or, times the batch, in the model; more is taken to hang, and the
process ends itself. Generous, because a large vision transformer on one core takes some twenty."""


class Runner:
    """Everything of a worker that is not torch and not Celery.

    The id is random per process: a restarted container with the same host name must not pass for its dead
    predecessor, whose pictures would then never lapse.
    """

    def __init__(self, tools: Tools) -> None:
        self.tools = tools
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.engine = Engine(tools.settings, tools.storage.read)
        self.stopping = threading.Event()
        self.rates: dict[str, float] = {}
        self.lapsed_at: dict[str, float] = {}
        """Version -> when it was last looked for pictures of silent workers (monotonic seconds)."""
        self._ready: dict[str, Version] = {}
        self._held: dict[str, Entry] = {}
        self._lock = threading.Lock()
        self._busy: dict[int, float] = {}
        """Thread -> when it must be done with what it has in hand (monotonic seconds)."""
        self._since = time.time()
        self._done = 0
        self._batches = 0

    def join(self) -> None:
        """Start the heart; the fleet knows of this worker when this returns, or as soon as the queue answers."""
        try:
            self._beat()
        except errors.Unavailable as error:  # Celery would swallow it, and leave a worker without a heart
            log.warning("heartbeat: %s", error.message)
        threading.Thread(target=self._heart, name="heart", daemon=True).start()

    def preload(self) -> None:
        """Load the default model, so that the first request does not wait for it; what goes wrong then says why."""
        try:
            version = models.find(self.tools, DEFAULT)
            if version.state is State.READY:
                self.engine.load(version)
        except errors.InferqError as error:
            log.warning("the default model is not loaded yet: %s", error.message)

    def stop(self) -> None:
        """Finish what is claimed, claim no more."""
        self.stopping.set()

    def drain(self, version_id: str) -> None:
        batches.drain(self, version_id)

    def check(self, version_id: str) -> None:
        """Checking may download and takes its time, so it gets its own thread and pictures are served meanwhile."""
        threading.Thread(target=checking.check, args=(self, version_id), name="check", daemon=True).start()

    def ready(self, version_id: str) -> Version | None:
        """The version if it is READY. It is asked of SQL once: a READY version never changes, it is only removed."""
        if version_id not in self._ready:
            with self.tools.records.read() as r:
                version = r.versions.get(version_id)
            if version is None or version.state is not State.READY:
                return None
            self._ready[version_id] = version
        return self._ready[version_id]

    def is_gone(self, version_id: str) -> bool:
        """Whether the version was removed."""
        with self.tools.records.read() as r:
            return r.versions.get(version_id) is None

    def hold(self, entries: Sequence[Entry]) -> None:
        with self._lock:
            self._held.update({entry.id + entry.lane: entry for entry in entries})

    def release(self, entries: Sequence[Entry]) -> None:
        """Their outcome is stored."""
        with self._lock:
            for entry in entries:
                self._held.pop(entry.id + entry.lane, None)

    def release_all(self) -> None:
        with self._lock:
            self._held.clear()

    @contextmanager
    def timed(self, pictures: int = 1) -> Iterator[None]:
        """Around what must end: the heart ends a process that hangs in it, and the pictures count a death."""
        me = threading.get_ident()
        self._busy[me] = time.monotonic() + WEDGED * max(1, pictures)
        try:
            yield
        finally:
            del self._busy[me]

    @contextmanager
    def batch(self, version_id: str, size: int) -> Iterator[None]:
        """Around the forward pass, to learn the rate from it."""
        started = time.monotonic()
        with self.timed(size):
            yield
        rate = size / max(1e-6, time.monotonic() - started)
        self.rates[version_id] = 0.8 * self.rates.get(version_id, rate) + 0.2 * rate
        self._done += size
        self._batches += 1

    def _heart(self) -> None:
        every = self.tools.settings.lease / 4
        while not self.stopping.wait(every) or self._held:
            try:
                self._beat()
                with self._lock:
                    held = list(self._held.values())
                self.tools.queue.renew(self.id, held)
            except errors.Unavailable as error:
                log.warning("heartbeat: %s", error.message)
            except Exception:  # a heart that stops would give away what this worker is working on
                log.exception("heartbeat")
            if any(time.monotonic() > limit for limit in list(self._busy.values())):
                log.critical("pictures have been worked on for more than %.0f s each; this worker ends itself", WEDGED)
                os._exit(70)
            if self.stopping.is_set():
                time.sleep(every)  # stopping no longer paces the loop, and held pictures still need their lease
        self._leave()

    def _beat(self) -> None:
        about = {
            "since": self._since,
            "device": str(self.engine.device),
            "engine": self.engine.description,
            "models": self.engine.loaded(),
            "pictures": self._done,
            "batches": self._batches,
            "rates": self.rates,
            "holds": len(self._held),
        }
        self.tools.queue.beat(self.id, about, self.tools.settings.lease)

    def _leave(self) -> None:
        try:
            self.tools.queue.leave(self.id)
        except errors.Unavailable:
            log.debug("could not say goodbye; the fleet forgets this worker by itself")
