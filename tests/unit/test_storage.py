"""Blobs in a folder and in an object store: what lies below a folder, and parts of blobs."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from shared.adapters.storage import Storage


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
        for key in storage.list("plots/1"):
            storage.delete(key)
        replace(source, target)

    monkeypatch.setattr("os.replace", delete_first)
    storage.write("plots/1/curve.svg", b"<svg/>")
    assert storage.read("plots/1/curve.svg") == b"<svg/>"
