"""`python docs/reference/metrics.py` writes metrics.md, the table of all metrics, from what /metrics collects."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from unittest import mock

import fakeredis
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from api import metrics
from api.application import create_app
from docs.tables import origin, table, write
from migrations.__main__ import upgrade
from shared.adapters.queue.queue import Queue
from shared.container import build
from shared.settings import Settings

HEAD = """\
# Metrics

`GET /metrics` answers in the text format of Prometheus. It needs no key: restrict it in a proxy. It is enough to scrape
one API process: every process adds what it has counted to sums in Redis, every five seconds and at its end, so that the
numbers of a process stay when it is gone ([why](../decisions/0052-counts-are-sums-in-redis.md)). A process that is
killed takes up to five seconds of counts with it; a Redis that loses everything begins at 0, as `rate()` expects.
[Alerts](../operations/alerts.md) has the rules for Prometheus and a dashboard for Grafana.

"""
TAIL = """\
A model of a single tenant is counted as `(private)`, with an empty version: even its name is confidential. With a key,
those of its tenant have their names, for 30 days after their last picture, and `(private)` is the rest.

| label | values |
|---|---|
| `wire` | `native`, `einstein_vision`, `huggingface`, `img_processing`, `sap_leonardo` |
| `route` | the template of the route, such as `/v1/jobs/<job_id>`; `(unknown)`, as the method, where there is none |
| `priority` | `high`, `normal`, `low` |
| `outcome` of pictures | `done`; `failed`, with the `code` of the error; `dropped`, such as those of cancelled jobs |
| `outcome` of jobs and trainings | the state in which they ended, in small letters; a job that is retried ends again |
| `outcome` of callbacks | `delivered`, `retried` (it will be), `failed` (for good) |
| `closed` | `none_left`: no other picture waited; `full`: the worker takes no more; `alone`: it was claimed before |

A histogram has `_bucket`, `_sum` and `_count`; seconds of batches are counted once for each batch. What the API refuses
for overload without a look at it is counted in `inferq_requests_total` only. `inferq_worker_pictures_total` counts from
the start of each worker; a worker that has stopped is no longer listed.

An answer that was waited for has the header `Server-Timing`, which browsers show beside the request: the milliseconds
until a worker claimed the job (`queue`), of reading its pictures (`decode`), in the network (`infer`), until the answer
was stored (`store`), and their `total`.

`GET /healthz` answers 200 while the process runs. `GET /readyz` answers 503 with the reason while database, queue,
storage, workers or the default model are not ready.
"""


def pages() -> dict[str, str]:
    """Return name -> text."""
    rows = [
        (
            f"`{metric.name}{'_total' if metric.type == 'counter' else ''}`",
            metric.type,
            labels(metric),
            metric.documentation,
        )
        for metric in collected()
    ]
    lines = [HEAD + origin("metrics", "api/metrics.py"), "", *table(("metric", "type", "labels", "meaning"), rows)]
    return {"metrics.md": "\n".join(lines) + "\n" + TAIL}


def labels(metric: Metric) -> str:
    """Return the names of the labels of a metric."""
    return ", ".join(f"`{name}`" for name in getattr(metric, "_labelnames", ()))


def collected() -> list[Metric]:
    """Return what /metrics shows of a service that has done nothing yet."""
    found: list[Metric] = []

    def keep(registry: CollectorRegistry) -> bytes:
        found.extend(registry.collect())  # the text that is made of them names no labels while there is no value
        return b""

    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/inferq.db"
        upgrade(url)
        settings = Settings(database_url=url, storage_url=f"file://{folder}/blobs")
        built = build(settings)
        container = replace(built, queue=Queue(settings, fakeredis.FakeRedis(decode_responses=True)), now=time.time)
        with mock.patch.object(metrics, "generate_latest", keep):
            create_app(container).test_client().get("/metrics")
        built.close()
    return found


if __name__ == "__main__":
    write(pages())
