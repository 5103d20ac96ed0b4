"""Blobs in a folder and in an object store: what lies below a folder, and parts of blobs."""

from __future__ import annotations

import gc
import os
import sys
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared import errors
from shared.adapters.storage import MARKER, MarkerRecord, Storage


@pytest.fixture(params=["file", "memory"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(f"file://{tmp_path}/blobs" if request.param == "file" else f"memory://{uuid.uuid4().hex}/blobs")


def test_a_tree_is_every_file_below_a_folder_with_its_size(storage: Storage) -> None:
    for key in ("mugs/b/2.png", "mugs/b/1.png", "mugs/a/deep/er/3.png", "mugs/0.png", "mugs2/4.png", "mugs/mugs/5.png"):
        storage.write(key, bytes(int(key[-5])))
    assert list(storage.tree("mugs")) == [
        ("mugs/0.png", 0),
        ("mugs/a/deep/er/3.png", 3),
        ("mugs/b/1.png", 1),
        ("mugs/b/2.png", 2),
        ("mugs/mugs/5.png", 5),
    ]
    assert list(storage.tree("plates")) == []
    assert list(storage.tree("mugs/0.png")) == []


def test_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "blobs" / "mugs").mkdir(parents=True)
    (tmp_path / "secret").write_text("of another user")
    (tmp_path / "blobs" / "mugs" / "file").symlink_to(tmp_path / "secret")
    (tmp_path / "blobs" / "mugs" / "folder").symlink_to(tmp_path)
    assert list(Storage(f"file://{tmp_path}/blobs").tree("mugs")) == []


def test_the_keys_of_a_folder_are_listed_in_pages(storage: Storage) -> None:
    keys = {f"mugs/{number}.png" for number in range(7)}
    for key in (*keys, "mugs2/8.png"):
        storage.write(key, b"a mug")

    pages = list(storage.pages("mugs", 3))

    assert [len(page) for page in pages] == [3, 3, 1]
    assert {key for page in pages for key in page} == set(storage.list("mugs")) == keys
    assert list(storage.pages("plates")) == storage.list("plates") == []


def test_a_folder_is_listed_while_the_keys_of_a_page_are_deleted(storage: Storage) -> None:
    for number in range(7):
        storage.write(f"mugs/{number}.png", b"a mug")
    for page in storage.pages("mugs", 3):
        for key in page:
            storage.delete(key)
    assert storage.list("mugs") == []


def test_a_listing_that_is_left_early_closes_its_folder(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    storage = Storage(f"file://{tmp_path}/blobs")
    for number in range(3):
        storage.write(f"mugs/{number}.png", b"a mug")
    pages = storage.pages("mugs", 1)
    next(pages)
    pages.close()
    del pages
    gc.collect()
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


def test_a_part_of_a_blob_is_read(storage: Storage) -> None:
    storage.write("blob", b"0123456789")
    assert (storage.read("blob", 2, 3), storage.read("blob", 7), storage.read("blob")) == (
        b"234",
        b"789",
        b"0123456789",
    )


def test_a_blob_is_read_piece_by_piece(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.storage._PIECE", 4)
    storage.write("blob", b"0123456789ab")
    assert list(storage.pieces("blob")) == [b"0123", b"4567", b"89ab"]
    with pytest.raises(FileNotFoundError):
        next(storage.pieces("none"))


def test_a_store_that_takes_a_version_before_the_offset_reads_the_same_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = MemoryFileSystem.cat_file

    def cat_file(self: MemoryFileSystem, path: str, version_id: str | None = None, start: int | None = None,
                 end: int | None = None) -> bytes:  # fmt: skip
        assert version_id is None  # as s3fs has it
        return bytes(whole(self, path, start=start, end=end))

    monkeypatch.setattr(MemoryFileSystem, "cat_file", cat_file)
    storage = Storage(f"memory://{uuid.uuid4().hex}")
    storage.write("blob", b"0123456789")
    assert storage.read("blob", 2, 3) == b"234"


def test_a_blob_is_written_while_the_blobs_of_its_folder_are_deleted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path}/blobs")
    replace = os.replace

    def delete_first(source: str, target: str) -> None:
        monkeypatch.setattr("os.replace", replace)
        keys = storage.list("plots/1")
        assert keys
        for key in keys:
            storage.delete(key)
        replace(source, target)

    monkeypatch.setattr("os.replace", delete_first)
    storage.write("plots/1/curve.svg", b"<svg/>")
    assert storage.read("plots/1/curve.svg") == b"<svg/>"


# a storage that is away


@pytest.fixture(params=["file", "memory"])
def own(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Storage]:
    """A function that opens the storage of one installation, as each of its processes does."""
    url = f"file://{tmp_path}/blobs" if request.param == "file" else f"memory://{uuid.uuid4().hex}/blobs"
    known: list[bool] = []
    return lambda: Storage(url, record=MarkerRecord(lambda: bool(known), lambda: known.append(True)))


def leave(storage: Storage) -> None:
    """Take all blobs away, and the marker with them."""
    storage._fs.rm(storage._root, recursive=True)


def test_a_new_storage_is_marked_at_its_first_use(own: Callable[[], Storage]) -> None:
    assert own().list("jobs") == []
    assert b"inferq" in own().read(MARKER)


def test_a_storage_of_an_earlier_release_is_marked_where_it_is(tmp_path: Path) -> None:
    Storage(f"file://{tmp_path}").write("jobs/1", b"1")
    known: list[bool] = []
    storage = Storage(f"file://{tmp_path}", record=MarkerRecord(lambda: bool(known), lambda: known.append(True)))
    assert storage.read("jobs/1") == b"1"
    assert (tmp_path / MARKER).exists()
    assert known == [True]


@pytest.mark.parametrize("started", ["before", "after"])
def test_nothing_is_believed_of_a_storage_that_is_away_and_nothing_is_written_there(
    own: Callable[[], Storage], tmp_path: Path, started: str
) -> None:
    storage = own()
    storage.write("jobs/1", b"1")
    leave(storage)
    if started == "after":
        storage = own()
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"1")
    steps: list[Callable[[], object]] = [
        lambda: storage.read("jobs/1"),
        lambda: next(storage.pieces("jobs/1")),
        lambda: storage.fetch_to("jobs/1", str(target)),
        lambda: storage.delete("jobs/1"),
        lambda: storage.list("jobs"),
        lambda: list(storage.tree("jobs")),
        lambda: storage.write("images/2", b"2"),
        lambda: storage.put_from(str(source), "weights/2"),
        storage.ping,
    ]
    for step in steps:
        with pytest.raises(errors.Unavailable, match=MARKER):
            step()
    assert not storage._fs.exists(storage._root)


def test_a_file_cannot_be_put_into_a_known_folder_of_a_storage_that_is_away(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/blobs", record=MarkerRecord(lambda: False, lambda: None))
    storage.write("weights/1", b"1")
    leave(storage)
    with pytest.raises(errors.Unavailable, match="does not answer"):
        storage.put_from(__file__, "weights/2")
    with pytest.raises(errors.Unavailable, match="does not answer"):
        storage.write("weights/2", b"2")
    assert not (tmp_path / "blobs").exists()


def test_a_blob_of_a_storage_that_comes_back_while_it_is_looked_for_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(f"file://{tmp_path}/blobs", record=MarkerRecord(lambda: False, lambda: None))
    storage.write("jobs/1", b"1")
    (tmp_path / "blobs").rename(tmp_path / "away")
    has_marker = storage._has_marker

    def come_back() -> bool:
        (tmp_path / "away").rename(tmp_path / "blobs")
        return has_marker()

    monkeypatch.setattr(storage, "_has_marker", come_back)
    assert storage.read("jobs/1") == b"1"


def test_a_store_of_others_needs_no_marker_but_a_folder(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    store = Storage(f"file://{tmp_path}/store")
    assert list(store.tree("mugs")) == []
    (tmp_path / "store").rmdir()
    with pytest.raises(errors.Unavailable, match="folder is missing"):
        list(store.tree("mugs"))


@pytest.mark.parametrize("key", ["a", "jobs/2026-11-26/a", "x/y/z/a"])
def test_all_folders_on_the_way_to_a_new_blob_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def note(file: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{file}") if sys.platform == "linux" else "")
        fsync(file)

    monkeypatch.setattr(os, "fsync", note)
    Storage(f"file://{tmp_path}/blobs", durability="power").write(key, b"data")
    if sys.platform == "linux":
        expected = [tmp_path / "blobs" / folder for folder in Path(key).parents] + [tmp_path]
        assert set(map(str, expected)) <= set(synced)
    synced.clear()
    Storage(f"file://{tmp_path}/blobs").write(key, b"data")
    assert synced == []


def test_an_object_store_that_cannot_be_reached_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    unreachable = type("EndpointConnectionError", (Exception,), {"__module__": "botocore.exceptions"})

    def fail(*_: object, **__: object) -> None:
        raise unreachable("Could not connect to the endpoint URL")

    storage = Storage(f"memory://{uuid.uuid4().hex}/blobs")
    storage.write("jobs/1", b"1")
    for name in ("cat_file", "ls", "open", "_open", "rm_file", "get_file", "put_file"):
        monkeypatch.setattr(MemoryFileSystem, name, fail)
    steps: list[Callable[[], object]] = [
        lambda: storage.read("jobs/1"),
        lambda: next(storage.pieces("jobs/1")),
        lambda: storage.list("jobs"),
    ]
    for step in steps:
        with pytest.raises(errors.Unavailable, match="Could not connect"):
            step()
    with pytest.raises(errors.Unavailable, match="Could not connect"):
        storage.write("jobs/2", b"2")
    with pytest.raises(errors.Unavailable, match="Could not connect"):
        storage.put_from(__file__, "jobs/2")
