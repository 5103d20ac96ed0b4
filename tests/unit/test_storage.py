"""Blobs in a folder and in an object store: what lies below a folder, and parts of blobs."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from moto.server import ThreadedMotoServer

from shared import errors
from shared.adapters.storage import MARKER, MarkerRecord, Storage


@pytest.fixture(scope="module")
def s3_server() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty bucket on a server that speaks S3."""
    speak_s3(s3_server, monkeypatch)
    bucket = f"pictures-{uuid.uuid4().hex}"
    fsspec.filesystem("s3", skip_instance_cache=True).mkdir(bucket)
    return f"s3://{bucket}"


def speak_s3(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL": address, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()  # a client keeps the address that it was made with


@pytest.fixture(params=["file", "memory", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "s3":
        return Storage(f"{request.getfixturevalue('s3')}/blobs")
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


def test_a_blob_larger_than_a_part_of_an_upload_is_written_and_read(s3: str, tmp_path: Path) -> None:
    storage, data = Storage(s3), os.urandom(60 * 1024 * 1024)  # s3fs sends parts of 50 MiB
    storage.write("weights", data)
    assert storage.size("weights") == len(data)
    storage.fetch_to("weights", str(tmp_path / "weights"))
    storage.put_from(str(tmp_path / "weights"), "copy")
    assert b"".join(storage.pieces("copy")) == data


def test_a_blob_whose_writing_fails_is_not_there(storage: Storage) -> None:
    with contextlib.suppress(ZeroDivisionError), storage.writing("blob") as blob:
        blob.write(b"half")
        raise ZeroDivisionError
    with pytest.raises(FileNotFoundError):
        storage.read("blob")


def test_a_bucket_without_its_marker_is_away(s3: str) -> None:
    marked = threading.Event()
    storage = Storage(s3, record=MarkerRecord(marked.is_set, marked.set))
    storage.write("jobs/1", b"picture")
    assert marked.is_set()
    Storage(s3).delete(MARKER)
    for step in (storage.ping, lambda: storage.read("jobs/2"), lambda: storage.write("images/1", b"picture")):
        with pytest.raises(errors.Unavailable, match=MARKER):
            step()
    assert storage.read("jobs/1") == b"picture"


def test_an_s3_server_that_hangs_is_away_and_holds_no_thread_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.storage._SILENCE", 0.2)
    connections = 0
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it takes connections, and never says a word

        def count() -> None:
            nonlocal connections
            with contextlib.suppress(OSError):
                while True:
                    accepted.append(silent.accept()[0])
                    connections += 1

        accepted: list[socket.socket] = []
        threading.Thread(target=count, daemon=True).start()
        speak_s3(f"http://127.0.0.1:{silent.getsockname()[1]}", monkeypatch)
        storage = Storage("s3://pictures/blobs")
        with pytest.raises(errors.Unavailable):
            storage.read("blob")
        assert connections == 4, "two tries of two requests, not 25"
    for each in accepted:
        each.close()


def test_the_patience_with_s3_is_that_of_fsspecs_configuration_if_it_has_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 600}})
    filesystem = Storage("s3://pictures")._fs
    assert filesystem.config_kwargs == {"read_timeout": 600}


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
