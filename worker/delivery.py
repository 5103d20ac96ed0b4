"""Webhook delivery: callbacks are sent side by side, retried later, and never fail their job.

    job ends ──> task deliver ──┐                        ┌── thread ── signed POST ── record ──┐
    sweep: some is due ─────────┴──> due ──> claimed ────┼── thread ── …                       │
                                      ▲     in SQL       └── thread ── …                       │
                                      └────────────── a place is free again ───────────────────┘

Several processes may deliver: a claim in SQL keeps them apart. A delivery whose process was killed is due again when
its claim ends, so a receiver gets every callback at least once, and the id by which it notices a second one.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from shared import errors
from shared.container import Container
from shared.domain.drift import ADVICE, SENTENCES, VERDICTS
from shared.domain.webhooks import Attempt, Delivery
from shared.schemas.common import moment_at
from shared.schemas.jobs import ModelReference, Progress
from shared.schemas.webhooks import DriftedDay, DriftEvent, EndedJob, EndedTraining, JobEvent, TrainingEvent
from shared.services import drift, job_log, job_traces, jobs, trainings, webhook_deliveries, webhooks
from worker.delivery_places import DeliveryPlaces

log = logging.getLogger(__name__)

CLAIM = 60.0
"""Seconds for which a delivery is reserved for the process that took it; much longer than an attempt may take."""
LOOK = 100
"""Deliveries that are read at once."""


class Deliverer:
    """The deliverer of one process sends callbacks from threads of its own."""

    def __init__(self, container: Container, places: DeliveryPlaces | None = None) -> None:
        self._container = container
        self._places = places or DeliveryPlaces()
        self._threads = ThreadPoolExecutor(self._places.total, thread_name_prefix="callback")
        self._looking = threading.Lock()
        self._look_again = threading.Event()
        self._stopping = threading.Event()

    def deliver(self) -> None:
        """Begin to send the callbacks that are due and have a place; the others follow as places get free. Returns when
        they are begun, at once if another thread is about to do it."""
        self._look_again.set()
        while self._look_again.is_set() and self._looking.acquire(blocking=False):
            try:
                self._look_again.clear()
                self._begin_due()
            except errors.Unavailable as error:  # maintenance starts another run
                log.warning("callbacks: %s", error.message)
            except Exception:
                log.exception("callbacks")
            finally:
                self._looking.release()

    def stop(self) -> None:
        """Begin no other callback."""
        self._stopping.set()

    def close(self) -> None:
        """Begin no other callback, and wait for those that are being sent."""
        self.stop()
        if taken := self._places.count_taken():
            log.info("%d callbacks are being sent; this process waits for them", taken)
        self._threads.shutdown()

    def _begin_due(self) -> None:
        while self._places.is_any_free() and not self._stopping.is_set():
            tenants, receivers = self._places.full()
            due = webhook_deliveries.list_due(self._container, limit=LOOK, without_tenants=tenants, without=receivers)
            if not due:
                return
            placed = [delivery for delivery in due if self._places.take(delivery.receiver)]
            begun = self._begin(placed)
            ids = {delivery.id for delivery in placed}
            waiting = [delivery for delivery in due if delivery.host is None and delivery.id not in ids]
            if waiting:
                webhook_deliveries.note_receivers(self._container, waiting)
            elif not begun:
                return  # another deliverer was quicker; what it leaves, maintenance finds

    def _begin(self, placed: Sequence[Delivery]) -> int:
        """Claim the deliveries, and send those that this process has got; the places of the others are free again.

        Returns the number of those that are sent.
        """
        begun: set[str] = set()
        try:
            for delivery in webhook_deliveries.claim(self._container, placed, CLAIM):
                self._threads.submit(self._send, delivery)
                begun.add(delivery.id)
        except RuntimeError:  # closed meanwhile; the claims end by themselves
            log.info("no other callbacks are sent, because the process ends")
        finally:
            for delivery in placed:
                if delivery.id not in begun:
                    self._places.release(delivery.receiver)
        return len(begun)

    def _send(self, delivery: Delivery) -> None:
        seconds: float | None = None
        try:
            attempt = _attempt(self._container, delivery)
            if attempt is not None:
                seconds = attempt.seconds
                webhook_deliveries.record(self._container, delivery, attempt)
                job_log.called_back(delivery, attempt)
        except Exception:  # it is due again when its claim ends
            log.exception("callback of %s %s broke off", delivery.kind, delivery.id)
        finally:
            self._places.release(delivery.receiver, seconds)
        if not self._stopping.is_set():
            self.deliver()


def _attempt(container: Container, delivery: Delivery) -> Attempt | None:
    """Send a callback; returns None, and sends nothing, if its job was retried or erased since: the row of the delivery
    went with that end of the job."""
    try:
        body = _body(container, delivery)
        if body is None:
            return None
        signing = webhooks.signing_secrets(container, delivery.tenant, delivery.secret)
        trace = job_traces.find(container, [delivery.id]).get(delivery.id) if delivery.kind == "job" else None
        return webhooks.call_back(
            container, delivery.url, signing, delivery.message_id, body, trace.parent if trace else "",
            delivery.attempts,
        )  # fmt: skip
    except errors.Unavailable:
        raise  # it was not tried
    except Exception as error:
        log.exception("callback of %s %s", delivery.kind, delivery.id)
        return Attempt(delivery.body_sha256, 0.0, problem=f"failed by {type(error).__name__}")


def _body(container: Container, delivery: Delivery) -> bytes | None:
    """Return the body, which is the same in each attempt; None if there is no longer such an end. It stays small and
    reveals no results: the receiver fetches those by the job's id."""
    try:
        event = _EVENTS[delivery.kind](container, delivery)
    except errors.NotFound:
        return None
    return event.encode() if event else None


def _job_event(container: Container, delivery: Delivery) -> JobEvent | None:
    job = jobs.get(container, delivery.tenant, delivery.id)
    if not job.status.terminal or job.retries != delivery.retries:
        return None
    data = EndedJob(
        id=job.id,
        status=job.status,
        progress=Progress(total=job.total, done=job.done, failed=job.failed),
        metadata=dict(job.metadata),
    )
    ended_at = moment_at(job.finished_at or container.now())
    return JobEvent(type=f"job.{job.status.lower()}", timestamp=ended_at, data=data)


def _training_event(container: Container, delivery: Delivery) -> TrainingEvent:
    training = trainings.get(container, delivery.tenant, delivery.id)
    data = EndedTraining(
        id=training.id,
        status=training.status,
        model=ModelReference(name=training.name, version=training.version) if training.version else None,
        error=training.error,
        metadata=dict(training.metadata),
    )
    ended_at = moment_at(training.finished_at or container.now())
    return TrainingEvent(type=f"training.{training.status.lower()}", timestamp=ended_at, data=data)


def _drift_event(container: Container, delivery: Delivery) -> DriftEvent | None:
    alarm = drift.find_alarm(container, delivery.tenant, delivery.id)
    if alarm is None:
        return None
    verdict = VERDICTS[alarm.kind]
    data = DriftedDay(
        id=alarm.id,
        model=ModelReference(name=alarm.name, version=alarm.version),
        day=alarm.day,
        kind=alarm.kind,
        effect=alarm.effect,
        p_value=alarm.p_value,
        pictures=alarm.pictures,
        reference_pictures=alarm.reference_pictures,
        message=f"{SENTENCES[verdict]} {ADVICE[verdict]}",
    )
    return DriftEvent(timestamp=moment_at(alarm.created_at), data=data)


_EVENTS: Mapping[str, Callable[[Container, Delivery], JobEvent | TrainingEvent | DriftEvent | None]] = {
    "job": _job_event,
    "training": _training_event,
    "drift": _drift_event,
}
