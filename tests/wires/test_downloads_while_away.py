"""Downloads while the storage is away, or lacks a blob that nobody removed: 503 on every route that reads one.

The routes come from the URL map, and those that read the storage are found by watching it: a new one is walked too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from shared.adapters.storage import Storage
from shared.container import Container
from shared.domain.jobs import Outcome
from shared.services import absences, job_pictures, signed_urls
from tests.clocks import Clock
from tests.wires import two_tenants
from tests.wires.two_tenants import World, walked

KNOWN = {
    "/v1/jobs/<job_id>/pictures/<int:position>", "/v1/jobs/<job_id>/pictures/<int:position>/thumbnail",
    "/v1/jobs/<job_id>/explanations/<int:position>", "/v1/trainings/<training_id>/plots/<plot>.<kind>",
    "/v1/models/<name>/versions/<version>/export", "/v1/models/<name>/suggestions/<suggestion_id>/picture",
    "/v1/images/<image_id>/download", "/v1/models/<name>/versions/<version>/export/link",
}  # fmt: skip
"""Routes that are known to read the storage, so that a walk that finds nothing fails."""


@dataclass
class Download:
    """A call that reads the storage, with the blobs that it reads."""

    rule: str
    method: str
    path: str
    keys: set[str] = field(default_factory=set)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def blobs(container: Container) -> Path:
    """The folder of the storage."""
    container.storage.ping()
    return Path(container.settings.storage_url.removeprefix("file://"))


@pytest.fixture
def world(container: Container, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(job_pictures, "MOST_INLINE", 0)  # the pictures of jobs are blobs
    yield from two_tenants.inhabited(replace(container, now=clock))


@pytest.fixture
def downloads(world: World, container: Container, monkeypatch: pytest.MonkeyPatch) -> list[Download]:
    """Every GET by which anna reads the storage, and every link to such a one."""
    with container.database.write() as uow:  # an answer, whose explanation must be there
        uow.jobs.record([Outcome(world.ids["job_id"], 0, [["annas-teal", 0.9]])], time.time())
    found = []
    for rule, method in walked(world):
        if method != "GET" and not rule.rule.endswith("/link"):
            continue
        download = Download(rule.rule, method, signed(container, world.path(rule, world.ids)))
        # Not read to its end, which a stream of events has only with its job.
        with watched(monkeypatch, download.keys), fetched(world, download, is_whole=False) as answer:
            status = answer.status_code
        if download.keys:
            assert status == 200, download.path
            found.append(download)
    assert {download.rule for download in found} >= KNOWN
    assert len([download for download in found if download.rule.endswith("/picture")]) == 4  # two of them on one wire
    return found


def signed(container: Container, path: str) -> str:
    """Return the path with the signature that the Einstein wire takes for pictures."""
    if not (path.endswith("/picture") and "/vision/" in path):
        return path
    expires = int(time.time()) + 10**6
    (signature,) = signed_urls.sign(container, [path], expires)
    return f"{path}?expires={expires}&signature={signature}"


@contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, keys: set[str]) -> Iterator[None]:
    """Add the keys of the blobs that are read in the block."""

    def noting(read: Callable[..., Any]) -> Callable[..., Any]:
        def noted(storage: Storage, key: str, *args: Any) -> Any:
            result = read(storage, key, *args)
            keys.add(key)
            return result

        return noted

    with monkeypatch.context() as patched:
        for name in ("read", "pieces", "size", "fetch_to"):
            patched.setattr(Storage, name, noting(getattr(Storage, name)))
        yield


def fetched(world: World, download: Download, *, is_whole: bool = True) -> TestResponse:
    return world.client.open(download.path, method=download.method, headers=world.anna, buffered=is_whole)


def must_wait(answer: TestResponse, download: Download, why: str) -> None:
    assert (answer.status_code, why in answer.text) == (503, True), (download.path, answer.text)
    assert float(answer.headers["Retry-After"]) > 0, download.path
    assert answer.mimetype.endswith("json"), download.path


def test_while_the_storage_is_away_every_download_says_when_to_come_back(
    world: World, downloads: list[Download], blobs: Path
) -> None:
    elsewhere = blobs.with_name("elsewhere")
    blobs.rename(elsewhere)
    blobs.mkdir()  # as the place of a file system is when it is not mounted
    for download in downloads:
        must_wait(fetched(world, download), download, "does not answer")
    blobs.rmdir()
    elsewhere.rename(blobs)
    for download in downloads:
        assert fetched(world, download).status_code == 200, download.path


def test_a_blob_that_nobody_removed_is_gone_only_when_it_was_missing_for_minutes(
    world: World, downloads: list[Download], blobs: Path, clock: Clock
) -> None:
    for download in downloads:
        for key in download.keys:
            blob = blobs / key
            kept = blob.rename(blob.with_name("kept"))
            must_wait(fetched(world, download), download, "which nobody removed, since 20")
            clock.now += absences.WAITED - 100
            must_wait(fetched(world, download), download, "which nobody removed, since 20")
            clock.now += 100
            lost = fetched(world, download)
            assert lost.status_code == (409 if "/export" in download.rule else 404), (download.path, lost.text)
            assert "has lost" in lost.text
            kept.rename(blob)
            assert fetched(world, download).status_code == 200, download.path
            kept = blob.rename(blob.with_name("kept"))
            must_wait(fetched(world, download), download, "which nobody removed")  # another absence
            kept.rename(blob)
            assert fetched(world, download).status_code == 200, download.path


def test_what_was_removed_is_gone_at_once(world: World) -> None:
    image = world.ids["image_id"]
    sent = world.client.post("/v1/jobs", json={"inputs": [{"image_id": image}], "model": "digits"}, headers=world.anna)
    assert sent.status_code == 202, sent.text
    picture = Download("", "GET", f"/v1/jobs/{sent.json['_id']}/pictures/0")
    assert fetched(world, picture).status_code == 200
    assert world.client.delete(f"/v1/images/{image}", headers=world.anna).status_code == 204
    assert "is not kept any more" in fetched(world, picture).text
    for path in (picture.path, f"/v1/images/{image}/download"):
        assert fetched(world, Download("", "GET", path)).status_code == 404
