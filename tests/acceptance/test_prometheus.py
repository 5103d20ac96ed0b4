"""A real Prometheus reads a real stack: the dashboard shows what was done, and the alerts fire for what is wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from tests import digit_images, stacks
from tests.prometheus_server import Prometheus, reading
from tests.stacks import Stack, until
from tests.unit.test_monitoring import RULES, names_in, panels, variables
from tests.webhook_receivers import Receiver, receiving
from tests.wires.test_checklist import WIRES

pytestmark = [pytest.mark.long, pytest.mark.acceptance, pytest.mark.slow]

MAY_BE_EMPTY = {
    "Drift of the last day": "a model has drifted, or not, once it has run for a whole day (UTC)",
    "Drifted now": "it shows the models that have drifted",
    "Memory of cards": "workers without a card have none",
}
"""Panel -> why it shows nothing on a stack that has just been started."""
INTERVAL = "16s"
"""What Grafana puts in place of $__rate_interval: that of its points, 15 s, and that of two scrapes."""
ALL, CHOSEN = ".*", r"(digits|\\(private\\))"
"""What it puts in place of $model: all of them, or two that are chosen."""
ANSWERED = stacks.digits()[7][1]
PATIENCE = 60
"""Seconds until Prometheus knows of something, at most: counts are stored every 5 s, and a machine may be slow."""


class Watched:
    """A stack that everything is asked of, and the Prometheus that reads it."""

    def __init__(self, stack: Stack, prometheus: Prometheus, receivers: dict[int, Receiver]) -> None:
        self.stack, self.prometheus, self._receivers = stack, prometheus, receivers
        self._rounds = 0

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = httpx.post(self.stack.url + path, timeout=90, **body)
        assert answer.is_success, answer.text
        return dict(answer.json())

    def upload(self) -> None:
        """Send a dataset, which the trainer reads once it has started."""
        archive = ("numbers.tgz", digit_images.archive(digit_images.files({3: 12, 8: 12})))
        self.post("/v1/datasets", files={"file": archive}, data={"name": "numbers"})

    def train(self) -> None:
        """Have a model trained that tells its digits apart."""
        until(lambda: self.stack.get("/v1/datasets/numbers")["state"] == "READY", 60, self.stack.output)
        parameters = {"epochs": 1, "fine_tune": "never"}
        self.post("/v1/trainings", json={"dataset": "numbers", "name": "mine", "base": "digits",
                                         "parameters": parameters})  # fmt: skip

    def use(self) -> None:
        """Send requests of all wires, jobs that are done, that fail and that are cancelled, and callbacks."""
        for wire in WIRES.values():
            wire.send(self.stack)
        for priority in ("high", "normal", "low"):
            self.submit(ANSWERED, ANSWERED[:-30], priority=priority, deadline="60", webhook=self._receivers[200].url)
        self.submit(ANSWERED, webhook=self._receivers[503].url)
        self.stack.finished(self.submit(ANSWERED[:-30]), 30)
        httpx.post(f"{self.stack.url}/v1/jobs/{self.submit(*[ANSWERED] * 20)}/cancel", timeout=90)

    def submit(self, *pictures: bytes, **fields: str) -> str:
        """Send POST /v1/jobs; return the id of the job."""
        self._rounds += 1
        files = [(f"{self._rounds}-{number}.png", picture) for number, picture in enumerate(pictures)]
        return str(self.stack.submit(files, **fields)["_id"])

    def firing_while_refused(self) -> set[str]:
        """Send a request to the one wire that has a limit, which is soon exceeded; return the alerts that fire."""
        WIRES["IMG"].send(self.stack)
        return set(self.prometheus.firing())

    def fail_to_call_back(self) -> None:
        """Have a callback refused for good."""
        self.submit(ANSWERED, webhook=self._receivers[410].url)
        assert self._receivers[410].wait_for_calls(1)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    folder = tmp_path_factory.mktemp("watched")
    about = {"INFERQ_LEASE": "4", "INFERQ_WEBHOOK_PRIVATE": "true", "INFERQ_IMG_LIVE_RATE": "2/minute"}
    with ExitStack() as exits:
        receivers = {status: exits.enter_context(receiving(status)) for status in (200, 410, 503)}
        stack = exits.enter_context(stacks.running(folder / "data", "--workers", "1", trainer=True, **about))
        # The one rule that wants more patience than a test has.
        changed = {"inferq_queue_oldest_seconds) > 300": "inferq_queue_oldest_seconds) > 2"}
        yield Watched(stack, exits.enter_context(reading(stack.url, folder / "prometheus", changed)), receivers)


def test_every_panel_of_the_dashboard_shows_what_was_done(watched: Watched) -> None:
    prometheus = watched.prometheus
    watched.upload()
    watched.use()
    watched.train()
    until(lambda: bool(prometheus.query("inferq_jobs_total")), 30)
    empty: list[str] = []

    def shown() -> bool:
        watched.use()
        empty[:] = [f"{panel}: {expression}" for panel, expression, _ in panels()
                    if panel not in MAY_BE_EMPTY and not numbers(prometheus, expression)]  # fmt: skip
        return not empty

    until(shown, 60, lambda: "\n".join(empty))
    trained = 'increase(inferq_training_seconds_count{outcome="done"}[1h]) > 0'
    until(lambda: bool(prometheus.query(trained)), 60, watched.stack.output)
    assert prometheus.scrapes() > 2
    for panel, expression, legend in panels():
        series = prometheus.query(as_grafana_asks(expression, CHOSEN))
        assert series or panel in MAY_BE_EMPTY, panel
        # An empty label, as that of the code of what has succeeded, is none for Prometheus.
        labels = set().union(*(each["metric"] for each in series))
        assert not series or set(re.findall(r"{{(\w+)}}", legend)) <= labels, panel
    for variable in variables():
        asked = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable)
        assert asked, variable
        assert "digits" in prometheus.label_values(asked[2], asked[1])


def as_grafana_asks(expression: str, model: str = ALL) -> str:
    return expression.replace("$__rate_interval", INTERVAL).replace("$model", model)


def numbers(prometheus: Prometheus, expression: str) -> list[float]:
    """Return the values that are numbers, which the mean of nothing is not."""
    values = [float(series["value"][1]) for series in prometheus.query(as_grafana_asks(expression))]
    return [value for value in values if not math.isnan(value)]


def test_alerts_fire_for_what_is_wrong_and_for_nothing_else(watched: Watched) -> None:
    prometheus = watched.prometheus
    watched.use()
    for rule in RULES:
        prometheus.query(rule["expr"])
    used = {name for rule in RULES for name in names_in(rule["expr"])}

    def unknown() -> set[str]:
        return used - set(prometheus.label_values("__name__", '{job="inferq"}'))

    without = {"inferq_device_memory_bytes", "inferq_device_memory_used_bytes", "inferq_model_drifted"}
    until(lambda: unknown() == without, PATIENCE, lambda: str(unknown()))  # as in MAY_BE_EMPTY
    limited = {"RequestsAreRefused"}
    until(lambda: watched.firing_while_refused() == limited, PATIENCE, lambda: str(prometheus.firing()))

    watched.fail_to_call_back()
    until(lambda: "WebhooksFail" in prometheus.firing(), PATIENCE)
    with watched.stack.halted("worker-1"):
        late = watched.submit(ANSWERED, deadline="1")
        watched.submit(ANSWERED)
        wanted = limited | {"NoWorker", "PicturesWaitLong", "WebhooksFail", "DeadlinesAreMissed"}
        until(lambda: set(prometheus.firing()) == wanted, PATIENCE, lambda: str(prometheus.firing()))
        fired = [alert for alerts in prometheus.firing().values() for alert in alerts]
    assert watched.stack.finished(late, 30)["status"] == "EXPIRED"
    words = " ".join(text for alert in fired for text in alert["annotations"].values())
    assert "of the wire img_processing are refused" in words
    assert [mark for mark in ("{{", "<error", "<no value>") if mark in words] == []  # how a template goes wrong
    until(lambda: not {"NoWorker", "PicturesWaitLong"} & set(prometheus.firing()), PATIENCE)
