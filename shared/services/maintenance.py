"""Maintenance repairs, every few seconds, all work that failed halfway, so that other components may fail halfway.

Each step is a function of the container that any process can run at any time, any number of times.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import accumulate
from typing import TypeVar

from shared import errors
from shared.container import Container
from shared.domain import lock_names
from shared.domain.datasets import DatasetState
from shared.domain.jobs import PRIORITIES, Item, Job, JobTrace, Status, job_created_at
from shared.domain.models import ModelState, check_task, uploads
from shared.domain.stored_images import image_created_at
from shared.services import (
    dataset_import_runs,
    datasets,
    drift,
    drift_references,
    explanations,
    history,
    job_ends,
    job_log,
    job_traces,
    jobs,
    kept_bytes,
    models,
    rejection,
    search_index_runs,
    seen_pictures,
    stored_images,
    trainings,
    webhook_deliveries,
)

T = TypeVar("T")
log = logging.getLogger(__name__)

SETTLED = 3.0
"""The number of seconds after which a job should have reached the stream; a younger job may still be on its way."""

JOBS_AT_ONCE, PICTURES_AT_ONCE = 500, 5000
"""Jobs, and about how many pictures, that are read and pushed together."""
DROPPED_AT_ONCE = 50
"""Old jobs that are deleted in one commit: SQLite keeps other writers waiting while their blobs are removed."""


def reconcile(container: Container, missing_before: frozenset[str] = frozenset()) -> frozenset[str]:
    """Run every step; a step that fails is logged and does not keep the other steps from running.

    `missing_before` holds the versions of which SQL had more unfinished pictures than Redis at the previous run. The
    returned set is passed to the next run: only a difference that persists justifies the slow comparison, unless Redis
    is known to have lost everything.
    """
    missing = _step(container, count_missing) or frozenset()
    is_empty = _step(container, lambda container: container.queue.has_lost_everything())
    for version_id in missing if is_empty else missing & missing_before:
        _step(container, partial(push_again, version_id=version_id))
    _step(container, lambda container: container.database.checkpoint())
    for step in (
        notify_waiting,
        trim_notifications,
        expire_late,
        recheck_models,
        rejection.send_again,
        drift_references.send_again,
        retrain,
        drift.raise_alarms,
        notify_webhooks,
        drop_old_jobs,
        datasets.drop_deleted,
        kept_bytes.fold,
        drift.fold,
    ):
        _step(container, step)
    return missing


def count_missing(container: Container) -> frozenset[str]:
    """Return the ids of the versions of which SQL has more unfinished pictures than Redis."""
    with container.database.read() as uow:
        unfinished = uow.jobs.left_by_version()
    queued: dict[str, int] = {}
    for depth in container.queue.streams.depths(unfinished):
        queued[depth.version_id] = queued.get(depth.version_id, 0) + depth.waiting + depth.running
    return frozenset(version_id for version_id, count in unfinished.items() if count > queued.get(version_id, 0))


def push_again(container: Container, version_id: str) -> int:
    """Push the pictures that SQL has queued and Redis has lost to the stream again; return their number.

    The most urgent and oldest jobs come first, and are pushed before the next are read: of a long queue the first
    pictures are back at once. One process pushes at a time. A picture that is pushed twice, because it was still on its
    way, is recorded once.
    """
    count = 0
    with container.queue.locks.renewed(lock_names.push_again(version_id)) as held:
        if held is None:
            return 0  # another process pushes them
        # The time before the streams are read: what is pushed meanwhile is missing from `present`.
        settled = container.now() - SETTLED
        present = container.queue.streams.present(version_id)
        for unfinished in _unfinished_pages(container, version_id, settled):
            if held.lost.is_set():
                break
            lost = [
                jobs.Registration(job, left)
                for job, items in unfinished
                if (left := [item for item in items if (job.id, item.position) not in present])
            ]
            traces = job_traces.next_pushes(container, [given.job.id for given in lost])
            jobs.push(container, [_with_trace(given, traces.get(given.job.id)) for given in lost])
            # Not before the push, which a full Redis refuses again and again.
            job_traces.add_pushes(container, traces, {given.job.id: len(given.items) for given in lost})
            job_log.queued_again([registration.job.id for registration in lost])
            count += sum(len(registration.items) for registration in lost)
    if count:
        log.warning("%d pictures of version %s were lost by the queue and are queued again", count, version_id)
    return count


def _with_trace(given: jobs.Registration, trace: JobTrace | None) -> jobs.Registration:
    """Return what the queue has lost and gets again, so that it goes on in its trace."""
    return replace(given, trace=trace.parent, pushes=trace.pushes) if trace else given


def _unfinished_pages(
    container: Container, version_id: str, created_before: float
) -> Iterator[list[tuple[Job, list[Item]]]]:
    """Yield the live jobs of a version with their unfinished items, in pages, by priority and age."""
    for priority in PRIORITIES:
        last = ""
        while True:
            with container.database.read() as uow:
                page = uow.jobs.live(
                    version_id, priority, created_before=created_before, after=last, limit=JOBS_AT_ONCE
                )
                # A job may have thousands of pictures; but each page has a job.
                pictures = accumulate(job.total for job in page)
                page = [job for job, sum_ in zip(page, pictures, strict=True) if sum_ <= PICTURES_AT_ONCE] or page[:1]
                items = uow.jobs.unfinished_items([job.id for job in page])
            if not page:
                break
            last = page[-1].id
            yield [(job, items.get(job.id, [])) for job in page]


def notify_waiting(container: Container) -> None:
    """Notify workers of streams without a pending notification that hold new entries or entries of an expired lease."""
    for version_id in container.queue.streams.version_ids():
        if container.queue.notifications.is_pending(version_id):
            continue
        if container.queue.streams.backlog(version_id) or container.queue.streams.has_expired(version_id):
            container.queue.notifications.notify(version_id)


def trim_notifications(container: Container) -> None:
    """Drop the oldest notifications if too many wait, because no worker runs."""
    container.queue.notifications.trim()


def expire_late(container: Container) -> None:
    """End the jobs whose deadline passed before they were RUNNING."""
    now = container.now()
    with container.database.write() as uow:
        late = uow.jobs.past_deadline(now)
        expired = uow.jobs.end(late, Status.EXPIRED, now)
    job_ends.tell_expired(container, expired)


def recheck_models(container: Container) -> None:
    """Send versions that are being checked, and that no worker holds, to a worker again."""
    with container.database.read() as uow:
        checking = uow.model_versions.in_state(ModelState.CHECKING)
    for version in checking:
        if not container.queue.locks.is_held(lock_names.model_check(version.id)):
            container.queue.notifications.send_task(check_task(version), version.id)


def retrain(container: Container) -> None:
    """Notify trainers of trainings, archives of datasets, comparisons and indexes that no trainer holds."""
    with container.database.read() as uow:
        live = uow.trainings.in_status(Status.QUEUED, Status.RUNNING)
        compared = uow.comparisons.queued()
        indexed = uow.search_indexes.wanted()
    if any(not container.queue.locks.is_held(lock_names.training(training.id)) for training in live):
        _call_seldom(container, "train")
    if compared or indexed or dataset_import_runs.list_waiting(container, {}):
        _call_seldom(container, "load")


def _call_seldom(container: Container, task: str) -> None:
    """Send the task at most once in 10 seconds, and not while no trainer runs, since a trainer looks when it starts.

    A task at every run would fill the broker with notifications while work waits behind a training of hours.
    """
    if container.queue.workers.list("trainers") and container.queue.locks.acquire(lock_names.notified(task), 10):
        container.queue.notifications.send_task(task)


def notify_webhooks(container: Container) -> None:
    """Start the delivery task of the maintenance process when callbacks are due."""
    with container.database.read() as uow:
        due = uow.webhook_deliveries.due(container.now(), 1)
    if due:
        container.queue.notifications.send_task("deliver")


def drop_old_jobs(container: Container) -> None:
    """Delete jobs that ended longer ago than their tenant's jobs are kept, with their pictures."""
    now, keep = container.now(), container.settings.keep_jobs
    with container.database.read() as uow:
        count = len(uow.tenant_limits.jobs_kept_too_long(now, keep))
    for _ in range(0, count, DROPPED_AT_ONCE):
        with container.database.write() as uow:
            # Read again and locked: a caller may have retried some meanwhile, and a retry that comes now waits.
            old = uow.tenant_limits.jobs_kept_too_long(now, keep, DROPPED_AT_ONCE, lock=True)
            for _, blob in old:  # the blobs first: if the commit fails, the rows are left, and the next run finds them
                if blob:
                    container.storage.delete(blob)
            for job_id, total in uow.jobs.explained([job_id for job_id, _ in old]):
                explanations.drop(container, job_id, total)
            uow.jobs.delete([job_id for job_id, _ in old])


def collect_garbage(container: Container) -> None:
    """Remove blobs, streams, models, images and tokens that are no longer needed; every few minutes is enough.

    A step that fails does not keep the others from running: counts would pile up while the storage is away.
    """
    for step in (
        drift.drop_old,
        history.fold,
        webhook_deliveries.drop_old,
        kept_bytes.count_anew,
        drop_tokens,
        drop_traces,
        drop_streams,
        drop_refused,
        drop_orphans,
        drop_dataset_orphans,
        drop_training_orphans,
        drop_test_images,
        search_index_runs.drop_orphans,
        seen_pictures.drop_old,
    ):
        _step(container, step)


def drop_tokens(container: Container) -> None:
    """Delete the tokens that have expired."""
    with container.database.write() as uow:
        uow.keys.drop_tokens(container.now())


def drop_traces(container: Container) -> None:
    """Delete the traces of jobs that are gone. An older release, which may run beside this one, deletes a job without
    its trace."""
    dropped = True
    while dropped:
        with container.database.write() as uow:
            dropped = uow.job_traces.drop_orphans()


def drop_streams(container: Container) -> None:
    """Delete streams without entries, and the consumers of workers that are gone."""
    for version_id in container.queue.streams.version_ids():
        container.queue.streams.drop_empty_streams(version_id)
        container.queue.streams.drop_gone_consumers(version_id)


def drop_refused(container: Container) -> None:
    """Delete models that were refused a day ago, and uploads of that age that nothing waits for."""
    before = container.now() - 86_400
    with container.database.read() as uow:
        refused = [
            version for version in uow.model_versions.in_state(ModelState.REFUSED) if version.created_at < before
        ]
        checking = uow.model_versions.in_state(ModelState.CHECKING)
        used = {key for version in checking for key in uploads(version)}
        used |= {dataset.source for dataset in uow.datasets.in_state(DatasetState.LOADING)}
    models.forget(container, refused)
    for key in container.storage.list("uploads"):
        if key not in used and job_created_at(key.rsplit("/", 1)[1]) < before:
            container.storage.delete(key)


def drop_test_images(container: Container) -> None:
    """Delete images of the stage `test` that are older than `keep_test_images` seconds."""
    before = container.now() - container.settings.keep_test_images
    while True:
        with container.database.read() as uow:
            old = uow.stored_images.made_before("test", before, limit=500)
        if not old:
            return
        stored_images.remove(container, old)


def drop_orphans(container: Container) -> None:
    """Delete the pictures of jobs and images that were never stored: a process crashed between the blob and the commit;
    and explanations that were made while their job was cancelled and erased.

    A blob that is younger than an hour is kept, because its job or image may be about to be stored. The blobs are read
    in pages: a day may have millions of them, and the memory for all their names would stay with the process.
    """
    now = container.now()
    for kind in ("jobs", "images", explanations.FOLDER):
        for day in (now, now - 86_400):
            for keys in container.storage.pages(container.storage.dated(kind, "", day).rstrip("/")):
                _drop_never_stored(container, kind, keys)


def _drop_never_stored(container: Container, kind: str, keys: Sequence[str]) -> None:
    blobs = {key.rsplit("/", 1)[1]: key for key in keys}
    with container.database.read() as uow:
        if kind == "images":
            stored = uow.stored_images.known(blobs)
        else:
            known = uow.jobs.known({explanations.job_of_blob(name) for name in blobs})
            stored = {name for name in blobs if explanations.job_of_blob(name) in known}
    for name in blobs.keys() - stored:
        created_at = image_created_at(name) if kind == "images" else job_created_at(name)
        if created_at < container.now() - 3600:
            log.info("removing the pictures of %s, which is not stored", name)
            container.storage.delete(blobs[name])


def drop_dataset_orphans(container: Container) -> None:
    """Delete blobs of datasets that hold no example: the writer crashed before the commit, or could not see its result.

    Only datasets that changed in the last 2 days and removed datasets are checked, because each check costs a request
    to the store. A blob that a crashed writer left in another dataset is found when that dataset changes or is removed.
    """
    named = {int(name) for key in container.storage.list("datasets") if (name := key.rsplit("/", 1)[1]).isdecimal()}
    with container.database.read() as uow:
        changed = {dataset.id for dataset in uow.datasets.changed_since(container.now() - 2 * 86_400)}
        removed = named - uow.datasets.known(named)
    for dataset_id in named & changed | removed:
        _drop_unused(container, dataset_id)


def drop_training_orphans(container: Container) -> None:
    """Delete checkpoints of trainings that have ended, and plots of trainings that no longer exist."""
    for folder, drop in (("checkpoints", trainings.forget_checkpoint), ("plots", trainings.drop_plots)):
        training_ids = {key.rsplit("/", 1)[1] for key in container.storage.list(folder)}
        with container.database.read() as uow:
            needed = uow.trainings.live(training_ids) if folder == "checkpoints" else uow.trainings.known(training_ids)
        for training_id in training_ids - needed:
            if job_created_at(training_id) < container.now() - 3600:
                drop(container, training_id)


def _drop_unused(container: Container, dataset_id: int) -> None:
    blobs = container.storage.list(f"datasets/{dataset_id}")
    with container.database.read() as uow:
        dataset = uow.datasets.find_by_id(dataset_id)
        if dataset and dataset.state is DatasetState.LOADING:
            return  # a blob that is being written now may be older than an hour when it is committed
        used = uow.datasets.blobs(dataset_id)
    # Features hold no example, but later trainings need them. They are removed together with the whole dataset.
    needed = (*used, *(key for key in blobs if dataset and key.rsplit("/", 1)[1].startswith("features-")))
    for key in set(blobs).difference(needed):
        if not dataset or job_created_at(key.rsplit("/", 1)[1]) < container.now() - 3600:
            log.info("removing %s, in which no example lies", key)
            container.storage.delete(key)


def _step(container: Container, step: Callable[[Container], T]) -> T | None:
    try:
        return step(container)
    except errors.Unavailable as error:
        log.warning("sweep: %s", error.message)
    except Exception:
        log.exception("sweep: a step failed")
    return None
