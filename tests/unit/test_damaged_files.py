"""Pictures and archives with any damage are refused in words, or decode as a worker does it, or fail there alone."""

from __future__ import annotations

import gzip
import io
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.pictures import Limits, Upload
from shared.domain.preprocessing import Preprocessing
from shared.errors import BadRequest, InferqError
from shared.imaging import archives, images
from tests import picture_files
from tests.fuzzing import damaged, examples
from worker import preprocess

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.filterwarnings("ignore:Duplicate name"),  # zipfile warns of what is to be tried
]

BOUND = 20.0
"""Seconds of one example, on a busy machine; what is caught by it takes minutes."""
LIMITS = Limits(max_bytes=200_000, max_pixels=1_000_000, max_aspect=50.0, max_files=20, max_unpacked=400_000)
PICTURES = picture_files.small()
PREPROCESSINGS = (
    Preprocessing(resize=32, crop=24, mean=(0.5,) * 3, std=(0.5,) * 3),
    Preprocessing(
        resize=16, crop=16, mean=(0.5,), std=(0.5,), mode="L", crop_mode="border", background="#ffffff",
        color_profile="apply",
    ),
)  # fmt: skip


def is_refusal(error: InferqError) -> bool:
    """Return True for an error of the request that says something, without the address of an object."""
    return isinstance(error, BadRequest) and bool(error.message.strip()) and " at 0x" not in error.message


def checked(uploads: Iterable[bytes]) -> list[bytes]:
    """Return the pictures that are accepted; fails if an error is not one of a request, or says nothing."""
    began = time.monotonic()
    accepted: list[bytes] = []
    try:
        accepted += [
            picture.data
            for picture in images.pictures([Upload("a file", io.BytesIO(each)) for each in uploads], LIMITS)
        ]
    except InferqError as error:
        if not is_refusal(error):
            raise
    assert time.monotonic() - began < BOUND
    return accepted


def prepared(data: bytes) -> None:
    """Decode as a worker does; fails at any other error than that of one picture."""
    for preprocessing in PREPROCESSINGS:
        began = time.monotonic()
        try:
            tensor = preprocess.crop(preprocess.decode(data, preprocessing, scaled=True), preprocessing)
            assert (tensor.dtype, tensor.shape[0]) == (torch.uint8, preprocessing.channels)
        except InferqError as error:
            if not is_refusal(error):
                raise
        assert time.monotonic() - began < BOUND


each_format = st.sampled_from([*PICTURES.values()])


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_without_damage_is_accepted_and_decodes(name: str) -> None:
    assert checked([PICTURES[name]]) == [PICTURES[name]]
    prepared(PICTURES[name])


@pytest.mark.parametrize("name", PICTURES)
def test_a_damaged_picture_is_refused_or_decodes_or_fails_alone(name: str) -> None:
    @examples(60)
    @given(damaged(st.just(PICTURES[name]), each_format))
    def check(data: bytes) -> None:
        for picture in checked([data]):
            prepared(picture)

    check()


names = st.one_of(
    st.text(max_size=30),
    st.lists(
        st.sampled_from(["a", "..", ".", "", "ä", "\\", "C:", "__MACOSX", ".hidden", "x.png", "\udcff"]), max_size=5
    ).map("/".join),
)
members = st.lists(st.tuples(names, st.one_of(each_format, st.binary(max_size=60))), max_size=6)


def zipped(files: Sequence[tuple[str, bytes]], utf8: bool) -> bytes:
    """Return a zip, with names as UTF-8 or as what they would be in cp437, as far as they can be written."""
    with io.BytesIO() as out, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            written = (
                name.encode("utf-8", "replace").decode() if utf8 else name.encode("cp437", "replace").decode("cp437")
            )
            archive.writestr(zipfile.ZipInfo(written.replace("\0", "") or "nameless"), data)
        archive.close()
        return out.getvalue()


def tarred(files: Sequence[tuple[str, bytes]], utf8: bool) -> bytes:
    """Return a tar, in the POSIX format or in GNU's."""
    with (
        io.BytesIO() as out,
        tarfile.open(
            fileobj=out, mode="w", format=tarfile.PAX_FORMAT if utf8 else tarfile.GNU_FORMAT, errors="surrogateescape"
        ) as archive,
    ):
        for name, data in files:
            member = tarfile.TarInfo(name.encode("utf-8", "replace").decode() or "nameless")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        archive.close()
        return out.getvalue()


def gzipped(files: Sequence[tuple[str, bytes]], utf8: bool) -> bytes:
    """Return a tar.gz."""
    return gzip.compress(tarred(files, utf8), 1)


Packer = Callable[[Sequence[tuple[str, bytes]], bool], bytes]
pack_each_way = pytest.mark.parametrize("pack", [zipped, tarred, gzipped])


@pack_each_way
def test_an_archive_of_any_names_and_files_is_unpacked_or_refused(pack: Packer) -> None:
    @examples(60)
    @given(members, st.booleans())
    def check(files: Sequence[tuple[str, bytes]], utf8: bool) -> None:
        for picture in checked([pack(files, utf8)]):
            prepared(picture)

    check()


@pack_each_way
def test_a_damaged_archive_is_unpacked_or_refused(pack: Packer) -> None:
    whole = pack([("a.png", PICTURES["PNG"]), ("b.jpg", PICTURES["JPEG"])], True)

    @examples(100)
    @given(damaged(st.just(whole), each_format))
    def check(data: bytes) -> None:
        for picture in checked([data]):
            prepared(picture)

    check()


@pack_each_way
def test_a_damaged_archive_of_labels_is_read_the_same_by_its_names_and_by_its_files(pack: Packer) -> None:
    whole = pack([("pear/a.png", PICTURES["PNG"]), ("plum/b.jpg", PICTURES["JPEG"]), ("pear/c.txt", b"a text")], True)

    @examples(60)
    @given(damaged(st.just(whole)))
    def check(data: bytes) -> None:
        try:
            paths = [
                path
                for path, _ in archives.tree(io.BytesIO(data), max_files=20, max_unpacked=400_000, max_member=200_000)
            ]
        except BadRequest:
            return
        assert archives.names(io.BytesIO(data), max_files=20, max_unpacked=400_000) == paths
        assert all(not 0xD800 <= ord(letter) <= 0xDFFF for path in paths for letter in path)

    check()


@examples(100)
@given(st.lists(damaged(st.one_of(each_format, st.just(zipped([("a.png", PICTURES["PNG"])], True)))), max_size=4))
def test_any_files_together_are_a_job_or_refused(files: list[bytes]) -> None:
    for picture in checked(files):
        prepared(picture)


@examples(200)
@given(
    st.one_of(
        st.text(max_size=200),
        st.binary(max_size=100).map(lambda data: data.hex()),
        st.text("AZaz09+/-_= \n", max_size=100).map("data:image/png;base64,".__add__),
    )
)
def test_any_text_is_base64_or_refused(text: str) -> None:
    try:
        assert images.from_base64(text)
    except InferqError as error:
        if not is_refusal(error):
            raise
