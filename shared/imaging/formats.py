"""Formats of pictures are recognised by the first bytes, never by a name; those that are not taken have advice."""

from __future__ import annotations

from shared.domain.pictures import ALL_FORMATS

_SIGNS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    # Before TIFF, whose structure cameras use for their raw data. Other raw data is like a TIFF in its first bytes
    # too, and is decoded as one: the small picture in it.
    (b"II*\0\x10\0\0\0CR", "raw camera"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    *((b"P" + letter, "PPM") for letter in (b"1", b"2", b"3", b"4", b"5", b"6", b"f", b"F")),
    # Recognised, so that the error can name them; never opened.
    (b"8BPS", "PSD"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF-", "PDF"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\xff\x0a", "JPEG XL"),
    (b"<svg", "SVG"),
    (b"qoif", "QOI"),
    (b"DDS ", "DDS"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"gimp xcf", "XCF"),
    (b"v/1\1", "OpenEXR"),
    (b"FUJIFILMCCD-RAW", "raw camera"),
    (b"IIRO", "raw camera"),
    (b"IIRS", "raw camera"),
    (b"MMOR", "raw camera"),
    (b"IIU\0", "raw camera"),
    (b"FOVb", "raw camera"),
    (b"\x1aE\xdf\xa3", "video"),
)

_SEQUENCES = {b"hevc", b"hevx", b"hevm", b"hevs", b"msf1"}
_SINGLE = {b"heic", b"heix", b"heim", b"heis", b"mif1"}
_AVIF = {b"avif", b"avis"}
_RAW = b"crx "
_VIDEO = (b"iso", b"mp4", b"M4V", b"qt  ", b"3g", b"avc", b"MSNV", b"dash", b"f4v", b"mmp4")

_ITEMS = 4096
"""Bytes at the beginning of a file in which the codec of a picture is named, where no brand names it."""

_XML = 1024
"""Bytes at the beginning of a text in which an SVG names itself."""

_MEDIA_TYPES = {"PPM": "image/x-portable-anymap"}
"""Media types that differ from the name of the format."""

_NOUNS = {"video": "video", "PDF": "PDF document"}
"""What a file is called in errors, where `FORMAT picture` would be wrong."""


def recognise(head: bytes) -> str:
    """Return the name of the format that begins with these bytes, accepted or not; empty if none is known."""
    if head[4:8] == b"ftyp":
        return _of_brands(head)
    if head[:4] == b"RIFF":
        return {b"WEBP": "WEBP", b"AVI ": "video"}.get(head[8:12], "")
    if head[:4] == b"\1\0\0\0" and head[40:44] == b" EMF":
        return "WMF"
    if name := next((name for sign, name in _SIGNS if head.startswith(sign)), ""):
        return name
    text = head[:_XML].removeprefix(b"\xef\xbb\xbf").lstrip()
    return "SVG" if text.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg", b"<svg")) and b"<svg" in text else ""


def _of_brands(head: bytes) -> str:
    """Return the format of a file that begins with a list of brands, as HEIC, AVIF and MP4 do."""
    major, brands = _brands(head)
    if brands & _AVIF:
        return "AVIF"
    if brands & ((_SINGLE | _SEQUENCES) - {b"mif1", b"msf1"}):
        return "HEIC"
    if brands & {b"mif1", b"msf1"}:  # they name the structure, not the codec
        return "AVIF" if b"av01" in head[:_ITEMS] and b"hvc1" not in head[:_ITEMS] else "HEIC"
    if major == _RAW:
        return "raw camera"
    return "video" if major.startswith(_VIDEO) else ""


def _brands(head: bytes) -> tuple[bytes, set[bytes]]:
    """Return the major brand, and all brands."""
    end = min(int.from_bytes(head[:4], "big"), 512)
    return head[8:12], {head[8:12], *(head[at : at + 4] for at in range(16, end, 4))}


def media_type(head: bytes) -> str:
    """Return the Content-Type of a picture that begins with these bytes."""
    kind = recognise(head)
    if kind not in ALL_FORMATS:
        return "application/octet-stream"
    if kind == "HEIC":
        return _heif_type(_brands(head)[0])
    return _MEDIA_TYPES.get(kind, f"image/{kind.lower()}")


def _heif_type(major: bytes) -> str:
    """Return the media type by the major brand: `heic` only where it promises HEVC, `sequence` where it begins one."""
    codec = "heif" if major in (b"mif1", b"msf1") else "heic"
    return f"image/{codec}-sequence" if major in _SEQUENCES else f"image/{codec}"


def refusal(kind: str, accepted: frozenset[str]) -> str:
    """Return what a file of a format that is not accepted is, and what would work, as the end of an error."""
    noun = _NOUNS.get(kind, f"{kind} picture")
    article = "an" if kind[0] in "AEIO" or kind in ("SVG", "XCF") else "a"
    if kind in ALL_FORMATS:
        advice = f"Send one of {', '.join(sorted(accepted))}."
    elif kind == "video":
        advice = "Save one frame of it as JPEG or PNG."
    elif kind == "PDF":
        advice = "Save the page as JPEG or PNG."
    else:
        advice = "Save it as JPEG or PNG."
    return f"is {article} {noun}. {advice}"
