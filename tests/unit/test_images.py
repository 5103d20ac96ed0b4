"""images.py: formats are recognised by bytes, headers are checked before pixels, and refusals say what to do."""

from __future__ import annotations

import base64
import contextlib
import io
import struct
import zipfile
import zlib

import pytest
from PIL import Image
from pillow_heif import register_heif_opener

from shared.domain.pictures import ALL_FORMATS, Limits, Picture, Upload
from shared.errors import (
    ArchiveWithFiles,
    BadArchive,
    BadBase64,
    BadPicture,
    BrokenPicture,
    NoInput,
    NotAPicture,
    PictureTooLarge,
    TooManyFiles,
    WrongFormat,
)
from shared.imaging import images

# As images.py itself does where pytest does not set the filters anew for each test.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

LIMITS = Limits(max_bytes=100_000, max_pixels=1_000_000, max_aspect=50, max_files=3, max_unpacked=1_000_000)
SAP = Limits(
    max_bytes=100_000,
    max_pixels=10_000_000,
    max_aspect=50,
    max_files=3,
    max_unpacked=1_000_000,
    max_side=1024,
    formats=frozenset({"JPEG", "PNG", "GIF", "TIFF", "BMP"}),
)


def encoded(format: str = "PNG", size: tuple[int, int] = (8, 6), mode: str = "RGB", **options: object) -> bytes:
    out = io.BytesIO()
    register_heif_opener()
    colour = 200 if mode == "L" else (200, 100, 50)
    Image.new(mode, size, colour).save(out, "HEIF" if format == "HEIC" else format, **options)
    return out.getvalue()


def png_header(width: int, height: int) -> bytes:
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 10)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) for chunk in (body, pixels)
    )


def upload(name: str, data: bytes) -> Upload:
    return Upload(name, io.BytesIO(data))


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def pictures(*uploads: Upload, limits: Limits = LIMITS) -> list[Picture]:
    return list(images.pictures(uploads, limits))


@pytest.mark.parametrize("format", sorted(ALL_FORMATS))
def test_every_accepted_format_is_recognised_by_its_bytes_and_measured(format: str) -> None:
    data = encoded(format, (80, 60))
    assert images.check("no-extension", data, LIMITS) == Picture("no-extension", data, format, 80, 60)


def test_a_camera_file_with_several_pictures_counts_as_jpeg() -> None:
    out = io.BytesIO()
    more = [Image.new("RGB", (8, 6), "blue")]
    Image.new("RGB", (8, 6)).save(out, "MPO", save_all=True, append_images=more)
    assert images.check("a.mpo", out.getvalue(), LIMITS).format == "JPEG"


def test_bytes_of_no_known_format_are_not_a_picture() -> None:
    with pytest.raises(NotAPicture, match=r"'a\.jpg' is not a picture.*Send one of AVIF, BMP, GIF, HEIC, JPEG"):
        images.check("a.jpg", b"hello, this is text", LIMITS)


def test_no_bytes_are_not_a_picture() -> None:
    with pytest.raises(NotAPicture, match="is empty"):
        images.check("a.jpg", b"", LIMITS)


def test_a_format_that_this_wire_does_not_take_is_named_with_those_it_takes() -> None:
    with pytest.raises(WrongFormat, match=r"is a WEBP picture. Send one of BMP, GIF, JPEG, PNG, TIFF"):
        images.check("a.webp", encoded("WEBP"), SAP)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"8BPS\0\1", "is a PSD picture. Save it as JPEG or PNG."),
        (b"%!PS-Adobe-3.0", "is an EPS picture. Save it as JPEG or PNG."),
        (b"\xc5\xd0\xd3\xc6\x1e\0", "is an EPS picture. Save it as JPEG or PNG."),
        (b"\0\0\1\0\1\0", "is an ICO picture. Save it as JPEG or PNG."),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "is a JPEG2000 picture. Save it as JPEG or PNG."),
        (b"\xff\x4f\xff\x51\0", "is a JPEG2000 picture. Save it as JPEG or PNG."),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "is a JPEG XL picture. Save it as JPEG or PNG."),
        (b"\xff\x0a\x10", "is a JPEG XL picture. Save it as JPEG or PNG."),
        (b"<svg xmlns=''/>", "is an SVG picture. Save it as JPEG or PNG."),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- made by hand -->\n<svg/>', "is an SVG picture."),
        (b"qoif\0\0\0\1", "is a QOI picture. Save it as JPEG or PNG."),
        (b"DDS |\0\0\0", "is a DDS picture. Save it as JPEG or PNG."),
        (b"\xd7\xcd\xc6\x9a\0\0", "is a WMF picture. Save it as JPEG or PNG."),
        (b"\1\0\0\0" + bytes(36) + b" EMF", "is a WMF picture. Save it as JPEG or PNG."),
        (b"gimp xcf v011\0", "is an XCF picture. Save it as JPEG or PNG."),
        (b"v/1\1\2\0", "is an OpenEXR picture. Save it as JPEG or PNG."),
        (b"II*\0\x10\0\0\0CR\2\0", "is a raw camera picture. Save it as JPEG or PNG."),
        (b"FUJIFILMCCD-RAW 0201", "is a raw camera picture. Save it as JPEG or PNG."),
        (b"IIRO\x08\0\0\0", "is a raw camera picture. Save it as JPEG or PNG."),
        (b"IIU\0\x18\0\0\0", "is a raw camera picture. Save it as JPEG or PNG."),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "is a raw camera picture. Save it as JPEG or PNG."),
        (b"%PDF-1.7\n", "is a PDF document. Save the page as JPEG or PNG."),
        (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2", "is a video. Save one frame of it as JPEG or PNG."),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "is a video. Save one frame of it as JPEG or PNG."),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "is a video. Save one frame of it as JPEG or PNG."),
        (b"\x1aE\xdf\xa3\x01\0", "is a video. Save one frame of it as JPEG or PNG."),
        (b"RIFF\x10\0\0\0AVI LIST", "is a video. Save one frame of it as JPEG or PNG."),
    ],
)
def test_a_format_that_is_not_taken_is_named_with_what_would_work_without_being_opened(head: bytes, what: str) -> None:
    with pytest.raises(WrongFormat) as caught:
        images.check("a", head + bytes(100), LIMITS)
    assert caught.value.message.startswith(f"'a' {what}")


def test_text_that_only_mentions_a_format_is_not_a_picture() -> None:
    with pytest.raises(NotAPicture):
        images.check("a", b"<!DOCTYPE html><html><body><svg/></body></html>", LIMITS)


@pytest.mark.parametrize("format", sorted(ALL_FORMATS))
def test_cut_anywhere_a_picture_is_refused_or_decodes(format: str) -> None:
    data = encoded(format, (80, 60))
    for end in range(1, len(data), max(1, len(data) // 60)):
        with contextlib.suppress(BadPicture):
            images.check("cut", data[:end], LIMITS)
            assert images.decode(data[:end], exif=True, mode="RGB").size == (80, 60)


def test_a_header_that_cannot_be_read_is_broken_not_unknown() -> None:
    with pytest.raises(BrokenPicture, match="begins like JPEG"):
        images.check("a.jpg", encoded("JPEG")[:12], LIMITS)


def test_too_many_bytes_are_refused_with_the_limit() -> None:
    with pytest.raises(PictureTooLarge, match="100,000 bytes"):
        images.check("a.png", encoded() + bytes(100_000), LIMITS)


def test_too_many_pixels_are_refused_with_shape_and_limit() -> None:
    with pytest.raises(PictureTooLarge, match=r"1001 x 1000 pixels, 1001000 in all; at most 1000000"):
        images.check("a.png", png_header(1001, 1000), LIMITS)


def test_a_bomb_of_four_gigapixels_is_refused_with_its_number() -> None:
    with pytest.raises(PictureTooLarge, match=r"has 4000000000 pixels; at most 1000000"):
        images.check("a.png", png_header(40_000, 100_000), LIMITS)


def test_a_ribbon_is_refused() -> None:
    with pytest.raises(PictureTooLarge, match=r"10 x 63498 pixels; one side may be at most 50 times"):
        images.check("a.png", png_header(10, 63498), LIMITS)


def test_sides_must_stay_under_the_limit_of_the_wire() -> None:
    assert images.check("a.png", png_header(1023, 1023), SAP).width == 1023
    with pytest.raises(PictureTooLarge, match="must stay under 1024"):
        images.check("a.png", png_header(1024, 100), SAP)


def test_a_picture_without_pixels_is_broken() -> None:
    with pytest.raises(BrokenPicture, match="begins like BMP, but its header cannot be read"):
        images.check("a.bmp", b"BM" + bytes(8) + struct.pack("<IIiiHH", 54, 40, 0, 7, 1, 24) + bytes(24), LIMITS)


def test_variants_that_decode_in_slow_python_are_taken_only_when_small() -> None:
    roomy = Limits(max_bytes=50_000_000, max_pixels=50_000_000, max_aspect=50, max_files=3, max_unpacked=1)
    assert images.check("a.ppm", b"P3 2 1 255 0 0 0 9 9 9", roomy).format == "PPM"
    with pytest.raises(PictureTooLarge, match="slow to decode"):
        images.check("a.ppm", b"P3 2000 2000 255 0 0 0", roomy)


def test_uploads_come_out_in_order_with_their_names() -> None:
    read = pictures(upload("b", encoded("PNG")), upload("a", encoded("JPEG")))
    assert [(picture.name, picture.format) for picture in read] == [("b", "PNG"), ("a", "JPEG")]


def test_no_upload_is_no_input() -> None:
    with pytest.raises(NoInput, match="at least one file"):
        pictures()


def test_an_empty_part_is_named() -> None:
    with pytest.raises(NoInput, match=r"'a\.jpg' is empty"):
        pictures(upload("a.jpg", b""))


def test_an_archive_gives_its_members_as_pictures() -> None:
    read = pictures(upload("photos", zipped(a=encoded("PNG"), b=encoded("GIF"))))
    assert [(picture.name, picture.format) for picture in read] == [("a", "PNG"), ("b", "GIF")]


@pytest.mark.parametrize("order", [1, -1])
def test_an_archive_must_be_the_only_upload(order: int) -> None:
    uploads = [upload("a.zip", zipped(a=encoded())), upload("b.png", encoded())][::order]
    with pytest.raises(ArchiveWithFiles, match=r"'a\.zip' must be the only file"):
        pictures(*uploads)


def test_an_archive_of_another_kind_is_named() -> None:
    with pytest.raises(BadArchive, match=r"rar archive. Send zip, tar, tar\.gz"):
        pictures(upload("a.zip", b"Rar!\x1a\x07\0" + bytes(50)))


def test_more_pictures_than_one_job_takes_are_refused() -> None:
    with pytest.raises(TooManyFiles, match="At most 3"):
        pictures(*(upload(str(number), encoded()) for number in range(4)))


def test_a_picture_is_read_only_when_its_turn_comes() -> None:
    second = upload("second", encoded())
    assert next(images.pictures([upload("first", encoded()), second], LIMITS)).name == "first"
    assert second.stream.tell() == 0


@pytest.mark.parametrize(
    "text",
    ["+/8=", "-_8=", "data:image/png;base64,+/8=", "DATA:;base64,-_8=", " +/\n8= ", "+/8", "-_8", "data:;base64,-_8\n"],
)
def test_base64_is_read_in_its_usual_spellings_with_and_without_padding(text: str) -> None:
    assert images.from_base64(text) == b"\xfb\xff"


@pytest.mark.parametrize(
    "text", ["", "data:image/png;base64,", "data:image/png,abcd", "a", "abcde", "ab=c", "ab!d", "ab!", "ä==="]
)
def test_what_is_not_base64_is_refused(text: str) -> None:
    with pytest.raises(BadBase64):
        images.from_base64(text)


def test_a_picture_survives_base64() -> None:
    data = encoded()
    assert images.from_base64("data:image/png;base64," + base64.b64encode(data).decode()) == data


@pytest.mark.parametrize(
    ("orientation", "corner"),
    [(1, (0, 0)), (2, (2, 0)), (3, (2, 1)), (4, (0, 1)), (5, (0, 0)), (6, (1, 0)), (7, (1, 2)), (8, (0, 2))],
)
def test_exif_orientation_is_undone(orientation: int, corner: tuple[int, int]) -> None:
    picture = Image.new("RGB", (3, 2))
    picture.putpixel((0, 0), (255, 255, 255))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture.save(out, "PNG", exif=exif)
    turned = images.decode(out.getvalue(), exif=True, mode="RGB")
    assert turned.size == ((3, 2) if orientation < 5 else (2, 3))
    assert turned.getpixel(corner) == (255, 255, 255)
    assert images.decode(out.getvalue(), exif=False, mode="RGB").tobytes() == picture.tobytes()


def test_exif_that_cannot_be_read_spoils_no_pixels() -> None:
    data = encoded("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert images.decode(data, exif=True, mode="RGB").size == (8, 6)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK"])
@pytest.mark.parametrize("wanted", ["RGB", "L"])
def test_usual_modes_are_converted_as_pillow_does(mode: str, wanted: str) -> None:
    source = Image.linear_gradient("L").resize((16, 16)).convert("RGBA")
    source.putalpha(Image.radial_gradient("L").resize((16, 16)))
    picture = source.convert(mode if mode != "PA" else "P")
    out = io.BytesIO()
    transparent = {"transparency": 3} if mode == "PA" else {}
    picture.save(out, "TIFF" if mode == "CMYK" else "PNG", **transparent)
    reference = Image.open(out).convert(wanted)
    assert images.decode(out.getvalue(), exif=True, mode=wanted).tobytes() == reference.tobytes()


@pytest.mark.parametrize(
    ("mode", "format", "values"),
    [
        ("I;16", "PNG", (0, 32768, 65535)),
        ("I;16", "TIFF", (0, 32768, 65535)),
        ("I;16B", "TIFF", (0, 32768, 65535)),
        ("I", "PPM", (0, 32768, 65535)),
        ("I", "TIFF", (0, 128, 255)),
        ("I", "TIFF", (-5, 32768, 65535)),
        ("F", "TIFF", (0.0, 0.5, 1.0)),
        ("F", "TIFF", (0.0, 127.5, 255.0)),
        ("F", "TIFF", (-1.0, 5e5, 1e6)),
    ],
)
def test_deep_grey_becomes_neither_black_nor_white(mode: str, format: str, values: tuple[float, ...]) -> None:
    picture = Image.new(mode, (3, 1))
    for column, value in enumerate(values):
        picture.putpixel((column, 0), value)
    out = io.BytesIO()
    picture.save(out, format)
    grey = images.decode(out.getvalue(), exif=True, mode="L").tobytes()
    assert (grey[0], grey[2]) == (0, 255)
    assert grey[1] in (127, 128)


def test_of_an_animation_the_first_frame_counts() -> None:
    out = io.BytesIO()
    frames = [Image.new("RGB", (5, 5), color) for color in ("red", "blue")]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    assert images.decode(out.getvalue(), exif=True, mode="RGB").getpixel((0, 0)) == (255, 0, 0)


def test_cut_pixels_are_broken_with_the_reason() -> None:
    data = encoded("JPEG", (200, 200), quality=95)
    with pytest.raises(BrokenPicture, match="truncated"):
        images.decode(data[:-300], exif=True, mode="RGB")


def test_what_is_no_picture_does_not_decode() -> None:
    with pytest.raises(BrokenPicture):
        images.decode(b"hello", exif=True, mode="RGB")


@pytest.mark.parametrize("script", [b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", b"\0\0\0\x0cjP  \r\n\x87\n"])
def test_a_format_that_is_not_accepted_is_never_handed_to_pillow(
    script: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("PIL.Image.open", lambda *_, **__: pytest.fail("it was opened"))
    with pytest.raises(BrokenPicture):
        images.decode(script, exif=True, mode="RGB")
