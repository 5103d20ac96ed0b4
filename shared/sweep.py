"""The one housekeeper: every few seconds it puts right whatever failed halfway, so that everything else may.

Each step is a function of the tools that can be run at any time, by anybody, any number of times.
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from shared import datasets, errors, gallery, jobs, loading, models, trainers, trainings
from shared.jobs import Status

if TYPE_CHECKING:
    from shared.tools import Tools

T = TypeVar("T")
log = logging.getLogger(__name__)

SETTLED = 3.0
"""Seconds after which a job should have reached the stream; a younger one may still be on its way."""


def sweep(tools: Tools, missing_before: frozenset[str] = frozenset()) -> frozenset[str]:
    """Run every step; one that fails is logged and does not keep the others from running.

    `missing_before` are the versions of which SQL had more waiting than Redis at the last sweep, and what is
    returned is meant for the next: only a difference that stays is worth the slow comparison.
    """
    missing = _step(tools, count_missing) or frozenset()
    for version_id in missing & missing_before:
        _step(tools, partial(push_again, version_id=version_id))
    _step(tools, lambda tools: tools.records.checkpoint())
    for step in (ring_forgotten, expire_late, recheck_models, retrain, call_back, drop_old_jobs, datasets.drop_deleted):
        _step(tools, step)
    return missing


def count_missing(tools: Tools) -> frozenset[str]:
    """Versions of which SQL knows more unfinished pictures than Redis holds."""
    with tools.records.read() as r:
        left = r.jobs.left_by_version()
    held: dict[str, int] = {}
    for depth in tools.queue.depths(left):
        held[depth.version_id] = held.get(depth.version_id, 0) + depth.waiting + depth.running
    return frozenset(version_id for version_id, count in left.items() if count > held.get(version_id, 0))


def push_again(tools: Tools, version_id: str) -> int:
    """Put what SQL has queued and Redis has lost back on the stream; how many pictures that were.

    A picture that is pushed twice, because it was on its way after all, is recorded once.
    """
    present = tools.queue.present(version_id)
    count = 0
    with tools.records.read() as r:
        lost = [
            (job, [item for item in r.jobs.unfinished_items(job.id) if (job.id, item.position) not in present])
            for job in list(r.jobs.live(version_id, created_before=tools.now() - SETTLED))
        ]
    for job, items in lost:
        if items:
            jobs.push(tools, job, items)
            count += len(items)
    if count:
        log.warning("%d pictures of version %s were lost by the queue and are queued again", count, version_id)
    return count


def ring_forgotten(tools: Tools) -> None:
    """Ring for streams that hold work and have no bell: new entries, or entries whose worker is silent."""
    for version_id in tools.queue.version_ids():
        if tools.queue.has_bell(version_id):
            continue
        if tools.queue.backlog(version_id) or tools.queue.has_lapsed(version_id):
            tools.queue.ring(version_id)


def expire_late(tools: Tools) -> None:
    """End the jobs whose deadline passed before a worker came to them."""
    now = tools.now()
    with tools.records.write() as r:
        late = r.jobs.past_deadline(now)
        r.jobs.end(late, Status.EXPIRED, now)
    if late:
        tools.queue.announce(late)


def recheck_models(tools: Tools) -> None:
    """Send versions that are being checked, and that no worker holds, to a worker again."""
    with tools.records.read() as r:
        checking = r.versions.in_state(models.State.CHECKING)
    for version in checking:
        if not tools.queue.locked(f"check:{version.id}"):
            tools.queue.call("check", version.id)


def retrain(tools: Tools) -> None:
    """Ring for trainings, archives of datasets and comparisons that no trainer holds."""
    with tools.records.read() as r:
        live = r.trainings.in_status(Status.QUEUED, Status.RUNNING)
        compared = r.comparisons.queued()
    if any(not tools.queue.locked(trainers.lock_name(one.id)) for one in live):
        _call_seldom(tools, "train")
    if compared or loading.waiting(tools, {}):
        _call_seldom(tools, "load")


def _call_seldom(tools: Tools, task: str) -> None:
    """Not at every sweep: what waits behind a training of hours would fill the broker with bells."""
    # By another name each time, as a lock is renewed for whoever holds it.
    if tools.queue.lock(f"bell:{task}", secrets.token_hex(8), 10):
        tools.queue.call(task)


def call_back(tools: Tools) -> None:
    """Send the housekeeper's deliverer to work when callbacks are due."""
    with tools.records.read() as r:
        due = r.deliveries.due(tools.now(), limit=1)
    if due:
        tools.queue.call("deliver")


def drop_old_jobs(tools: Tools) -> None:
    """Delete jobs past their keeping time, with their pictures."""
    with tools.records.read() as r:
        old = r.jobs.finished_before(tools.now() - tools.settings.keep_jobs)
    for _, blob in old:  # the blobs first: a crash in between leaves rows that the next sweep finds again
        tools.storage.delete(blob)
    if old:
        with tools.records.write() as r:
            r.jobs.delete([job_id for job_id, _ in old])


def tidy(tools: Tools) -> None:
    """What needs doing every few minutes only: blobs, streams, models, images and tokens that nobody needs any more."""
    for version_id in tools.queue.version_ids():
        tools.queue.drop_empty_lanes(version_id)
        tools.queue.drop_gone_consumers(version_id)
    now = tools.now()
    with tools.records.read() as r:
        refused = [known for known in r.versions.in_state(models.State.REFUSED) if known.created_at < now - 86_400]
        used = {known.source for known in r.versions.in_state(models.State.CHECKING)}
        used |= {known.source for known in r.datasets.in_state(datasets.State.LOADING)}
    models.forget(tools, refused)
    for key in tools.storage.list("uploads"):
        if key not in used and jobs.made_at(key.rsplit("/", 1)[1]) < now - 86_400:
            tools.storage.delete(key)
    drop_orphans(tools)
    drop_dataset_orphans(tools)
    drop_training_orphans(tools)
    drop_test_images(tools)
    with tools.records.write() as r:
        r.keys.drop_tokens(now)


def drop_test_images(tools: Tools) -> None:
    """Delete images of the stage `test` past their keeping time."""
    before = tools.now() - tools.settings.keep_test_images
    while True:
        with tools.records.read() as r:
            old = r.images.made_before("test", before, limit=500)
        if not old:
            return
        gallery.remove(tools, old)


def drop_orphans(tools: Tools) -> None:
    """Delete the pictures of jobs and images that were never stored: somebody died between the blob and the commit.

    A blob that is younger than an hour may belong to one that is about to be stored.
    """
    now = tools.now()
    for kind in ("jobs", "images"):
        for day in (now, now - 86_400):
            folder = tools.storage.dated(kind, "", day).rstrip("/")
            blobs = {key.rsplit("/", 1)[1]: key for key in tools.storage.list(folder)}
            with tools.records.read() as r:
                known = r.jobs.known(blobs) if kind == "jobs" else r.images.known(blobs)
            for name in blobs.keys() - known:
                made = jobs.made_at(name) if kind == "jobs" else gallery.made_at(name)
                if made < now - 3600:
                    log.info("removing the pictures of %s, which was never stored", name)
                    tools.storage.delete(blobs[name])


def drop_dataset_orphans(tools: Tools) -> None:
    """Delete blobs of datasets that no example lies in: who wrote them died before the commit, or could not know of it.

    Only datasets that changed lately are looked at, and those that are gone: each is a question to the store. What one
    who died left in another is found when that changes, or goes with it.
    """
    named = {int(name) for key in tools.storage.list("datasets") if (name := key.rsplit("/", 1)[1]).isdecimal()}
    with tools.records.read() as r:
        changed = {dataset.id for dataset in r.datasets.changed_since(tools.now() - 2 * 86_400)}
        gone = named - r.datasets.known(named)
    for dataset_id in named & changed | gone:
        _drop_unused(tools, dataset_id)


def drop_training_orphans(tools: Tools) -> None:
    """Delete checkpoints of trainings that have ended, and plots of those that are not known any more."""
    for folder, drop in (("checkpoints", trainings.forget_checkpoint), ("plots", trainings.drop_plots)):
        found = {key.rsplit("/", 1)[1] for key in tools.storage.list(folder)}
        with tools.records.read() as r:
            needed = r.trainings.live(found) if folder == "checkpoints" else r.trainings.known(found)
        for training_id in found - needed:
            if jobs.made_at(training_id) < tools.now() - 3600:
                drop(tools, training_id)


def _drop_unused(tools: Tools, dataset_id: int) -> None:
    blobs = tools.storage.list(f"datasets/{dataset_id}")
    with tools.records.read() as r:
        found = r.datasets.by_id(dataset_id)
        if found and found.state is datasets.State.LOADING:
            return  # what is written now may be older than an hour when it is committed
        used = r.datasets.blobs(dataset_id)
    # No example lies in features, and later trainings need them. They go with the dataset, of which nothing stays.
    kept = (*used, *(key for key in blobs if found and key.rsplit("/", 1)[1].startswith("features-")))
    for key in set(blobs).difference(kept):
        if not found or jobs.made_at(key.rsplit("/", 1)[1]) < tools.now() - 3600:
            log.info("removing %s, in which no example lies", key)
            tools.storage.delete(key)


def _step(tools: Tools, step: Callable[[Tools], T]) -> T | None:
    try:
        return step(tools)
    except errors.Unavailable as error:
        log.warning("sweep: %s", error.message)
    except Exception:
        log.exception("sweep: a step failed")
    return None
