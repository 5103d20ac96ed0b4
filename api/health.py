"""The health routes report liveness and readiness to orchestrators, and metrics to Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Blueprint, Response, jsonify
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from api.auth import public
from api.context import container
from shared import errors
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import ALL_TENANTS, ModelState
from shared.services import models, workers

bp = Blueprint("health", __name__)
PRIVATE = "(private)"


@bp.get("/healthz")
@public
def alive() -> ResponseReturnValue:
    """Answer 200 while the process runs. No dependency is checked, so an unreachable database restarts no API."""
    return jsonify(status="ok")


@bp.get("/readyz")
@public
def ready() -> ResponseReturnValue:
    """Answer 200 when database, Redis, storage, workers and the default model are ready; else 503 with the reasons.

    Workers are not ready while none runs, or while pictures wait for long and none claims any.
    """
    state = readiness(container())
    all_ok = all(text == "ok" for text in state.values())
    response = jsonify(status="ready" if all_ok else "not ready", **state)
    response.status_code = 200 if all_ok else 503
    if not all_ok:
        response.headers["Retry-After"] = "1"
    return response


def readiness(container: Container) -> dict[str, str]:
    """Return `ok` or the error message for each part of the service."""
    return {
        "database": _outcome(container.database.ping),
        "queue": _outcome(container.queue.ping),
        "storage": _outcome(container.storage.ping),
        "workers": _outcome(lambda: workers.check_claiming(container)),
        "model": _outcome(lambda: _check_default_model(container)),
    }


def _outcome(check: object) -> str:
    try:
        check()  # type: ignore[operator]
    except errors.InferqError as error:
        return error.message
    return "ok"


def _check_default_model(container: Container) -> None:
    # A default model that could not be fetched does not make the service unready: callers may name or import another.
    version = models.get_version(container, DEFAULT_TENANT)
    if version.state is ModelState.CHECKING:
        if version.tenant != ALL_TENANTS:  # the answer is for all, and even its name is confidential
            raise errors.Unavailable("The default model is being checked.")
        raise errors.Unavailable(f"The default model {version.name} is being checked: {version.reason}.")


@bp.get("/metrics")
@public
def metrics() -> ResponseReturnValue:
    """Return the metrics in the text format of Prometheus."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_QueueCollector(container()))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class _QueueCollector(Collector):
    """The collector reads its numbers at each scrape, so no process has to count for another process."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        labels = ["model", "version", "priority"]
        waiting = GaugeMetricFamily("inferq_queue_waiting", "Pictures that no worker has claimed.", labels=labels)
        running = GaugeMetricFamily("inferq_queue_running", "Pictures that a worker has claimed.", labels=labels)
        oldest = GaugeMetricFamily(
            "inferq_queue_oldest_seconds", "Age of the oldest unfinished picture.", labels=labels
        )
        for where, depth in queue_by_model(self._container).items():
            waiting.add_metric(where, depth["waiting"])
            running.add_metric(where, depth["running"])
            oldest.add_metric(where, depth["oldest_seconds"])
        running_workers = self._container.queue.workers.list()
        alive = GaugeMetricFamily("inferq_workers", "Workers with a current heartbeat.", value=len(running_workers))
        done = CounterMetricFamily("inferq_pictures", "Pictures run by the current workers.", labels=["worker"])
        for worker in running_workers:
            done.add_metric([worker["id"]], worker["pictures"])
        yield from (waiting, running, oldest, alive, done)


def queue_by_model(container: Container, tenant: str = ALL_TENANTS) -> dict[tuple[str, str, str], dict[str, float]]:
    """Return (model, version, priority) -> waiting, running, oldest_seconds, over the jobs of all tenants.

    Models that the tenant may not see are added up under PRIVATE: even their names are confidential.
    """
    depths = container.queue.streams.depths()
    versions = models.find_versions_by_id(container, {depth.version_id for depth in depths})
    now, rows = container.now(), dict[tuple[str, str, str], dict[str, float]]()
    for depth in depths:
        version = versions.get(depth.version_id)
        if version is None:
            continue
        visible = version.tenant in (tenant, ALL_TENANTS)
        where = (version.name, version.version) if visible else (PRIVATE, "")
        row = rows.setdefault((*where, depth.priority), {"waiting": 0, "running": 0, "oldest_seconds": 0.0})
        row["waiting"] += depth.waiting
        row["running"] += depth.running
        if depth.oldest is not None:
            row["oldest_seconds"] = max(row["oldest_seconds"], round(now - depth.oldest, 3))
    return rows
