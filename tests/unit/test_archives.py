"""archives.py for jobs: flat archives of pictures are read, and a hostile one is refused before it costs anything."""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import random
import struct
import tarfile
import zipfile
import zlib

import pytest

from shared.errors import ArchiveNotFlat, BadArchive, InferqError, NoInput, PictureTooLarge, TooManyFiles
from shared.imaging import archives
from tests.unit.archive_files import Files, Pack, as_tar, as_tbz, as_tgz, as_txz, as_zip

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")
pack_each_way = pytest.mark.parametrize("pack", [as_zip, as_tar, as_tgz, as_tbz, as_txz])


def members(data: bytes, max_files: int = 3, max_unpacked: int = 10_000, max_member: int = 5_000) -> Files:
    return list(
        archives.members(io.BytesIO(data), max_files=max_files, max_unpacked=max_unpacked, max_member=max_member)
    )


@pack_each_way
def test_members_come_in_the_order_of_the_archive(pack: Pack) -> None:
    files = [("b.jpg", b"two"), ("a.jpg", b"one"), ("ä" * 120, b"three")]
    assert members(pack(files)) == files


@pack_each_way
def test_equal_names_are_two_members(pack: Pack) -> None:
    files = [("a.jpg", b"one"), ("a.jpg", b"two")]
    assert members(pack(files)) == files


@pack_each_way
def test_an_old_stream_position_does_not_matter(pack: Pack) -> None:
    stream = io.BytesIO(pack([("a", b"one")]))
    stream.seek(5)
    assert list(archives.members(stream, max_files=1, max_unpacked=10, max_member=10)) == [("a", b"one")]


def test_a_tar_without_the_ustar_sign_is_still_a_tar() -> None:
    info = tarfile.TarInfo("a")
    info.size = 3
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[257:265] = bytes(8)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert members(bytes(header) + b"one" + bytes(509) + bytes(1024)) == [("a", b"one")]


@pack_each_way
@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("cats/", "cats"),
        ("cats/a.jpg", "cats"),
        ("cats/black/a.jpg", "cats/black"),
        ("../a.jpg", ".."),
        ("cats\\a.jpg", "cats"),
        ("C:\\a.jpg", "C:"),
    ],
)
def test_a_folder_is_refused_by_its_name(pack: Pack, name: str, folder: str) -> None:
    with pytest.raises(ArchiveNotFlat) as caught:
        members(pack([("a.jpg", b"one"), (name, b"")]))
    assert repr(folder) in caught.value.message


@pack_each_way
def test_without_folders_what_macos_packs_beside_the_files_is_refused_too(pack: Pack) -> None:
    for folder in ("__MACOSX", "cats"):
        stream = io.BytesIO(pack([(f"{folder}/._a.jpg", b"one")]))
        with pytest.raises(ArchiveNotFlat, match=repr(folder)):
            list(archives.members(stream, max_files=3, max_unpacked=99, max_member=99, folders=False))


@pack_each_way
def test_pictures_that_all_lie_in_one_folder_are_read_without_its_name(pack: Pack) -> None:
    files = [("cats/", b""), ("cats/b.jpg", b"two"), ("cats/a.jpg", b"one")]
    assert members(pack(files)) == [("b.jpg", b"two"), ("a.jpg", b"one")]
    assert members(pack(files[1:])) == [("b.jpg", b"two"), ("a.jpg", b"one")]
    assert members(pack([("./", b""), ("./cats/", b""), ("./cats/a.jpg", b"one")])) == [("a.jpg", b"one")]
    assert members(pack([("cats\\a.jpg", b"one")])) == [("a.jpg", b"one")]


@pack_each_way
@pytest.mark.parametrize(
    "names",
    [
        ("cats/a.jpg", "b.jpg"),
        ("a.jpg", "cats/"),
        ("cats/a.jpg", "dogs/b.jpg"),
        ("cats/a.jpg", "dogs/"),
        ("cats/black/a.jpg",),
        ("cats/a.jpg", "cats/black/b.jpg"),
        ("cats/a.jpg", "cats/black/"),
        ("cats/../a.jpg",),
        ("../a.jpg",),
        ("C:/a.jpg",),
    ],
)
def test_pictures_in_several_places_are_refused_with_what_would_work(pack: Pack, names: tuple[str, ...]) -> None:
    with pytest.raises(ArchiveNotFlat, match="all into one folder"):
        members(pack([(name, b"" if name.endswith("/") else b"one") for name in names]))


def test_a_zip_with_pictures_in_several_places_is_refused_before_one_is_unpacked() -> None:
    stream = io.BytesIO(as_zip([("cats/a.jpg", b"one"), ("b.jpg", b"two")]))
    with pytest.raises(ArchiveNotFlat, match="'cats'"):
        next(archives.members(stream, max_files=3, max_unpacked=99, max_member=99))


@pack_each_way
@pytest.mark.parametrize("folder", ["", "cats/"])
def test_what_systems_leave_behind_is_left_out_at_every_level(pack: Pack, folder: str) -> None:
    junk = [".DS_Store", "._a.jpg", "Thumbs.db", "desktop.ini", ".hidden/a.jpg"]
    files = [(f"{folder}{name}", b"x") for name in junk]
    twins = [("__MACOSX/", b""), (f"__MACOSX/{folder}._a.jpg", b"x")]
    assert members(pack([(f"{folder}a.jpg", b"one"), *files[:3], *twins])) == [("a.jpg", b"one")]
    assert members(pack([*twins, *files[3:], (f"{folder}a.jpg", b"one")])) == [("a.jpg", b"one")]


def test_names_in_utf_8_without_the_flag_are_read_as_they_were_meant() -> None:
    data = as_zip([("möwe.jpg", b"one")])
    for sign, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        flags = data.index(sign) + place + 1
        data = data[:flags] + bytes([data[flags] & ~8]) + data[flags + 1 :]
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["m├╢we.jpg"]
    assert members(data) == [("möwe.jpg", b"one")]


@pack_each_way
def test_an_absolute_path_is_refused(pack: Pack) -> None:
    with pytest.raises(ArchiveNotFlat, match="'/'"):
        members(pack([("/a.jpg", b"one")]))


@pack_each_way
def test_a_leading_dot_and_what_systems_leave_behind_do_no_harm(pack: Pack) -> None:
    files = [("./", b""), ("./a.jpg", b"one"), (".DS_Store", b"x"), ("._a.jpg", b"x"), ("Thumbs.db", b"x")]
    assert members(pack(files), max_files=1) == [("a.jpg", b"one")]


@pytest.mark.parametrize(
    "data",
    # Not an empty tar, which is nothing but zeros like the padding.
    [as_zip([]), as_tgz([]), as_zip([(".DS_Store", b"x")]), as_tar([(".DS_Store", b"x")])],
    ids=["zip", "tgz", "zip of junk", "tar of junk"],
)
def test_an_archive_without_pictures_is_no_input(data: bytes) -> None:
    with pytest.raises(NoInput, match="archive is empty"):
        members(data)


@pack_each_way
def test_too_many_members_are_refused(pack: Pack) -> None:
    with pytest.raises(TooManyFiles, match="allowed 3"):
        members(pack([(str(number), b"x") for number in range(4)]))


def test_a_zip_with_too_many_members_is_refused_before_one_is_unpacked() -> None:
    stream = io.BytesIO(as_zip([(str(number), b"x") for number in range(4)]))
    with pytest.raises(TooManyFiles):
        next(archives.members(stream, max_files=3, max_unpacked=100, max_member=100))


def test_a_zip_with_a_huge_directory_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooManyFiles):
        members(as_zip([(f"{number:0200}", b"") for number in range(5000)]))


@pack_each_way
def test_hidden_members_are_not_skipped_for_ever(pack: Pack) -> None:
    with pytest.raises(TooManyFiles):
        members(pack([(f".{number}", b"") for number in range(30)]))


@pack_each_way
def test_a_large_member_is_refused_by_its_name(pack: Pack) -> None:
    with pytest.raises(PictureTooLarge, match=r"'a\.jpg' .*5,000"):
        members(pack([("a.jpg", bytes(5001))]))


@pack_each_way
def test_the_sum_of_all_members_is_bounded(pack: Pack) -> None:
    with pytest.raises(BadArchive, match=r"more than 9.7 KiB \(10,000 bytes\)"):
        members(pack([(name, bytes(4000)) for name in "abc"]))


@pack_each_way
def test_skipped_members_count_as_unpacked(pack: Pack) -> None:
    with pytest.raises(BadArchive, match=r"more than 9.7 KiB \(10,000 bytes\)"):
        members(pack([(name, bytes(4000)) for name in (".a", ".b", ".c")]))


def test_a_lying_size_does_not_open_the_door() -> None:
    data = as_zip([("a.jpg", bytes(1_000_000))])
    honest = struct.pack("<I", 1_000_000)
    assert data.count(honest) == 2
    with pytest.raises(BadArchive):
        members(data.replace(honest, struct.pack("<I", 100)))


@pack_each_way
@pytest.mark.parametrize("inner", [as_zip, as_tar, as_tgz, as_tbz, as_txz])
def test_an_archive_in_an_archive_is_refused(pack: Pack, inner: Pack) -> None:
    with pytest.raises(BadArchive, match=r"'a\.jpg' in the archive is itself a"):
        members(pack([("a.jpg", inner([("b", b"x")]))]), max_unpacked=100_000, max_member=100_000)


def test_an_encrypted_zip_is_refused_as_such() -> None:
    data = bytearray(as_zip([("a.jpg", b"one")]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(BadArchive, match=r"'a\.jpg' in the archive is encrypted"):
        members(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_python_unpacks_without_a_bound_are_refused(method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("a.jpg", b"one")
    with pytest.raises(BadArchive, match="unusual method"):
        members(out.getvalue())


def test_members_that_share_their_data_are_refused() -> None:
    data = as_zip([("a.jpg", bytes(3000)), ("b.jpg", bytes(3000))])
    second = data.rindex(b"PK\x01\x02")
    with pytest.raises(BadArchive):
        members(data[: second + 42] + struct.pack("<I", 0) + data[second + 46 :])


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(type: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = type, "/etc/passwd"
        archive.addfile(info)
    with pytest.raises(BadArchive, match=r"'a\.jpg' in the archive is a link or a device"):
        members(out.getvalue())


def test_a_tar_header_cannot_ask_for_a_gigabyte() -> None:
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 30
    data = gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + b"a" * 2_000_000)
    with pytest.raises(BadArchive, match="unreasonably long"):
        members(data)


def test_xz_that_needs_gigabytes_of_memory_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 1 << 20}]
    small = lzma.compress(as_tar([("a.jpg", b"x")]), filters=filters)
    assert members(small) == [("a.jpg", b"x")]
    header = bytearray(small[12:24])  # behind the magic: the header of the first block, which names the dictionary
    header[4] = 40  # 4 GiB
    header[8:12] = struct.pack("<L", zlib.crc32(header[:8]))
    with pytest.raises(BadArchive, match="memory"):
        members(small[:12] + bytes(header) + small[24:])


@pytest.mark.parametrize("charset", ["cp437", "cp932", "gbk", "cp1251"])
def test_a_zip_that_has_its_names_in_utf_8_as_well_is_read_by_those(charset: str) -> None:
    for checksum, expected in ((0, "фото.jpg"), (1, None)):
        meant = {"cp437": "photo.jpg", "cp932": "写真.jpg", "gbk": "照片.jpg", "cp1251": "рисунок.jpg"}[charset]
        sent = meant.encode(charset)
        name = sent.decode("cp437")
        text = "фото.jpg".encode()
        info = zipfile.ZipInfo(name)
        info.extra = struct.pack("<HHBHHBL", 0x5455, 1, 0, 0x7075, 5 + len(text), 1, zlib.crc32(sent) + checksum) + text
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(info, b"x")
        data = out.getvalue()
        if not name.isascii():  # Python writes such names in UTF-8; the flag for that and the name are undone
            data = data.replace(name.encode(), sent).replace(b"PK\x03\x04\x14\0\0\x08", b"PK\x03\x04\x14\0\0\0")
            data = data.replace(b"PK\x01\x02\x14\x03\x14\0\0\x08", b"PK\x01\x02\x14\x03\x14\0\0\0")
            data = _with_lengths(data, len(sent))
        assert [found for found, _ in members(data)] == [expected or meant]


def _with_lengths(data: bytes, length: int) -> bytes:
    """Return a zip of one member with the length of its name, and the places behind it, as they are now."""
    directory = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    out = bytearray(data)
    struct.pack_into("<H", out, 26, length)
    struct.pack_into("<H", out, directory + 28, length)
    struct.pack_into("<LL", out, end + 12, end - directory, directory)
    return bytes(out)


@pytest.mark.parametrize("folder", ["__MACOSX", "__macosx", "@eaDir", "$RECYCLE.BIN", "System Volume Information"])
@pytest.mark.parametrize("slash", ["/", "\\"])
def test_folders_of_systems_are_left_out(folder: str, slash: str) -> None:
    files = [("a.jpg", b"one"), (f"{folder}{slash}a.jpg", b"two"), ("b.jpg", b"three")]
    assert members(as_zip(files)) == [("a.jpg", b"one"), ("b.jpg", b"three")]


def test_a_zip_with_backslashes_is_one_with_folders() -> None:
    assert members(as_zip([("photos\\a.jpg", b"one"), ("photos\\b.jpg", b"two")])) == [
        ("a.jpg", b"one"),
        ("b.jpg", b"two"),
    ]
    with pytest.raises(ArchiveNotFlat, match="'photos'"):
        members(as_zip([("a.jpg", b"one"), ("photos\\b.jpg", b"two")]))


def test_gzip_that_holds_no_tar_is_refused() -> None:
    with pytest.raises(BadArchive, match="no whole tar"):
        members(gzip.compress(b"just some text" * 100))


@pytest.mark.parametrize("data", [b"", b"hello", b"Rar!\x1a\x07\0"])
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(BadArchive, match=r"Send zip, tar, tar\.gz, tar\.bz2 or tar\.xz"):
        members(data)


@pack_each_way
def test_a_cut_archive_never_passes_for_a_whole_one(pack: Pack) -> None:
    data = pack([("a.jpg", b"x" * 700), ("b.jpg", random.Random(0).randbytes(700))])
    end = len(data) if pack is not as_tar else 3072 + 512  # a tar ends with zeros, of which one block is enough
    for cut in range(20, end, 37):
        with pytest.raises(BadArchive):
            members(data[:cut])


@pack_each_way
def test_damage_anywhere_ends_in_an_answer(pack: Pack) -> None:
    whole = pack([("a.jpg", b"x" * 700), ("b.jpg", random.Random(0).randbytes(700))])
    chance = random.Random(1)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(InferqError):
            assert len(members(bytes(data))) <= 3
