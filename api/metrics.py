"""`/metrics` answers Prometheus: what all processes have counted, and what waits, runs and has drifted now."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from flask import Blueprint, Response, request
from flask.typing import ResponseReturnValue
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from api.auth import credentials, public
from api.context import container
from shared import errors
from shared.container import Container
from shared.domain.metrics import COUNTED, HIDDEN, SUM, Labels, Metric, Sums, below
from shared.domain.models import ALL_TENANTS
from shared.services import drift, keys, metrics, queue_depths

bp = Blueprint("metrics", __name__)

_WORKER = ["worker"]


@bp.get("/metrics")
@public
def show_metrics() -> ResponseReturnValue:
    """Return the metrics in the text format of Prometheus; with a key, those of its tenant's models by their names."""
    registry = CollectorRegistry(auto_describe=False)
    tenant = _tenant()
    for collect in (_counted, _queue, _workers, _drifts):
        registry.register(_Collector(collect, container(), tenant))
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def _tenant() -> str:
    """Return the tenant of a valid key; ALL_TENANTS, to whom only the catalogue is shown, without one."""
    for secret in credentials(request):
        with suppress(errors.Unauthorized):
            return keys.identify(container(), secret, from_loopback=False).tenant
    return ALL_TENANTS


class _Collector(Collector):
    """A collector reads its numbers at each scrape."""

    def __init__(self, read: Callable[[Container, str], Iterator[Family]], container: Container, tenant: str) -> None:
        self._read, self._container, self._tenant = read, container, tenant

    def collect(self) -> Iterator[Family]:
        yield from self._read(self._container, self._tenant)


def _counted(container: Container, tenant: str) -> Iterator[Family]:
    sums = metrics.read(container, tenant)
    for metric in COUNTED:
        yield _histogram(metric, sums) if metric.buckets else _counter(metric, sums)


def _counter(metric: Metric, sums: Sums) -> Family:
    family = CounterMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    for labels, numbers in _shown(metric, sums).items():
        family.add_metric(labels, numbers.get(0, 0.0))
    return family


def _histogram(metric: Metric, sums: Sums) -> Family:
    family = HistogramMetricFamily(metric.name, metric.meaning, labels=metric.labels)
    bounds = [floatToGoString(bound) for bound in (*metric.buckets, float("inf"))]
    for labels, numbers in _shown(metric, sums).items():
        buckets = list(zip(bounds, below(metric, numbers), strict=True))
        family.add_metric(labels, buckets, numbers.get(SUM, 0.0))
    return family


def _shown(metric: Metric, sums: Sums) -> dict[Labels, dict[int, float]]:
    return {labels: dict[int, float]() for labels in metric.always} | sums.of(metric)


def _queue(container: Container, tenant: str) -> Iterator[Family]:
    labels = ["model", "version", "priority"]
    waiting = GaugeMetricFamily("inferq_queue_waiting", "Pictures that no worker has claimed.", labels=labels)
    running = GaugeMetricFamily("inferq_queue_running", "Pictures that a worker has claimed.", labels=labels)
    oldest = GaugeMetricFamily("inferq_queue_oldest_seconds", "Age of the oldest unfinished picture.", labels=labels)
    for where, depth in queue_depths.by_model(container, tenant).items():
        waiting.add_metric(where, depth["waiting"])
        running.add_metric(where, depth["running"])
        oldest.add_metric(where, depth["oldest_seconds"])
    yield from (waiting, running, oldest)


def _workers(container: Container, _tenant: str) -> Iterator[Family]:
    workers, trainers = container.queue.workers.list(), container.queue.workers.list("trainers")
    yield GaugeMetricFamily("inferq_workers", "Workers with a current heartbeat.", value=len(workers))
    yield GaugeMetricFamily("inferq_trainers", "Trainers with a current heartbeat.", value=len(trainers))
    busy = sum(bool(trainer.get("busy")) for trainer in trainers)
    yield GaugeMetricFamily("inferq_trainers_busy", "Those of them that train a model.", value=busy)
    engines = GaugeMetricFamily(
        "inferq_worker_info", "1 for each worker, with its device and the engine that models begin with.",
        labels=[*_WORKER, "device", "engine"],
    )  # fmt: skip
    pictures = CounterMetricFamily(
        "inferq_worker_pictures", "Pictures that a current worker has run since its start.", labels=_WORKER
    )
    memory = GaugeMetricFamily("inferq_worker_memory_bytes", "Memory of the process of a worker.", labels=_WORKER)
    used = GaugeMetricFamily(
        "inferq_device_memory_used_bytes", "Memory of a worker's card that is used, by all processes.", labels=_WORKER
    )
    total = GaugeMetricFamily("inferq_device_memory_bytes", "Memory of a worker's card.", labels=_WORKER)
    for worker in workers:  # one of an older version, during an upgrade, does not tell all of it
        labels = [str(worker["id"])]
        engines.add_metric([*labels, str(worker.get("device", "")), str(worker.get("engine", ""))], 1)
        pictures.add_metric(labels, worker.get("pictures", 0))
        card: Mapping[str, Any] = worker.get("card_memory") or {}
        for family, value in ((memory, worker.get("memory")), (used, card.get("used")), (total, card.get("total"))):
            if value is not None:
                family.add_metric(labels, value)
    yield from (engines, pictures, memory, used, total)


def _drifts(container: Container, tenant: str) -> Iterator[Family]:
    labels = ["model", "version", "kind"]
    effect = GaugeMetricFamily(
        "inferq_model_drift", "Distance of the last finished day (UTC) from the reference, 0 to 1.", labels=labels
    )
    drifted = GaugeMetricFamily("inferq_model_drifted", "1 if that is large and more than chance.", labels=labels)
    try:
        found = drift_by_model(container, tenant)
    except errors.Unavailable:  # the other metrics are worth more then
        return
    for where, (size, is_drift) in found.items():
        effect.add_metric(where, size)
        drifted.add_metric(where, float(is_drift))
    yield from (effect, drifted)


def drift_by_model(container: Container, tenant: str) -> dict[Labels, tuple[float, bool]]:
    """Return (model, version, kind) -> effect, and whether that is a drift, of the last finished day.

    Of models that the tenant may not see, the largest effect is under HIDDEN: even their names are confidential.
    """
    rows: dict[Labels, tuple[float, bool]] = {}
    for version, comparison in drift.list_finished(container):
        model = (version.name, version.version) if version.tenant == tenant else HIDDEN
        for kind, shift in comparison.shifts.items():
            if shift.effect is not None:
                size, is_drift = rows.get((*model, kind), (0.0, False))
                rows[*model, kind] = (max(size, shift.effect), is_drift or shift.is_drift)
    return rows
