"""What a disk holds after a power cut: replays the records of record.c and keeps only what was waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Record:
    """A change of a file, or the end of a wait for the disk."""

    what: str
    path: str
    other: str
    number: int
    data: bytes


@dataclass
class _File:
    content: bytearray = field(default_factory=bytearray)
    on_disk: bytes = b""


@dataclass
class _Folder:
    entries: dict[str, _File | _Folder] = field(default_factory=dict)
    on_disk: dict[str, _File | _Folder] = field(default_factory=dict)


class Disk:
    """A folder as its processes see it, and as it is on the disk.

    The contents of a file are on the disk as they were when it was last synced, the names in a folder as they were when
    that folder was. File systems keep more than that, but promise no more.
    """

    def __init__(self, folder: str) -> None:
        self._folder, self._root = folder, _Folder()

    def apply(self, record: Record) -> None:
        """Make the change of a record."""
        if record.path.endswith((" (deleted)", "-shm")):  # SQLite makes its shared memory anew
            return
        parent, name = self._parent(record.path)
        found = parent.entries.get(name) if name else self._root
        if record.what == "sync":
            if isinstance(found, _Folder):
                found.on_disk = dict(found.entries)
            elif found:
                found.on_disk = bytes(found.content)
        elif record.what == "folder":
            parent.entries[name] = _Folder()
        elif record.what == "remove":
            parent.entries.pop(name, None)
        elif record.what == "rename":
            folder, new_name = self._parent(record.other)
            folder.entries[new_name] = parent.entries.pop(name)
        else:
            self._change(record, parent, name)

    def read(self, name: str) -> bytes:
        """Return what processes read in a file of the folder itself; empty if it does not exist yet."""
        found = self._root.entries.get(name)
        return bytes(found.content) if isinstance(found, _File) else b""

    def restore(self, target: Path) -> None:
        """Write into a folder what is left if the power goes now."""
        _restore(self._root, target)

    def _parent(self, path: str) -> tuple[_Folder, str]:
        *folders, name = path.removeprefix(self._folder).strip("/").split("/")
        folder = self._root
        for each in folders:
            inner = folder.entries[each]
            assert isinstance(inner, _Folder), path
            folder = inner
        return folder, name

    @staticmethod
    def _change(record: Record, parent: _Folder, name: str) -> None:
        file = parent.entries.setdefault(name, _File())
        assert isinstance(file, _File), record.path
        if record.what == "write":
            end = record.number + len(record.data)
            file.content.extend(bytes(max(0, end - len(file.content))))
            file.content[record.number : end] = record.data
        elif record.what == "truncate" or record.number:  # opened with O_TRUNC: its number is 1
            size = record.number if record.what == "truncate" else 0
            file.content[size:] = bytes(max(0, size - len(file.content)))


def _restore(folder: _Folder, target: Path) -> None:
    target.mkdir()
    for name, entry in folder.on_disk.items():
        if isinstance(entry, _Folder):
            _restore(entry, target / name)
        else:
            (target / name).write_bytes(entry.on_disk)


def records(log: Path) -> Iterator[Record]:
    """Yield the records in their order."""
    with log.open("rb") as file:
        while line := file.readline():
            what, path, other, number, size = line.decode().rstrip("\n").split("\t")
            yield Record(what, path, other, int(number), file.read(int(size)))
