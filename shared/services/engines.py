"""Use-cases of engines store and read what workers measured about the runtimes of a version."""

from __future__ import annotations

import json
from dataclasses import asdict

from shared.container import Container
from shared.domain.engines import EngineReport, read_report, report_name


def store_report(container: Container, version_id: str, report: EngineReport) -> None:
    """Store the newest report of a version; a version that was removed meanwhile gets none."""
    with container.database.write() as uow:
        if uow.model_versions.find(version_id) is not None:
            uow.key_values.set(report_name(version_id), json.dumps(asdict(report)))


def find_report(container: Container, version_id: str) -> EngineReport | None:
    """Return the newest report of a version; None before a worker has measured it."""
    with container.database.read() as uow:
        stored = uow.key_values.get(report_name(version_id))
    return read_report(json.loads(stored)) if stored else None
