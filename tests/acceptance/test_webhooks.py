"""Webhooks of a running stack: silent receivers delay no other, and a callback that was cut off comes again."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from inferq.client import Client, is_genuine
from tests import stacks
from tests.stacks import Stack, until
from tests.webhook_receivers import Receiver, receiving

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("webhooks") / "data"
    with stacks.running(data, "--workers", "1", INFERQ_WEBHOOK_PRIVATE="true") as running:
        yield running


def submit(client: Client, hook: Receiver) -> str:
    return client.jobs.submit(stacks.digits()[7], webhook={"url": hook.url, "secret": "s3cret"}).id


def test_a_good_receiver_is_called_while_eight_silent_ones_hang(own_stack: Stack) -> None:
    with Client(own_stack.url) as client, ExitStack() as receivers:
        silent = [receivers.enter_context(receiving(silent=True)) for _ in range(8)]
        good = receivers.enter_context(receiving())
        for hook in silent * 3:
            submit(client, hook)
        assert all(hook.wait_for_calls(1, 60) for hook in silent)
        job_id = submit(client, good)

        assert good.wait_for_calls(1, 60)
        headers, body = good.calls[0]
        assert headers["webhook-id"] == job_id
        assert is_genuine("s3cret", headers, body)
        until(lambda: client.webhooks.get(job_id).status == "DELIVERED", 20)
        assert job_id not in {delivery.id for delivery in client.webhooks.list(status="WAITING", limit=100)}
        assert client.webhooks.ping(good.url).received


def test_maintenance_ends_the_callbacks_that_it_has_begun_before_it_stops(own_stack: Stack) -> None:
    with Client(own_stack.url) as client, receiving(silent=True) as slow, receiving() as next_one:
        job_id = submit(client, slow)
        assert slow.wait_for_calls(1, 60)
        os.kill(own_stack.pids()["maintenance"], signal.SIGTERM)
        log = own_stack.data / "logs" / "maintenance.log"
        until(lambda: "callbacks are being sent" in log.read_text(), 30)
        slow.speak.set()
        until(lambda: client.webhooks.get(job_id).status == "DELIVERED", 30)
        assert client.webhooks.get(job_id).attempts == 1
        submit(client, next_one)
        assert next_one.wait_for_calls(1, 60)  # the supervisor has started maintenance again
    assert len(slow.calls) == 1
