"""A power cut loses nothing that was answered, if each answer waits for the disk: a process's writes, recorded."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.storage import Storage
from tests import preload
from tests.preload import answering
from tests.preload.disk import Disk, Record, records

pytestmark = pytest.mark.slow
CUTS = 20


@dataclass
class Recorded:
    """What a process has written below `folder`, and its database."""

    folder: Path
    database_url: str
    records: list[Record]

    def cuts(self, into: Path) -> Iterator[tuple[list[dict[str, Any]], Path]]:
        """Yield (what was answered, what is on the disk) for power cuts at random moments and at the end."""
        disk, at = Disk(str(self.folder)), self._moments()
        for number, record in enumerate(self.records):
            disk.apply(record)
            if number in at:
                left = into / str(number)
                disk.restore(left)
                yield [json.loads(line) for line in disk.read("answers").splitlines()], left

    def _moments(self) -> set[int]:
        """Return the numbers of records after which the power goes: many just after an answer."""
        answers = [number for number, record in enumerate(self.records) if record.path.endswith("/answers")]
        chosen = random.Random(1)
        some = chosen.sample(range(answers[0], len(self.records)), CUTS // 2) + chosen.sample(answers, CUTS // 2)
        return {*some, len(self.records) - 1}


@pytest.fixture
def recorded(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Recorded:
    """The record of a process with that durability, on SQLite and PostgreSQL."""
    folder, log = tmp_path / "data", tmp_path / "record"
    folder.mkdir()
    on_sqlite = database.url.startswith("sqlite")
    url = f"sqlite:///{folder}/inferq.db" if on_sqlite else database.url
    library = preload.compiled("record", tmp_path)
    command = [sys.executable, "-m", "tests.preload.answering", str(folder), url, request.param]
    record = {"LD_PRELOAD": str(library), "RECORD_LOG": str(log), "RECORD_BELOW": str(folder)}
    done = subprocess.run(command, env=os.environ | record, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return Recorded(folder, url, list(records(log)))


def lost(answers: list[dict[str, Any]], database_url: str, left: Path) -> list[str]:
    """Return what of the answered jobs and blobs is not there, or cannot be read."""
    database, storage = Database(database_url), Storage(f"file://{left}/blobs")
    missing: list[str] = []
    for answer in answers:
        try:
            found = [storage.read(answer["blob"])] if "blob" in answer else pictures(database, storage, answer["job"])
        except (errors.Unavailable, FileNotFoundError):
            found = []
        if [hashlib.sha256(data).hexdigest() for data in found] != answer["pictures"]:
            missing.append(answer.get("job") or answer["blob"])
    database.close()
    return missing


def pictures(database: Database, storage: Storage, job_id: str) -> list[bytes]:
    with database.read() as uow:
        items = uow.jobs.items(job_id)
        assert uow.jobs.known([job_id]) or not items
        kept = {item.position: uow.jobs.picture(job_id, item.position) for item in items}
    return [kept[each.position] or storage.read(each.blob, each.offset, each.size) for each in items]


def losses(recorded: Recorded, into: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (number of answers, what of them is lost) for each cut."""
    into.mkdir()
    for answers, left in recorded.cuts(into):
        on_sqlite = recorded.database_url.startswith("sqlite")
        yield len(answers), lost(answers, f"sqlite:///{left}/inferq.db" if on_sqlite else recorded.database_url, left)


@pytest.mark.parametrize("recorded", ["power"], indirect=True)
def test_every_answered_job_is_there_after_a_power_cut_with_its_pictures(recorded: Recorded, tmp_path: Path) -> None:
    found = list(losses(recorded, tmp_path / "cut"))
    assert [missing for _, missing in found if missing] == []
    assert max(answers for answers, _ in found) == answering.REQUESTS + 4


@pytest.mark.parametrize("recorded", ["process"], indirect=True)
def test_a_process_that_does_not_wait_for_the_disk_loses_jobs(recorded: Recorded, tmp_path: Path) -> None:
    assert any(missing for _, missing in losses(recorded, tmp_path / "cut"))  # so the test above can fail
