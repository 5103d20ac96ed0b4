"""Pictures that cannot run, since their model was removed or cannot be loaded, fail with the reason."""

from __future__ import annotations

from shared.domain.jobs import Outcome
from shared.domain.models import ModelVersion
from shared.services import job_log, job_traces, jobs
from worker.batch import failed
from worker.batch_metrics import BatchMetrics
from worker.process import WorkerProcess

_AT_ONCE = 500
"""Pictures that fail together."""


def fail_all(worker: WorkerProcess, version_id: str, version: ModelVersion | None, reason: str) -> None:
    """Fail all waiting pictures of the version with the reason, rather than leave them waiting; `version` is None if it
    was removed."""
    while entries := worker.container.queue.streams.claim(version_id, worker.id, _AT_ONCE):
        missed: list[Outcome] = []
        runnable = jobs.begin(worker.container, entries, missed)
        outcomes = [failed(entry, "model_unavailable", reason) for entry in runnable]
        changes = jobs.finish(worker.container, outcomes, entries)
        job_log.failed_some("", outcomes)
        ended = [change.id for change in changes if change.finished_at is not None]
        job_traces.add_ends(worker.container, ended, "fail")
        worker.counting.add(version_id, entries, outcomes, worker.container.now())
        BatchMetrics(worker.container, version).count_ends(entries, missed + outcomes, changes)
