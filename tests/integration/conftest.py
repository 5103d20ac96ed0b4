"""Fixtures for tests with a real worker or trainer in this process."""

from __future__ import annotations

from pathlib import Path

import fakeredis
import pytest

from migrations.__main__ import upgrade
from shared.adapters.queue.queue import Queue
from shared.domain.models import ALL_TENANTS, pick
from shared.services import catalogue
from shared.settings import Settings
from tests.workers import make_container


@pytest.fixture(scope="session")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder in which a worker has checked the catalogue's digits; copied for each test."""
    from worker import model_check
    from worker.process import WorkerProcess

    folder = tmp_path_factory.mktemp("checked")
    upgrade(f"sqlite:///{folder}/inferq.db")
    container = make_container(folder, Queue(Settings(), fakeredis.FakeRedis(decode_responses=True)))
    catalogue.fill(container)
    with container.database.read() as uow:
        version = pick(uow.model_versions.named(ALL_TENANTS, "digits"), "digits")
    model_check.check(WorkerProcess(container), version.id)
    container.close()
    return folder
