"""An operator's night: workers stand still, Redis is full, a receiver is silent. The commands name the part and the
cure within a minute, and say nothing more once it is cured."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from inferq.client import Client
from tests import stacks
from tests.stacks import Stack, digits, until
from tests.webhook_receivers import receiving

pytestmark = pytest.mark.long
MINUTE = 60.0


@pytest.fixture(scope="module")
def own_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    data = tmp_path_factory.mktemp("operator") / "data"
    with stacks.running(data, "--workers", "2", INFERQ_WEBHOOK_PRIVATE="true") as running:
        yield running


@dataclass(frozen=True)
class Said:
    """What a command has said."""

    code: int
    text: str

    @property
    def words(self) -> str:
        """The text without its lines and columns."""
        return " ".join(self.text.split())

    def of(self, part: str) -> str:
        """Return what the doctor says of a part, with the cures."""
        found = re.findall(rf"^. {part} .*(?:\n +→ .*)*", self.text, re.MULTILINE)
        return " ".join(" ".join(found).split())


def run(stack: Stack, *words: str) -> Said:
    """Run a command as an operator does."""
    command = [sys.executable, "-m", "inferq", *words, "--url", stack.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=MINUTE, check=False)
    return Said(done.returncode, done.stdout + done.stderr)


def doctor(stack: Stack, part: str, *words: str) -> Said:
    """Ask the doctor until it says these words of the part, for a minute."""
    said = [Said(0, "")]

    def names_it() -> bool:
        said.append(run(stack, "doctor"))
        return all(word in said[-1].of(part) for word in words)

    until(names_it, MINUTE, lambda: said[-1].text)
    return said[-1]


def assert_well(stack: Stack) -> None:
    """Assert that the commands find nothing wrong any more, within a minute."""
    said = [Said(1, "")]

    def is_silent() -> bool:
        said.append(run(stack, "doctor"))
        return said[-1].code == 0 and all(line.startswith("✓") for line in said[-1].text.splitlines())

    until(is_silent, MINUTE, lambda: said[-1].text)
    assert run(stack, "status").code == 0


def submitted(stack: Stack, count: int = 1, webhook: str = "") -> str:
    """Submit so many pictures as one job; return its id."""
    with Client(stack.url) as client:
        return client.jobs.submit(*digits()[:count], webhook=webhook).id


def test_workers_that_stand_still_are_named_and_what_waited_is_answered_when_they_go_on(own_stack: Stack) -> None:
    assert_well(own_stack)
    with own_stack.halted(*(part for part in own_stack.pids() if part.startswith("worker"))):
        jobs = [submitted(own_stack, 3) for _ in range(5)]
        found = doctor(own_stack, "workers", "✗", "2 workers fell silent without being stopped", "kill one that hangs")
        assert found.code == 1
        assert "15 pictures wait" in found.of("queue")
        status = run(own_stack, "status")
        assert (status.code, "workers No worker is running" in status.words) == (1, True), status.text
    for job_id in jobs:
        assert own_stack.finished(job_id, MINUTE)["progress"]["done"] == 3
    assert_well(own_stack)


def test_a_full_redis_is_named_and_pictures_are_answered_when_it_has_room(own_stack: Stack) -> None:
    assert_well(own_stack)
    server = own_stack.redis()
    server.config_set("maxmemory", 1)
    try:
        found = doctor(own_stack, "redis", "it uses", "raise its maxmemory")
        assert "give Redis more memory (`maxmemory`)" in found.of("queue")
        assert found.code == 1
        assert "start one" not in found.text
        status = run(own_stack, "status")
        assert (status.code, "queue The queue is full: Redis has no memory" in status.words) == (1, True), status.text
    finally:
        server.config_set("maxmemory", 0)
    until(lambda: httpx.get(f"{own_stack.url}/readyz").status_code == 200, MINUTE, own_stack.output)
    assert own_stack.finished(submitted(own_stack), MINUTE)["status"] == "DONE"
    assert_well(own_stack)


def test_a_silent_receiver_is_named_until_it_has_taken_its_callback(own_stack: Stack) -> None:
    assert_well(own_stack)
    with receiving(silent=True) as hook:
        job_id = submitted(own_stack, webhook=hook.url)
        address = hook.url.removesuffix("/hook")
        found = doctor(own_stack, "webhooks", "!", f"1 callback of the tenant default waits for {address}")
        assert "has not answered" in found.of("webhooks")
        assert "`inferq webhooks ping URL`" in found.of("webhooks")
        assert (found.code, run(own_stack, "status").code) == (0, 0)  # pictures are answered all the same
        hook.speak.set()
        resent = run(own_stack, "webhooks", "resend", job_id)
        assert resent.code == 0, resent.text
        assert_well(own_stack)
