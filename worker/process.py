"""A worker process: its name, its engine, the entries that it holds, and its heartbeat."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from shared import errors
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import ModelState, ModelVersion
from shared.domain.stream_entry import StreamEntry
from shared.services import absences, history, jobs, models
from worker.counting import Counting
from worker.engine import Engine
from worker.explanations import Explainer
from worker.judging import Judges
from worker.memory import card_bytes, resident_bytes
from worker.rate import Rate
from worker.search import Search
from worker.seen_pictures import SeenChoices
from worker.tuning import Tuner

log = logging.getLogger(__name__)

HANGING_SECONDS = 60.0
"""Seconds that decoding one picture, or the model per picture of a batch, may take; after that the process is
considered to hang and exits. Generous, because a large vision transformer on one core takes some twenty."""

FRESH = 2.0
"""Seconds for which a version is not read from SQL again."""
COUNTS_EVERY = 10.0
"""Seconds after which a worker stores what it has counted for the history."""


class WorkerProcess:
    """The state of a worker that depends on neither torch nor Celery.

    The id is random per process: a restarted container with the same host name must not renew the leases of its crashed
    predecessor, whose pictures would then never expire.
    """

    def __init__(self, container: Container) -> None:
        self.container = container
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self.engine = Engine(container.settings, container.storage.read)
        self.judges = Judges(container.storage.read)
        self.tuner = Tuner(container, self.engine.make_room_beside)
        self.search = Search(container)
        self.seen_choices = SeenChoices(container)
        self.explainer = Explainer(container, self.engine.device)
        self.stopping = threading.Event()
        self.rates: dict[str, float] = {}
        """Version -> pictures per second, from one batch to the next."""
        self._rates: dict[str, tuple[str, Rate]] = {}
        """Version -> the runtime of its network, and the rate with that."""
        self._forward: dict[str, float] = {}
        """Version -> seconds that its network takes for a picture, mostly of the last few batches."""
        self.decoding: dict[str, float] = {}
        """Version -> seconds of CPU time that decoding a picture takes, mostly of the last few."""
        self.expired_checked_at: dict[str, float] = {}
        """Version -> when it was last looked for pictures of silent workers (monotonic seconds)."""
        self.consuming = threading.Lock()
        """Held while pictures are run: a network runs in one thread at a time."""
        self.waits_for = ""
        """Why it runs no pictures, for its heartbeat, such as a storage that does not answer; empty if it does."""
        self._ready: dict[str, tuple[ModelVersion, float]] = {}
        """Version id -> the version, and when it was read (monotonic seconds)."""
        self._held: dict[str, StreamEntry] = {}
        self._new: dict[str, float] = {}
        """Held job -> Unix seconds at which it was claimed, until a heartbeat has marked it RUNNING."""
        self._lock = threading.Lock()
        self._leases = threading.Lock()
        """Held while leases are renewed or given back: one that was just given back must not be renewed."""
        self._is_registered = False
        self._busy: dict[int, float] = {}
        """Thread -> when its watchdog expires (monotonic seconds)."""
        self.counting = Counting()
        self._since = self._claimed_at = container.now()
        self._done = 0
        self._batches = 0

    def register(self) -> None:
        """Start the heartbeat, unless it runs; the worker is registered when this returns, or as soon as the queue
        answers."""
        with self._lock:
            if self._is_registered:
                return
            self._is_registered = True
        try:
            self._heartbeat()
        except errors.Unavailable as error:  # Celery would swallow it, and the worker would have no heartbeat
            log.warning("heartbeat: %s", error.message)
        # The marks in a thread of their own: a database that hangs must not keep the leases from being renewed.
        every = self.container.settings.lease / 4
        for step in ((self._beat, every), (self._mark_running, every), (self._store_counts, COUNTS_EVERY)):
            threading.Thread(target=self._repeat, args=step, name="heartbeat", daemon=True).start()

    def preload(self) -> None:
        """Load the default model, so that the first request does not wait for it; errors are logged only."""
        try:
            version = models.get_version(self.container, DEFAULT_TENANT)
            if version.state is ModelState.READY:
                self.engine.load(version)
        except errors.NotFound:
            log.debug("the catalogue is not filled yet")  # true at the first start of an installation
        except Exception:  # if this model fails, the worker still runs the others
            log.exception("the default model cannot be loaded")

    def stop(self) -> None:
        """Finish the claimed entries and claim no more."""
        self.stopping.set()
        self.tuner.close()

    def deregister(self) -> None:
        """Remove the worker from the registry; called at the end of its process, when its last batch is done.

        Not by the heartbeat thread, which the end of the process may cut off. Without Redis the entry expires later.
        """
        self.container.queue.counts.close()
        with suppress(errors.Unavailable):
            self.container.queue.workers.deregister(self.id)
            self._store_counts()

    def find_ready(self, version_id: str) -> ModelVersion | None:
        """Return the version if it is READY, as it was FRESH seconds ago at most: its rejection rule may change. While
        the database is away, as it was before."""
        known, read_at = self._ready.get(version_id, (None, 0.0))
        if known and time.monotonic() < read_at + FRESH:
            return known
        try:
            version = models.find_version_by_id(self.container, version_id)
        except errors.Unavailable:
            if known is None:
                raise
            return known
        if version is None or version.state is not ModelState.READY:
            return None
        self._ready[version_id] = version, time.monotonic()
        return version

    def is_removed(self, version_id: str) -> bool:
        """Return True if the version was removed."""
        return models.find_version_by_id(self.container, version_id) is None

    def hold(self, entries: Sequence[StreamEntry]) -> None:
        """Add claimed entries, whose leases the heartbeat then renews."""
        if not entries:
            return
        now = self._claimed_at = self.container.now()
        with self._lock:
            self._held.update({entry.id + entry.stream: entry for entry in entries})
            # `begin` sees to the others; a job whose deadline has passed must not be RUNNING before it looks.
            self._new.update({entry.job_id: now for entry in entries if entry.is_quick})

    def release(self, entries: Sequence[StreamEntry]) -> None:
        """Remove entries whose outcome is stored."""
        with self._lock:
            for entry in entries:
                self._held.pop(entry.id + entry.stream, None)
                self._new.pop(entry.job_id, None)

    def put_back(self, entries: Sequence[StreamEntry]) -> None:
        """Give entries back, to be claimed at once and without counting this attempt. Raises Unavailable; they are
        still held then."""
        with self._leases:  # no heartbeat comes between, which would renew them
            self.container.queue.streams.put_back(self.id, entries, at_once=True)
            self.release(entries)

    def put_back_all(self) -> None:
        """Give back all entries, in the same way; if Redis is away, their leases expire."""
        with self._lock:
            held = list(self._held.values())
        with suppress(errors.Unavailable):
            self.put_back(held)
        self.release(held)

    def release_all(self) -> None:
        """Remove all entries; their leases then expire."""
        with self._lock:
            self._held.clear()
            self._new.clear()

    @contextmanager
    def watchdog(self, pictures: int = 1) -> Iterator[None]:
        """Watchdog. If the block takes longer than HANGING_SECONDS per picture, the heartbeat thread kills the process,
        and the attempt count of each of its pictures rises."""
        me = threading.get_ident()
        self._busy[me] = time.monotonic() + HANGING_SECONDS * max(1, pictures)
        try:
            yield
        finally:
            del self._busy[me]

    def count(
        self, version_id: str, pictures: int, began: float, ended_at: float, forward: float | None, runtime: str = ""
    ) -> None:
        """Count a batch that took from one time to another (monotonic seconds), with all that belongs to it, and
        `forward` seconds in the network, in the rates of its version with this runtime: those of the one before say
        nothing, once another has taken its place; nor do those of explained pictures, for which `forward` is None."""
        if forward is not None:
            self._forward[version_id] = _moving(self._forward.get(version_id), forward / max(1, pictures))
            counted, rate = self._rates.get(version_id, (runtime, Rate()))
            if counted != runtime:
                rate = Rate()
            self._rates[version_id] = runtime, rate
            rate.add(pictures, began, ended_at)
            self.rates[version_id] = rate.per_second
        self._done += pictures
        self._batches += 1

    def network_rate(self, version_id: str) -> float:
        """Return the pictures per second of the network alone, without decoding and recording; 0 before it has run."""
        seconds = self._forward.get(version_id, 0.0)
        return 1 / seconds if seconds else 0.0

    def count_decoded(self, version_id: str, seconds: float) -> None:
        """Count a picture that was decoded in so many seconds of CPU time."""
        self.decoding[version_id] = _moving(self.decoding.get(version_id), seconds)

    def _repeat(self, step: Callable[[], None], every: float) -> None:
        """Run a step every so many seconds, until the worker stops and holds nothing any more."""
        while not self.stopping.wait(every) or self._held:
            try:
                step()
            except errors.Unavailable as error:
                log.warning("heartbeat: %s", error.message)
            except Exception:  # without a heartbeat, other workers would claim this worker's entries
                log.exception("heartbeat")
            if self.stopping.is_set():
                time.sleep(every)  # `stopping.wait` no longer blocks, and held pictures still need their lease

    def _beat(self) -> None:
        """Renew the registration and the leases; end the process if it hangs."""
        if any(time.monotonic() > limit for limit in list(self._busy.values())):
            log.critical(
                "pictures have been worked on for more than %.0f s each; this worker ends itself", HANGING_SECONDS
            )
            os._exit(70)
        self._renew()  # first: a full Redis takes no registration, but renews leases
        self._heartbeat()

    def _renew(self) -> None:
        """Renew the leases of the entries that it holds."""
        with self._leases:
            with self._lock:
                held = list(self._held.values())
            self.container.queue.streams.renew(self.id, held)

    def _mark_running(self) -> None:
        """Set the jobs RUNNING that are held for so long that a caller may look at them. Raises Unavailable; the next
        heartbeat then marks them."""
        with self._lock:
            seen = dict(self._new)
        if seen:
            jobs.mark_running(self.container, seen)
        with self._lock:
            for job_id, claimed_at in seen.items():
                if self._new.get(job_id) == claimed_at:
                    del self._new[job_id]

    def _store_counts(self) -> None:
        """Add what was counted to the history. Raises Unavailable; it is added at the next time then."""
        counts = self.counting.take()
        try:
            history.add(self.container, counts)
        except BaseException:
            self.counting.give_back(counts)
            raise

    def _heartbeat(self) -> None:
        about = {
            "since": self._since,
            "device": str(self.engine.device),
            "engine": self.engine.description,
            "models": self.engine.loaded(),
            "runtimes": self.engine.runtimes(),
            "memory": resident_bytes(),
            "card_memory": card_bytes(self.engine.device),
            "pictures": self._done,
            "batches": self._batches,
            "rates": self.rates,
            "holds": len(self._held),
            "claimed_at": self._claimed_at,
            "waits_for": self.waits_for,
            "missing": absences.report(self.container),
        }
        self.container.queue.workers.heartbeat(self.id, about, self.container.settings.lease)


def _moving(before: float | None, now: float) -> float:
    """Return the moving mean after one more value."""
    return now if before is None else 0.8 * before + 0.2 * now
