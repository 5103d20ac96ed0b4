"""archive_names.py: the names of an archive are read as they were meant, or not at all."""

from __future__ import annotations

import io
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable

import pytest

from shared.imaging import archive_names, archives

Pack = Callable[[list[bytes]], bytes]

MEANT = {
    "cp932": ["りんご/写真1.jpg", "みかん/能力.jpg", "表/1.jpg"],
    "gbk": ["苹果/图片1.jpg", "香蕉/图片2.jpg", "可回收垃圾/1.jpg"],
    "big5": ["蘋果/圖片1.jpg", "香蕉/圖片2.jpg", "飛機/1.jpg"],
    "cp949": ["사과/사진1.jpg", "고양이/1.jpg", "해바라기/2.jpg"],
    "euc_jp": ["さくら/IMG_1.jpg", "みかん/写真2.jpg"],
    "cp866": ["кошка/1.jpg", "Новая папка/2.jpg"],
    "cp1251": ["кошка/1.jpg", "Новая папка/2.jpg"],
    "koi8_r": ["кошка/1.jpg", "собака/2.jpg"],
    "cp437": ["möwe/1.jpg", "Äpfel/élève.jpg"],
    "cp850": ["Straße/1.jpg", "rød/blå.jpg", "pão/1.jpg"],
    "cp1252": ["weiß/möwe.jpg", "Mädchen/café.jpg", "niño/pájaro.jpg"],
    "cp852": ["żółw/1.jpg", "růže/kočka.jpg"],
    "cp1250": ["żółw/1.jpg", "růže/kočka.jpg"],
    "cp1253": ["γάτα/1.jpg", "σκύλος/2.jpg"],
    "utf-8": ["möwe/写真.jpg", "кошка/1.jpg"],
}


def unmarked_zip(names: list[bytes]) -> bytes:
    """Return a zip whose names are these bytes, without the flag for UTF-8."""
    stand_ins = [f"{number:06d}".ljust(len(name), "x")[: len(name)] for number, name in enumerate(names)]
    assert len(set(stand_ins)) == len(names)
    with io.BytesIO() as out, zipfile.ZipFile(out, "w") as archive:
        for stand_in in stand_ins:
            archive.writestr(stand_in, b"one")
        archive.close()
        data = out.getvalue()
    for stand_in, name in zip(stand_ins, names, strict=True):
        data = data.replace(stand_in.encode(), name)
    return data


def tar_of(names: list[bytes], mode: str = "w:gz") -> bytes:
    with io.BytesIO() as out, tarfile.open(fileobj=out, mode=mode, format=tarfile.GNU_FORMAT) as archive:  # type: ignore[call-overload]
        for name in names:
            member = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            member.size = 3
            archive.addfile(member, io.BytesIO(b"one"))
        archive.close()
        return out.getvalue()


def read(data: bytes) -> list[str]:
    """Return the paths that datasets see; `tree` and `names` must agree."""
    bounds = {"max_files": 50, "max_unpacked": 100_000}
    paths = [path for path, _ in archives.tree(io.BytesIO(data), **bounds, max_member=1000)]
    assert archives.names(io.BytesIO(data), **bounds) == paths
    return paths


@pytest.mark.parametrize("code", MEANT)
@pytest.mark.parametrize("pack", [unmarked_zip, tar_of])
def test_names_in_the_code_pages_of_the_world_are_read_as_they_were_meant(pack: Pack, code: str) -> None:
    meant = ["plain/1.jpg", *MEANT[code]]
    assert read(pack([name.encode(code) for name in meant])) == meant


@pytest.mark.parametrize("pack", [unmarked_zip, tar_of])
def test_one_code_page_is_chosen_for_all_names(pack: Pack) -> None:
    # `º¡` alone is as likely in other code pages.
    meant = [*MEANT["cp949"], "가/1.jpg"]
    names = [name.encode("cp949") for name in meant]
    assert read(pack(names)) == meant
    assert read(pack(names[::-1])) == meant[::-1]


@pytest.mark.parametrize("pack", [unmarked_zip, tar_of])
@pytest.mark.parametrize("name", [b"gr\xb0\xb1n/1.jpg", b"a\x80\xff\xa0b/1.jpg"])
def test_names_in_no_code_page_keep_their_bytes(pack: Pack, name: bytes) -> None:
    [path] = read(pack([name]))
    assert path.encode("ascii", "surrogateescape") == name


def test_a_text_that_is_likely_in_two_scripts_is_none() -> None:
    # Hebrew `עברית` and Cyrillic `тбшйъ` are the same bytes, and nothing else tells.
    assert archive_names.code_page(["עברית.jpg".encode("cp1255")]) is None


def test_a_name_of_its_own_in_utf_8_counts_whatever_the_others_are_in() -> None:
    sent, text = "写真0.jpg".encode("cp932"), "фото.jpg".encode()
    info = zipfile.ZipInfo("x" * len(sent))
    info.extra = struct.pack("<HHBL", 0x7075, 5 + len(text), 1, zlib.crc32(sent)) + text
    with io.BytesIO() as out, zipfile.ZipFile(out, "w") as archive:
        archive.writestr(info, b"one")
        archive.writestr("y" * len(sent), b"two")
        archive.close()
        data = out.getvalue()
    data = data.replace(b"x" * len(sent), sent).replace(b"y" * len(sent), "写真1.jpg".encode("cp932"))
    assert read(data) == ["фото.jpg", "写真1.jpg"]


def test_no_bytes_break_the_choice_or_give_text_that_cannot_be_stored() -> None:
    chance = random.Random(0)
    for _ in range(300):
        names = [chance.randbytes(chance.randrange(1, 12)) for _ in range(chance.randrange(1, 4))]
        code = archive_names.code_page(names)
        for name in names:
            text = archive_names.decode(name, code)
            assert "\N{REPLACEMENT CHARACTER}" not in text or code == "utf-8"
            assert all(letter.isprintable() for letter in text if not letter.isascii()) or code is None


def test_a_long_list_of_names_costs_little() -> None:
    names = [f"кошка/{number}-фото.jpg".encode("cp866") for number in range(50_000)]
    assert archive_names.code_page(names) == "cp866"
