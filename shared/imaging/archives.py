"""Archives of pictures: reads zips, and tars, packed or not, a member at a time, within limits that no archive changes.

    first bytes ──> archive_readers.py: entries ──┬──> members: flat, or one folder? small enough? ──> (name, bytes)
                                                  └──> names, some, tree: label folders ──> (path, bytes or error)

The limits count unpacked bytes. Nothing is written to disk.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Callable, Collection, Iterator
from typing import BinaryIO

from shared.domain.pictures import show_bytes
from shared.domain.sizes import exactly
from shared.errors import ArchiveNotFlat, BadArchive, BadPicture, NoInput, PictureTooLarge
from shared.imaging.archive_readers import ArchiveEntry, damage, decoded, no_file, tar_entries, too_many, zip_entries
from shared.imaging.unpackers import unpacker

HEAD = 512
"""Bytes that `kind` needs: one tar header."""

TAKEN = ("zip", "tar", "gzip", "bzip2", "xz")
TAKEN_NAMES = "zip, tar, tar.gz, tar.bz2 or tar.xz"
"""How archives of these kinds are called."""

_SIGNS = (
    (b"PK\x03\x04", "zip"),
    (b"PK\x05\x06", "zip"),
    (b"PK\x07\x08", "zip"),
    (b"\x1f\x8b", "gzip"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"Rar!\x1a\x07", "rar"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ\x00", "xz"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
)

_JUNK = ("thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r")

_JUNK_FOLDERS = ("__macosx", "@eadir", "$recycle.bin", "system volume information")
"""Folders of systems, in lower case: macOS packs a second file with attributes for each file into the first, and the
others lie on disks of Synology and Windows."""

_PATH_CHARS = 1024
"""Maximum characters of a path in a tree, as all paths are held in memory at once."""


def kind(head: bytes) -> str:
    """Return the kind of archive that begins with these bytes (`zip`, `tar`, `gzip`, `7z`, ...), or an empty string."""
    for sign, name in _SIGNS:
        if head.startswith(sign):
            return name
    try:
        # By the checksum of the header, because old tars lack `ustar` at 257.
        tarfile.TarInfo.frombuf(head[:HEAD], "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return ""
    return "tar"


def members(
    stream: BinaryIO, *, max_files: int, max_unpacked: int, max_member: int, folders: bool = True
) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of each member of a flat archive, in the archive's order; one is in memory at a time.

    With `folders`, all pictures may lie in one folder instead, which is what people get when they pack a folder; its
    name is left out. `stream` must be seekable. `max_unpacked` and `max_member` are bytes. Hidden files and what
    systems leave behind (`.DS_Store`, `Thumbs.db`, with `folders` also `__MACOSX`) are skipped. Raises BadArchive
    (damaged, encrypted, nested, unpacks to too much), ArchiveNotFlat, TooManyFiles, PictureTooLarge, or NoInput when
    there is nothing in it.
    """
    flat_name = _OneFolder().name if folders else _flat_name

    def name_of(entry: ArchiveEntry) -> str:
        if entry.passed > max_member:  # skipped or not: a tar has to be unpacked past it
            raise _too_large(_spelled(entry.name), max_member)
        return flat_name(entry)

    for name, data in _read(stream, name_of, max_member + 1, max_files, max_unpacked):
        if wrong := _wrong(name, data, max_member):
            raise wrong
        yield show_bytes(name), data


def tree(
    stream: BinaryIO, *, max_files: int, max_unpacked: int, max_member: int
) -> Iterator[tuple[str, bytes | BadPicture]]:
    """Yield path and bytes of each file of an archive with folders, in the archive's order; one is in memory at a time.

    Paths have forward slashes and no `./`; bytes in no known code page are surrogates, see
    archive_names.py. Folders, hidden
    files, hidden folders and files of operating systems (`Thumbs.db`, `__MACOSX`) are skipped at every level. A file of
    more than `max_member` bytes, or one that is itself an archive, is yielded with PictureTooLarge or BadArchive
    instead of its bytes, and the others follow. Errors of the whole archive are raised: BadArchive (damaged, encrypted,
    links, paths that lead outside, unpacks to more than `max_unpacked` bytes, where skipped files count), TooManyFiles
    or NoInput; files may have been yielded before.
    """
    for path, data in _read(stream, _tree_path, max_member + 1, max_files, max_unpacked):
        yield path, _wrong(path, data, max_member) or data


def names(stream: BinaryIO, *, max_files: int, max_unpacked: int) -> list[str]:
    """Return the paths that `tree` yields from the same archive, in the same order; raises what `tree` raises.

    A tar has to be unpacked for that, and `max_unpacked` limits it. For a zip the directory is enough, so that damaged
    contents, or contents that unpack to too much, are found by `tree` only.
    """
    return [path for path, _ in _read(stream, _tree_path, 0, max_files, max_unpacked)]


def some(
    stream: BinaryIO, wanted: Collection[str], *, max_files: int, max_unpacked: int, max_total: int
) -> dict[str, bytes]:
    """Return the bytes of the wanted files of an archive, by their paths, as `names` returns them.

    Together they are at most `max_total` + 1 bytes; what is beyond that is not read. To be called after `names`, which
    checks the whole archive; raises BadArchive.
    """
    found: dict[str, bytes] = {}
    left = max_total + 1
    with damage():
        for entry in _entries(stream, _tree_path, max_files, max_unpacked) if wanted else ():
            if (path := _tree_path(entry)) in wanted:
                found[path] = entry.read(left)
                left -= len(found[path])
    return found


def _read(
    stream: BinaryIO, name_of: Callable[[ArchiveEntry], str], most: int, max_files: int, max_unpacked: int
) -> Iterator[tuple[str, bytes]]:
    """Yield name and first `most` bytes of each entry that has a name by `name_of`, within limits for all of them."""
    count = 0
    budget = _Budget(max_unpacked)
    with damage():
        for seen, entry in enumerate(_entries(stream, name_of, max_files, max_unpacked)):
            name = name_of(entry)
            count += bool(name)
            if count > max_files or seen > _most_entries(max_files):
                raise too_many(max_files)
            data = entry.read(most)
            budget.spend(len(data))
            if name:
                yield name, data
            budget.spend(max(0, entry.passed - len(data)))
    if not count:
        raise NoInput("The archive is empty. Put at least one picture into it.")


class _Budget:
    """The number of bytes that may still be unpacked."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def spend(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise BadArchive(f"The archive unpacks to more than {exactly(self._most)}. Split it into several.")


def _entries(
    stream: BinaryIO, name_of: Callable[[ArchiveEntry], str], max_files: int, max_unpacked: int
) -> Iterator[ArchiveEntry]:
    stream.seek(0)
    sort = kind(stream.read(HEAD))
    stream.seek(0)
    if sort == "zip":
        return zip_entries(stream, name_of, max_files)
    if sort in TAKEN:
        return decoded(_tar_entries(stream, sort), lambda: _ahead(stream, sort, max_files, max_unpacked))
    description = f"A {sort} archive" if sort else "A file of this kind"
    raise BadArchive(f"{description} is not taken as an archive. Send {TAKEN_NAMES}.")


def _tar_entries(stream: BinaryIO, sort: str) -> Iterator[ArchiveEntry]:
    return tar_entries(stream if sort == "tar" else unpacker(sort, stream))


def _ahead(stream: BinaryIO, sort: str, max_files: int, max_unpacked: int) -> Iterator[ArchiveEntry]:
    """Yield the entries of a tar from its beginning, and return the stream to its place; the limits are those of
    `_read`."""
    place = stream.tell()
    budget = _Budget(max_unpacked)
    try:
        stream.seek(0)
        for entry in itertools.islice(_tar_entries(stream, sort), _most_entries(max_files)):
            yield entry
            budget.spend(entry.passed)
    finally:
        stream.seek(place)


def _most_entries(max_files: int) -> int:
    """Return how many entries are looked at. Skipped entries are limited too: a small tar.gz can hold millions of
    hidden files. Each picture may have a second file from macOS, and a folder."""
    return 4 * max_files + 16


class _OneFolder:
    """Names the members of an archive whose pictures all lie in one place: at the top, or in one folder there."""

    def __init__(self) -> None:
        self._folder: str | None = None

    def name(self, entry: ArchiveEntry) -> str:
        """Return the name without its folder; empty for an entry to skip. Raises ArchiveNotFlat."""
        path, parts = _parts(entry)
        if _leads_outside(path, parts):
            raise _not_flat("/".join(parts[:-1]) or "/", _ONE_PLACE)
        if not parts or _is_skipped(parts):
            return ""
        folders = parts if entry.is_folder else parts[:-1]
        folder = "/".join(folders)
        # The place of the first picture is the only one. For a zip all names are seen before a picture is unpacked.
        if self._folder is None:
            self._folder = folder
        if len(folders) > 1 or folder != self._folder:
            raise _not_flat(folder or self._folder, _ONE_PLACE)
        return "" if entry.is_folder else parts[-1]


def _flat_name(entry: ArchiveEntry) -> str:
    """Return the name without `./`; empty for an entry to skip. Raises ArchiveNotFlat for any folder."""
    name = _spelled(entry.name).removeprefix("./")
    if name in ("", "."):
        return ""  # `tar -C folder .` writes the folder itself as `./`, which is not another level
    if entry.is_folder or "/" in name or "\\" in name:
        folder = name.rstrip("/\\") if entry.is_folder else name.replace("\\", "/").rpartition("/")[0] or "/"
        raise _not_flat(folder, "Put the pictures at the top of the archive.")
    return "" if _is_junk(name) else name


_ONE_PLACE = "Put all pictures at the top of the archive, or all into one folder."


def _not_flat(folder: str, advice: str) -> ArchiveNotFlat:
    return ArchiveNotFlat(
        f"The archive contains the folder {show_bytes(folder)!r}; only flat archives are taken. {advice}"
    )


def _tree_path(entry: ArchiveEntry) -> str:
    """Return the path with forward slashes and without empty parts; empty for an entry to skip. Raises BadArchive."""
    name, parts = _parts(entry)
    if _leads_outside(name, parts):
        raise BadArchive(
            f"The path {show_bytes(entry.name)!r} leads outside of the archive. Pack it again with relative paths."
        )
    if len(name) > _PATH_CHARS:
        raise BadArchive(
            f"The path {show_bytes(name)[:80]!r}… in the archive has more than {_PATH_CHARS} characters. Shorten it."
        )
    if entry.is_link:
        raise no_file(entry.name)
    return "" if entry.is_folder or name.endswith("/") or _is_skipped(parts) else "/".join(parts)


def _parts(entry: ArchiveEntry) -> tuple[str, list[str]]:
    """Return the path with forward slashes, and its parts, of which none is empty or a dot."""
    path = _spelled(entry.name).replace("\\", "/")
    return path, [part for part in path.split("/") if part not in ("", ".")]


def _leads_outside(path: str, parts: list[str]) -> bool:
    return ".." in parts or bool(re.match(r"/|[A-Za-z]:/", path))


def _is_skipped(parts: list[str]) -> bool:
    """Return True for what systems leave behind, and for hidden files and folders, at every level."""
    return any(_is_junk(part) or part.lower() in _JUNK_FOLDERS for part in parts)


def _spelled(name: str) -> str:
    """Return the name without the NUL and the unpaired surrogates that no database accepts; surrogates that stand for
    bytes stay."""
    return re.sub("[\0\ud800-\udc7f\udd00-\udfff]", "\N{REPLACEMENT CHARACTER}", name)


def _is_junk(part: str) -> bool:
    return part.startswith(".") or part.lower() in _JUNK


def _wrong(name: str, data: bytes, max_member: int) -> BadPicture | None:
    if len(data) > max_member:
        return _too_large(name, max_member)
    if nested := kind(data[:HEAD]):
        return BadArchive(
            f"{show_bytes(name)!r} in the archive is itself a {nested} archive. Unpack it first; one level is taken."
        )
    return None


def _too_large(name: str, max_member: int) -> PictureTooLarge:
    return PictureTooLarge(
        f"{show_bytes(name)!r} in the archive has more than the allowed {exactly(max_member)}. Make it smaller."
    )
