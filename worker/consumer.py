"""The consumer takes batches from the stream to SQL: claim, decode, forward, record outcomes.

    claim ─> begin ─> fetch, decode ─┐                 (in one thread, ahead of the other)
                                     └─> forward ─> record ─> conclude

A picture that cannot be processed fails without affecting the others. While the model runs one batch, the next is
fetched and decoded. Pictures that arrive meanwhile are added before it runs, so that a batch is whatever waits. No
picture waits for a batch to fill, unless the version sets `max_delay_ms`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby
from typing import TypeVar

from shared import errors, logs
from shared.domain.jobs import JobChange, Outcome
from shared.domain.stream_entry import StreamEntry
from shared.services import absences, job_log, job_pictures, job_traces, jobs, result_cache
from worker import answers
from worker.batch import Absent, Batch, Input, failed, task_of
from worker.batch_metrics import BatchMetrics
from worker.canary import Watch
from worker.device_check import end_if_device_fails
from worker.engine import Loaded
from worker.judging import Judge
from worker.observing import observed
from worker.process import WorkerProcess
from worker.rate import is_short, pictures_within, quiet_seconds
from worker.seen_pictures import SeenPictures
from worker.unrunnable import fail_all

T = TypeVar("T")
log = logging.getLogger(__name__)

AT_ONCE = 0.05
"""Seconds of work of a fast model that are claimed, recorded and acknowledged together."""
MOST = 128
"""Most pictures that are claimed together because the model is fast."""
DECODED = 1.0
"""Seconds of CPU time of one thread after which no further picture of a claim is decoded, but put back: a tenant whose
pictures are slow to decode has a few of them run in each turn, and the others wait no longer than for these."""


class BatchConsumer:
    """Handles one notification: runs batches of one version until its streams are empty or the time slice is over."""

    def __init__(
        self, worker: WorkerProcess, model: Loaded, decoders: ThreadPoolExecutor, judge: Judge | None = None
    ) -> None:
        """`judge` applies the rejection rule of the version; None if it has none."""
        self._worker = worker
        self._container = worker.container
        self._model, self._judge = model, judge
        self._version_id = model.version.id
        self._decoders = decoders
        self._canary = Watch(worker, model.version)
        self._seen = SeenPictures(worker.container, worker.seen_choices, model.version)
        self._metrics = BatchMetrics(worker.container, model.version)
        self._ended_at = 0.0
        """When the last batch ended (monotonic seconds)."""
        self._is_behind = True
        """True if the last claim was full, so that more may wait; if False, the next claim begins by waiting."""

    def run(self) -> None:
        """Run batches; the next is claimed and decoded in a second thread while the model runs, if that takes long."""
        until = time.monotonic() + self._container.settings.time_slice
        with ThreadPoolExecutor(1, thread_name_prefix="ahead") as ahead:
            batch = self._next_batch()
            while batch:
                self._wait_for_more(batch)
                batch.is_full = len(batch.entries) >= self._room()
                more = not self._worker.stopping.is_set() and time.monotonic() < until
                coming: Future[Batch] | None = None
                ends_soon = batch.alone or is_short(len(batch.entries), self._rate)
                if more and not ends_soon and not self._is_expired_check_due():
                    coming = ahead.submit(self._claim_batch, 0.0)
                for part in batch.parts():
                    with logs.bound(batch=batch.id):
                        self._run(part)
                if not more:
                    return
                batch = coming.result() if coming else Batch()
                self._fill_batch(batch)
                batch = batch or self._next_batch()

    def _next_batch(self) -> Batch:
        """Claim one picture with an expired lease, or else what waits; never called while another batch is claimed.

        A picture that crashed one worker must not affect others: it runs alone, with nothing decoded ahead, so that the
        pictures that were in the same batch when the worker crashed are not counted a second failed attempt.
        """
        if self._is_expired_check_due():
            expired = self._container.queue.streams.claim_expired(self._version_id, self._worker.id)
            if expired is not None:
                batch = Batch(alone=True)
                self._worker.hold([expired])
                self._add(batch, [expired])
                if batch:
                    return batch
            self._worker.expired_checked_at[self._version_id] = time.monotonic()
        return self._claim_batch(self._container.settings.linger)

    def _is_expired_check_due(self) -> bool:
        """Return True if it is time to look for expired leases; this is done every sixth of a lease."""
        last = self._worker.expired_checked_at.get(self._version_id, 0.0)
        return time.monotonic() >= last + self._container.settings.lease / 6

    def _claim_batch(self, watch: float) -> Batch:
        """Claim and decode what waits; returns an empty batch when nothing arrives within `watch` seconds."""
        batch, room = Batch(), self._room()
        queue, version_id = self._container.queue, self._version_id
        may_wait = watch > 0 and not self._worker.stopping.is_set()
        is_caught_up = may_wait and not self._is_behind and queue.streams.has_single(version_id)
        entries = [] if is_caught_up else self._claim(room)
        if len(entries) == room and queue.streams.backlog(version_id):  # more than it can take: another may join
            queue.notifications.notify(version_id)
        if not entries and may_wait:
            quiet = quiet_seconds(self._rate)
            entries = queue.streams.wait_for_entries(version_id, self._worker.id, room, watch, quiet=quiet)
            self._worker.hold(entries)
        self._is_behind = len(entries) == room
        self._add(batch, entries)
        return batch

    @property
    def _rate(self) -> float:
        return self._worker.network_rate(self._version_id)

    def _room(self) -> int:
        """Return the most pictures of one batch: those that run at once, or more if the model is so fast that claiming
        and recording them costs more; it then runs them in several passes. It is fewer if those before were slow to
        decode."""
        seconds = self._worker.decoding.get(self._version_id, 0.0)
        room = max(self._model.max_batch, min(MOST, pictures_within(AT_ONCE, self._rate, seconds)))
        decodable = self._container.settings.decode_threads * DECODED
        return room if seconds * room <= decodable else max(1, int(decodable / seconds))

    def _fill_batch(self, batch: Batch) -> None:
        """Fill the batch with entries that have arrived meanwhile."""
        room = self._room() - len(batch.entries)
        if batch and room > 0 and not batch.alone:
            self._add(batch, self._claim(room))

    def _wait_for_more(self, batch: Batch) -> None:
        """Wait `max_delay_ms` for a fuller batch, if the version has that option."""
        if delay := self._model.version.max_delay_ms:
            time.sleep(delay / 1000)
            self._fill_batch(batch)

    def _claim(self, count: int) -> list[StreamEntry]:
        entries = self._container.queue.streams.claim(self._version_id, self._worker.id, count)
        self._worker.hold(entries)
        return entries

    def _add(self, batch: Batch, entries: Sequence[StreamEntry]) -> None:
        """Decode entries and add them to the batch, except entries whose job has ended."""
        if not entries:
            return
        began, claimed_at = time.monotonic(), self._container.now()
        batch.started_at = batch.started_at or claimed_at
        job_log.claimed(batch.id, entries)
        limit = self._container.settings.max_attempts
        alive = [entry for entry in entries if entry.attempts <= limit]
        # Decoding begins at once, while SQL is queried: it is wasted for the few entries whose job has ended, and saves
        # a millisecond for all others. A task costs as much as decoding a small picture: a single one needs none.
        threads = self._container.settings.decode_threads
        begun = batch.within_limit(alive)
        parts = [begun[number::threads] for number in range(min(threads, len(begun)))]
        decoding = self._decoders.map(self._decode_some, parts) if len(begun) > 1 else map(self._decode_some, parts)
        runnable = self._retry_while_unavailable(lambda: jobs.begin(self._container, entries, batch.missed))
        decoded = dict(pair for part in decoding for pair in part)
        absent: list[StreamEntry] = []
        late = [entry for entry in alive if id(entry) not in decoded]
        if late:
            self._requeue(late)
        skipped = set(map(id, late))
        for entry in runnable:
            if id(entry) in skipped:
                continue
            result = decoded.get(id(entry))
            if result is None:
                result = failed(entry, "poison", f"{limit} workers crashed on this picture.")
            if isinstance(result, Outcome):
                batch.outcomes.append(result)
            elif isinstance(result, Absent):
                absent.append(entry)
            else:
                batch.inputs.append(result)
        if absent:
            self._set_aside(absent)
        skipped |= set(map(id, absent))
        self._metrics.count_begun([entry for entry in runnable if id(entry) not in skipped], claimed_at)
        batch.entries += [entry for entry in entries if id(entry) not in skipped]
        batch.decode += time.monotonic() - began

    def _requeue(self, entries: Sequence[StreamEntry]) -> None:
        """Put pictures that were not begun behind those that wait; a full Redis gives them again, one by one."""
        streams = self._container.queue.streams

        def give_back() -> None:
            try:
                streams.requeue(entries)
            except errors.QueueFull:
                self._worker.put_back(entries)

        self._retry_while_unavailable(give_back)
        self._worker.release(entries)

    def _set_aside(self, entries: Sequence[StreamEntry]) -> None:
        """Give back the pictures that the storage lacks; they are tried again after a lease, behind those that wait."""
        first = entries[0]
        log.warning(
            "The storage lacks pictures that nobody removed; they wait until it has them again. %d, such as picture "
            "%d of job %s", len(entries), first.position, first.job_id, extra={"job": first.job_id},
        )  # fmt: skip
        self._retry_while_unavailable(lambda: self._container.queue.streams.put_back(self._worker.id, entries))
        self._worker.release(entries)

    def _decode_some(self, entries: Sequence[StreamEntry]) -> list[tuple[int, Input | Outcome | Absent]]:
        """Return the decoded entries by identity: the first of each tenant, and those that are begun within DECODED."""
        until = time.thread_time() + DECODED
        decoded: list[tuple[int, Input | Outcome | Absent]] = []
        tenants: set[str] = set()
        for entry in entries:
            if entry.tenant not in tenants or time.thread_time() <= until:
                tenants.add(entry.tenant)
                decoded.append((id(entry), self._decode(entry)))
        return decoded

    def _decode(self, entry: StreamEntry) -> Input | Outcome | Absent:
        """Return the prepared picture, or the outcome if it cannot be read."""
        try:
            data = self._retry_while_unavailable(lambda: job_pictures.read(self._container, entry))
            self._container.absences.forget(entry.blob)
            began = time.thread_time()
            try:
                with self._worker.watchdog():
                    tensor = self._model.prepare(data, exif=entry.exif)
            finally:
                self._worker.count_decoded(self._version_id, time.thread_time() - began)
            key = ""
            if entry.remember:
                source = result_cache.source(self._version_id, self._judge.rule if self._judge else None)
                key = result_cache.key(entry.tenant, source, entry.task, entry.exif, data)
            return Input(entry, tensor, key)
        except FileNotFoundError:
            if self._retry_while_unavailable(lambda: job_pictures.is_dropped(self._container, entry)):
                return failed(entry, "gone", "The picture was removed before it ran.")
            now = self._container.now()
            since = self._container.absences.note(entry.blob, now)
            # It may have waited for a day in a backlog, and be missing for a minute.
            if now - entry.pushed_at > absences.LOST_AFTER and now - since > absences.WAITED:
                first = absences.in_words(since)
                return failed(
                    entry, "gone", f"The storage has lost the picture, since {first} or before; send it again."
                )
            return Absent(entry)
        except errors.BadRequest as error:
            return failed(entry, error.code, error.message)

    def _run(self, batch: Batch) -> None:
        """Run the batch through the model, store the outcomes, and acknowledge the entries."""
        began = time.monotonic()
        with self._worker.watchdog(len(batch.inputs)):
            for task, group in groupby(sorted(batch.inputs, key=task_of), key=task_of):
                batch.outcomes += self._forward(task, list(group))
        if batch.is_explained:
            batch.outcomes = self._worker.explainer.explained(self._model, batch, self._retry_while_unavailable)
        container = self._container
        forward, ran_at = time.monotonic() - began, container.now()
        run = batch.run(self._worker.id, forward, ran_at)
        self._worker.search.answer(self._model.version, batch, self._retry_while_unavailable)
        answered, times = time.monotonic(), (ran_at, container.now())
        changes = self._retry_while_unavailable(lambda: jobs.record(container, batch.outcomes, batch.entries, run))
        job_log.ran(batch.id, batch.entries, batch.outcomes, run, changes, container.now())
        self._conclude(batch.entries, changes)
        job_traces.add_spans(container, batch.id, batch.entries, batch.outcomes, run, times)
        self._worker.counting.add(self._version_id, batch.entries, batch.outcomes, container.now())
        self._metrics.count_ends(batch.entries, batch.missed + batch.outcomes, changes)
        self._worker.release(batch.entries)
        self._worker.waits_for = ""
        # While batches follow each other, the next is decoded beside this one: its time begins where that one ended.
        began, self._ended_at = max(batch.claimed_at, self._ended_at), time.monotonic()
        self._metrics.count_run(run, self._ended_at - answered, with_decode=not batch.is_second)
        forwarded, runtime = None if batch.is_explained else forward, self._model.runtime
        self._worker.count(self._version_id, len(batch.entries), began, self._ended_at, forwarded, runtime)
        self._canary.compare([prepared.entry for prepared in batch.inputs], batch.outcomes)
        self._seen.keep(batch.outcomes)
        self._worker.tuner.consider(self._model)

    def _conclude(self, entries: Sequence[StreamEntry], changes: Sequence[JobChange]) -> None:
        """Take recorded entries off the queue; after an outage only the ids of their jobs are announced, since a caller
        may have retried one meanwhile, which then has not ended."""
        try:
            jobs.conclude(self._container, entries, changes)
        except errors.Unavailable:
            moved = [replace(change, outcome=None) for change in changes]
            self._retry_while_unavailable(lambda: jobs.conclude(self._container, entries, moved))

    def _retry_while_unavailable(self, step: Callable[[], T]) -> T:
        """Retry while the database, Redis or the storage is unreachable; the heartbeat keeps the lease meanwhile.

        Giving up would let the lease expire, and an outage would count as a crash caused by these pictures.
        """
        while True:
            try:
                return step()
            except errors.Unavailable as error:
                log.warning("%s", error.message)
                self._worker.waits_for = error.message
                if self._worker.stopping.wait(0.5):
                    raise

    def _forward(self, task: str, inputs: list[Input]) -> list[Outcome]:
        """Return the outcomes of pictures of one task; a failing batch is halved until the one at fault is alone."""
        entries = [prepared.entry for prepared in inputs]
        try:
            judge = self._judge if task == "classify" else None
            asked = judge.task(task) if judge else task
            kept = self._seen.kept(entries)
            rows = self._model.forward([prepared.tensor for prepared in inputs], self._seen.task(asked, kept))
            rows = self._seen.take(asked, entries, kept, rows)
            rows = judge.measured(rows) if judge else rows
            outcomes = answers.outcomes(self._model.version, task, entries, rows, judge)
            if task == "classify":
                outcomes = observed(self._model.version, outcomes, rows, judge)
            if cacheable := {
                prepared.key: row.tolist() for prepared, row in zip(inputs, rows, strict=True) if prepared.key
            }:
                result_cache.keep(self._container, cacheable)
            return outcomes
        except Exception as error:
            if len(inputs) > 1:
                middle = len(inputs) // 2
                return self._forward(task, inputs[:middle]) + self._forward(task, inputs[middle:])
            job_id = entries[0].job_id
            log.exception("picture %d of job %s fails the model", entries[0].position, job_id, extra={"job": job_id})
            self._retry_while_unavailable(lambda: end_if_device_fails(self._container.storage, self._model))
            return [failed(entries[0], "model_failed", f"The model fails on this picture: {type(error).__name__}.")]


def consume(worker: WorkerProcess, version_id: str) -> None:
    """Handle a notification; the pictures of a version that was removed or cannot be loaded fail with the reason."""
    with worker.consuming:
        _consume(worker, version_id)


def _consume(worker: WorkerProcess, version_id: str) -> None:
    worker.container.queue.notifications.clear(version_id)
    # The notification may be for the first picture of a tenant that this process does not know.
    worker.container.queue.streams.groups.forget_tenants(version_id)
    version = worker.find_ready(version_id)
    if version is None:
        if worker.is_removed(version_id):
            fail_all(worker, version_id, None, "The model was removed before the picture ran.")
        return
    try:
        model = worker.engine.load(version)
        judge = worker.judges.find(model, version.rejection)
    except errors.Unavailable as error:
        worker.waits_for = error.message
        raise  # the storage is unreachable: nothing was claimed, and maintenance notifies again
    except FileNotFoundError:
        if worker.is_removed(version_id):
            fail_all(worker, version_id, version, "The model was removed before the picture ran.")
            return
        worker.waits_for = "The storage lacks the weights of a model; its pictures wait until it has them again."
        log.warning("%s It is %s version %s", worker.waits_for, version.name, version.version)
        raise errors.Unavailable(worker.waits_for) from None  # nothing was claimed: as above
    except Exception as error:
        log.exception("model %s version %s cannot be loaded", version.name, version.version)
        fail_all(worker, version_id, version, f"The model cannot be loaded: {error}")
        return
    _run_batches(worker, model, judge)


def _run_batches(worker: WorkerProcess, model: Loaded, judge: Judge | None) -> None:
    """Run batches until nothing waits, or another worker is called."""
    queue, version_id = worker.container.queue, model.version.id
    try:
        with ThreadPoolExecutor(worker.container.settings.decode_threads, thread_name_prefix="decode") as decoders:
            while True:
                BatchConsumer(worker, model, decoders, judge).run()
                # The time slice may be over while pictures still wait. If no notification can be sent, it goes on.
                if not queue.streams.backlog(version_id):
                    return
                queue.notifications.allow(version_id, worker.id)
                if queue.notifications.notify(version_id) or worker.stopping.is_set():
                    return
    except errors.Unavailable:
        worker.put_back_all()  # an outage is no attempt
        raise
    finally:
        worker.release_all()  # after an error these entries are no longer worked on: their lease must expire
