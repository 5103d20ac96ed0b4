"""archives.py for datasets: folders are read, a bad file does not stop the others, a hostile archive is refused."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterator

import pytest

from shared.errors import BadArchive, BadPicture, InferqError, NoInput, PictureTooLarge, TooManyFiles
from shared.imaging import archives
from tests.unit.archive_files import Pack, as_tar, as_tbz, as_tgz, as_txz, as_zip

pytestmark = pytest.mark.filterwarnings("ignore:Duplicate name")
pack_each_way = pytest.mark.parametrize("pack", [as_zip, as_tar, as_tgz, as_tbz, as_txz])
Tree = list[tuple[str, bytes | BadPicture]]


def walk(
    data: bytes, max_files: int = 3, max_unpacked: int = 10_000, max_member: int = 5_000
) -> Iterator[tuple[str, bytes | BadPicture]]:
    return archives.tree(io.BytesIO(data), max_files=max_files, max_unpacked=max_unpacked, max_member=max_member)


def tree(data: bytes, **bounds: int) -> Tree:
    return list(walk(data, **bounds))


def names(data: bytes, max_files: int = 3, max_unpacked: int = 10_000) -> list[str]:
    return archives.names(io.BytesIO(data), max_files=max_files, max_unpacked=max_unpacked)


def both(data: bytes, max_member: int = 5_000, **bounds: int) -> Tree:
    """Return the members of `tree`; their names must equal those of `names`."""
    members = tree(data, max_member=max_member, **bounds)
    assert [path for path, _ in members] == names(data, **bounds)
    return members


def refusal(data: bytes) -> str:
    """Return the error of an archive that `names` and `tree` refuse alike."""
    with pytest.raises(BadArchive) as first:
        names(data)
    with pytest.raises(BadArchive) as second:
        tree(data)
    assert first.value.message == second.value.message
    return first.value.message


@pack_each_way
def test_files_come_with_their_paths_in_the_order_of_the_archive(pack: Pack) -> None:
    files = [("red/b.jpg", b"two"), ("blue/deep/a.jpg", b"one"), ("x", b"")]
    assert both(pack(files)) == files


@pack_each_way
def test_equal_paths_are_two_files(pack: Pack) -> None:
    files = [("red/a.jpg", b"one"), ("red/a.jpg", b"two")]
    assert both(pack(files)) == files


@pack_each_way
def test_folders_and_what_systems_leave_behind_are_skipped_at_every_level(pack: Pack) -> None:
    files = [
        ("./", b""), ("mugs/", b""), ("mugs/red/", b""), ("mugs/red/a.jpg", b"one"), ("mugs/red/._a.jpg", b"x"),
        ("mugs/.DS_Store", b"x"), ("mugs/.git/objects/a.jpg", b"x"), ("mugs/red/Thumbs.db", b"x"),
        ("__MACOSX/mugs/red/a.jpg", b"x"), ("mugs/__MACOSX/a.jpg", b"x"), ("desktop.ini", b"x"),
    ]  # fmt: skip
    assert both(pack(files), max_files=2) == [("mugs/red/a.jpg", b"one")]


@pack_each_way
def test_a_twin_from_macos_for_each_picture_and_a_folder_for_each_are_not_too_many(pack: Pack) -> None:
    files = [("__MACOSX/", b"")]
    for number in range(50):
        files += [(f"{number}/", b""), (f"__MACOSX/{number}/", b"")]
        files += [(f"{number}/a.jpg", b"x"), (f"__MACOSX/{number}/._a.jpg", b"")]
    assert len(both(pack(files), max_files=50)) == 50


@pack_each_way
@pytest.mark.parametrize("name", ["red\\a.jpg", "./red/a.jpg", ".\\red\\a.jpg", "red//a.jpg", "red/./a.jpg"])
def test_a_path_is_written_in_one_way(pack: Pack, name: str) -> None:
    assert both(pack([(name, b"one")])) == [("red/a.jpg", b"one")]


def test_a_folder_that_windows_wrote_with_a_backslash_is_a_folder() -> None:
    assert both(as_zip([("red\\", b""), ("red\\a.jpg", b"one")])) == [("red/a.jpg", b"one")]


@pack_each_way
@pytest.mark.parametrize(
    "name", ["../a.jpg", "red/../../a.jpg", "red\\..\\a.jpg", "/red/a.jpg", "\\red\\a.jpg", "C:\\red\\a.jpg", ".a/../b"]
)
def test_a_path_that_leads_outside_ends_the_archive(pack: Pack, name: str) -> None:
    assert "leads outside" in refusal(pack([("red/a.jpg", b"one"), (name, b"two")]))


@pack_each_way
def test_two_dots_within_a_name_lead_nowhere(pack: Pack) -> None:
    assert both(pack([("red../a..jpg", b"one")])) == [("red../a..jpg", b"one")]


@pack_each_way
def test_an_endless_path_is_refused(pack: Pack) -> None:
    assert "more than 1024 characters" in refusal(pack([("red/" * 300, b"one")]))


@pack_each_way
def test_names_in_any_script_arrive(pack: Pack) -> None:
    files = [("grün/ä.jpg", b"one"), ("赤/猫.jpg", b"two"), ("red/🐈.jpg", b"three")]
    assert both(pack(files)) == files


def test_utf8_that_macos_did_not_declare_is_read_as_what_it_is() -> None:
    data = bytearray(as_zip([("grün/a.jpg", b"one")]))
    data[7] &= ~0x08
    data[data.index(b"PK\x01\x02") + 9] &= ~0x08
    assert both(bytes(data)) == [("grün/a.jpg", b"one")]


def test_what_no_database_takes_is_replaced_in_a_path() -> None:
    assert both(as_tar([("r\0dä/a.jpg", b"one")], format=tarfile.PAX_FORMAT)) == [("r\ufffddä/a.jpg", b"one")]


@pack_each_way
def test_a_large_file_comes_with_the_reason_and_the_others_with_their_bytes(pack: Pack) -> None:
    files = [("red/a.jpg", b"one"), ("red/b.jpg", bytes(5001)), ("red/c.jpg", b"two")]
    (_, first), (path, large), (_, two) = both(pack(files))
    assert (first, path, two) == (b"one", "red/b.jpg", b"two")
    assert isinstance(large, PictureTooLarge)
    assert "'red/b.jpg' in the archive has more than the allowed 4.8 KiB (5,000 bytes)" in large.message


@pack_each_way
def test_a_file_of_just_the_allowed_size_comes_with_its_bytes(pack: Pack) -> None:
    assert both(pack([("red/a.jpg", bytes(5000))])) == [("red/a.jpg", bytes(5000))]


@pack_each_way
@pytest.mark.parametrize("inner", [as_zip, as_tar, as_tgz, as_tbz, as_txz])
def test_an_archive_in_the_archive_comes_with_the_reason(pack: Pack, inner: Pack) -> None:
    files = [("red/a.zip", inner([("b", b"x")])), ("red/b.jpg", b"two")]
    (_, nested), second = both(pack(files), max_unpacked=100_000, max_member=100_000)
    assert isinstance(nested, BadArchive)
    assert "'red/a.zip' in the archive is itself a" in nested.message
    assert second == ("red/b.jpg", b"two")


@pytest.mark.parametrize("data", [as_zip([("red/", b"")]), as_tar([("red/", b"")]), as_tgz([])])
def test_folders_without_files_are_no_input(data: bytes) -> None:
    for look in (names, tree):
        with pytest.raises(NoInput):
            look(data)


@pack_each_way
def test_too_many_files_are_refused_in_both_passes(pack: Pack) -> None:
    data = pack([(f"red/{number}", b"x") for number in range(4)])
    for look in (names, tree):
        with pytest.raises(TooManyFiles, match="allowed 3"):
            look(data)


@pack_each_way
@pytest.mark.parametrize("name", [".hidden/{}", "folder{}/", "__MACOSX/{}"])
def test_what_is_skipped_is_not_skipped_for_ever(pack: Pack, name: str) -> None:
    data = pack([(name.format(number), b"") for number in range(40)])
    for look in (names, tree):
        with pytest.raises(TooManyFiles):
            look(data)


@pack_each_way
@pytest.mark.parametrize("name", ["red/{}", ".{}"])
def test_the_sum_of_all_files_is_bounded_taken_or_not(pack: Pack, name: str) -> None:
    data = pack([(name.format(number), bytes(4000)) for number in range(3)])
    with pytest.raises(BadArchive, match="10,000 bytes"):
        tree(data)
    if pack is not as_zip:  # of which the names are known without unpacking
        with pytest.raises(BadArchive, match="10,000 bytes"):
            names(data)


@pytest.mark.parametrize("look", [names, tree])
@pytest.mark.parametrize("pack", [as_tar, as_tgz, as_tbz, as_txz])
def test_what_a_tar_passes_over_counts_as_unpacked(pack: Pack, look: Callable[[bytes], object]) -> None:
    """Otherwise a file that is too large, of which only the first bytes are read, could hide a bomb in the rest."""
    assert len(both(pack([("red/a.jpg", bytes(9_000)), ("red/b.jpg", b"")]))) == 2
    with pytest.raises(BadArchive, match="10,000 bytes"):
        look(pack([("red/a.jpg", bytes(9_999)), ("red/b.jpg", bytes(2))]))


def test_a_bomb_in_a_tar_is_not_unpacked_to_be_skipped() -> None:
    info = tarfile.TarInfo("red/a.jpg")
    info.size = 1 << 40
    stream = io.BytesIO(gzip.compress(info.tobuf() + random.Random(0).randbytes(1_000_000)))
    with pytest.raises(BadArchive, match="10,000 bytes"):
        archives.names(stream, max_files=3, max_unpacked=10_000)
    assert stream.tell() < 500_000


def test_a_folder_in_a_tar_that_claims_a_size_opens_no_door() -> None:
    info = tarfile.TarInfo("red")
    info.type, info.size = tarfile.DIRTYPE, 1 << 40
    assert both(info.tobuf() + as_tar([("red/a.jpg", b"one")])) == [("red/a.jpg", b"one")]


def test_a_bomb_in_a_zip_comes_with_the_reason_or_ends_the_archive() -> None:
    bombed = as_zip([("red/a.jpg", bytes(1_000_000)), ("red/b.jpg", b"two")])
    (_, large), second = both(bombed)
    assert isinstance(large, PictureTooLarge)
    assert second == ("red/b.jpg", b"two")
    with pytest.raises(BadArchive, match="10,000 bytes"):
        tree(as_zip([(f"red/{number}.jpg", bytes(1_000_000)) for number in range(2)]), max_unpacked=10_000)


def test_members_that_share_their_data_are_refused() -> None:
    data = as_zip([("red/a.jpg", bytes(3000)), ("red/b.jpg", bytes(3000))])
    second = data.rindex(b"PK\x01\x02")
    assert "overlap" in refusal(data[: second + 42] + struct.pack("<I", 0) + data[second + 46 :])


def test_an_encrypted_zip_is_refused_as_such() -> None:
    data = bytearray(as_zip([("red/a.jpg", b"one")]))
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert "'red/a.jpg' in the archive is encrypted" in refusal(bytes(data))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_python_unpacks_without_a_bound_are_refused(method: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr("red/a.jpg", b"one")
    assert "unusual method" in refusal(out.getvalue())


@pytest.mark.parametrize("type", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(type: bytes) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        info = tarfile.TarInfo("red/a.jpg")
        info.type, info.linkname = type, "/etc/passwd"
        archive.addfile(info)
    assert "'red/a.jpg' in the archive is a link or a device" in refusal(out.getvalue())


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_and_devices_in_a_zip_are_refused(kind: int) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("red/a.jpg")
        info.create_system, info.external_attr = 3, (kind | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "'red/a.jpg' in the archive is a link or a device" in refusal(out.getvalue())


@pytest.mark.parametrize("data", [b"", b"hello", b"Rar!\x1a\x07\0", gzip.compress(b"just some text" * 100)])
def test_what_is_no_archive_is_refused(data: bytes) -> None:
    assert "Send zip, tar" in refusal(data) or "no whole tar" in refusal(data)


@pack_each_way
def test_a_cut_archive_never_passes_for_a_whole_one(pack: Pack) -> None:
    data = pack([("red/a.jpg", b"x" * 700), ("red/b.jpg", random.Random(0).randbytes(6000))])
    end = len(data) if pack is not as_tar else 512 + 1024 + 512 + 6144 + 512  # of a tar's zeros one block is enough
    for cut in range(20, end, 97):
        for look in (names, tree):
            with pytest.raises(BadArchive):
                look(data[:cut])


def as_it_went(data: bytes) -> tuple[list[str], str]:
    """Return the paths that `tree` yields before it ends, and the code of its error."""
    paths = []
    try:
        for path, _ in walk(data):
            paths.append(path)
    except InferqError as error:
        return paths, error.code
    return paths, ""


@pack_each_way
def test_names_and_tree_agree_on_any_archive(pack: Pack) -> None:
    chance = random.Random(2)
    folders = ["", "red/", "blue\\", "./", ".git/", "__MACOSX/", "mugs/red/"]
    for _ in range(200):
        files = [
            (f"{chance.choice(folders)}{chance.choice(['a', '.b', 'Thumbs.db'])}", bytes(chance.choice([0, 9, 5001])))
            for _ in range(chance.randint(1, 6))
        ]
        data = pack(files)
        paths, error = as_it_went(data)
        if not error:
            assert names(data) == paths
        elif pack is not as_zip or error != "bad_archive":  # a zip's names are known without unpacking
            with pytest.raises(InferqError) as caught:
                names(data)
            assert caught.value.code == error


@pack_each_way
def test_names_and_tree_agree_on_damaged_archives(pack: Pack) -> None:
    whole = pack([("red/a.jpg", b"x" * 700), ("red/b.jpg", random.Random(0).randbytes(700))])
    chance = random.Random(1)
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        paths, error = as_it_went(bytes(data))
        with contextlib.suppress(InferqError):
            listed = names(bytes(data))
            assert listed == paths if not error else listed[: len(paths)] == paths


@pytest.mark.parametrize("pack", [as_zip, as_tar, as_tgz])
def test_wanted_files_are_read_up_to_a_number_of_bytes_for_all_of_them(pack: Pack) -> None:
    file = io.BytesIO(pack([("a", b"1" * 40), ("b", b"2" * 40), ("other", b"3" * 40), ("c", b"4" * 40)]))
    bounds = {"max_files": 9, "max_unpacked": 10_000}
    assert archives.some(file, ["a", "c"], **bounds, max_total=80) == {"a": b"1" * 40, "c": b"4" * 40}
    assert archives.some(file, ["a", "b", "c"], **bounds, max_total=49) == {"a": b"1" * 40, "b": b"2" * 10, "c": b""}
