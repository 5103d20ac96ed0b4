"""Fixtures for tests with a real worker or trainer in this process."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest

from migrations.__main__ import upgrade
from shared import models
from shared.models import EVERYBODY
from shared.queue import Queue
from shared.settings import Settings
from tests.workers import made_tools


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which a worker has checked the catalogue's digits; copied for each test."""
    from worker import checking
    from worker.runner import Runner

    folder = tmp_path_factory.mktemp("checked")
    upgrade(f"sqlite:///{folder}/inferq.db")
    tools = made_tools(folder, Queue(Settings(), fakeredis.FakeRedis(decode_responses=True)))
    models.fill_catalogue(tools)
    with tools.records.read() as r:
        version = models.pick(r.versions.named(EVERYBODY, "digits"), "digits")
    checking.check(Runner(tools), version.id)
    tools.close()
    return folder
