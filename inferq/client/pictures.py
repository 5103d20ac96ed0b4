"""Pictures as callers have them: paths, URLs, bytes, files, images of Pillow and arrays of NumPy, as they are sent.

Neither Pillow nor NumPy is imported: their objects are known by what they can do.
"""

from __future__ import annotations

import base64
import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any, Protocol

from inferq.errors import InferqError


class BinaryFile(Protocol):
    """A file, or anything that is read like one."""

    def read(self) -> bytes: ...


class PillowImage(Protocol):
    """A `PIL.Image.Image`."""

    @property
    def mode(self) -> str: ...
    def save(self, fp: Any, format: str | None = None, **params: Any) -> None: ...
    def getexif(self) -> Any: ...


class Array(Protocol):
    """A `numpy.ndarray`."""

    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def dtype(self) -> Any: ...
    def tobytes(self) -> bytes: ...


Picture = str | os.PathLike[str] | bytes | tuple[str, bytes] | BinaryFile | PillowImage | Array
"""A path, a URL that the server fetches, bytes, a name with bytes, an open binary file, an image of Pillow, or an array
of NumPy (uint8, height × width, or height × width × 3). An archive counts as a single picture. Images and arrays are
sent as PNG, which loses nothing."""
_MODES = ("1", "L", "LA", "I;16", "P", "RGB", "RGBA")
"""Modes of Pillow that PNG has; of the 32 bits of I it would drop half."""
_KINDS = "a path, a URL, bytes, a tuple of name and bytes, a binary file, an image of Pillow, or an array of NumPy"


def is_url(source: object) -> bool:
    """Return True if the source is a URL, not a path."""
    return isinstance(source, str) and source.startswith(("http://", "https://"))


def readable(name: str) -> str:
    """Return the name of a file as text that can be sent and written: bytes in it that are not UTF-8 become U+FFFD."""
    return os.fsencode(name).decode(errors="replace")


def name_of(picture: Picture) -> str:
    """Return how a picture is called, by its path, URL, or file; empty if it has no name."""
    if isinstance(picture, tuple):
        return readable(picture[0])
    if isinstance(picture, str | os.PathLike):
        return readable(os.fspath(picture))
    name = "" if isinstance(picture, bytes) else getattr(picture, "name", "")
    return readable(name) if isinstance(name, str) else ""  # that of a file without a path is a number


def part(number: int, picture: Picture) -> tuple[str, bytes]:
    """Return name and bytes of the picture number `number` of a request.

    Raises OSError if it cannot be read, InferqError if it is no Picture.
    """
    if isinstance(picture, tuple):
        return name_of(picture), picture[1]
    name = Path(name_of(picture)).name or f"picture-{number}"
    if isinstance(picture, bytes):
        return name, picture
    if isinstance(picture, str | os.PathLike):
        return name, Path(picture).read_bytes()
    return name, _encoded(number, picture)


def entry(number: int, picture: Picture) -> dict[str, str]:
    """Return the picture number `number` of a request in JSON: its URL, or its bytes in base64. Raises as `part`."""
    if is_url(picture):
        return {"url": str(picture)}
    name, data = part(number, picture)
    return {"name": name, "base64": base64.b64encode(data).decode()}


def _encoded(number: int, picture: Any) -> bytes:
    """Return the bytes of a file, or those of a PNG of an image or array."""
    if hasattr(picture, "read"):
        data = picture.read()
        if isinstance(data, bytes):
            return data
        raise InferqError(f"picture {number} is a file in text mode; open it with mode 'rb'")
    if hasattr(picture, "save") and hasattr(picture, "mode") and hasattr(picture, "getexif"):
        return _png_of_image(number, picture)
    if hasattr(picture, "tobytes") and hasattr(picture, "shape") and hasattr(picture, "dtype"):
        return _png_of_array(number, picture)
    raise InferqError(f"picture {number} must be {_KINDS}; not {picture!r:.80}")


def _png_of_image(number: int, image: PillowImage) -> bytes:
    if image.mode not in _MODES:
        raise InferqError(f"picture {number} has the mode {image.mode}, which PNG has not; send image.convert('RGB')")
    file = io.BytesIO()
    # With its EXIF: the pixels of an opened photo lie as the camera held them, and the server turns them.
    image.save(file, "PNG", compress_level=1, exif=image.getexif())
    return file.getvalue()


def _png_of_array(number: int, array: Array) -> bytes:
    """Return a PNG with the values of an array, written by hand: 20 lines, so that Pillow need not be installed."""
    shape, kind = tuple(array.shape), str(array.dtype)
    if kind != "uint8":
        raise InferqError(f"picture {number} is an array of {kind}; it must be uint8, with values from 0 to 255")
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] != 3) or 0 in shape:
        is_turned = len(shape) == 3 and shape[0] == 3
        advice = "; send array.transpose(1, 2, 0)" if is_turned else ""
        size = " × ".join(map(str, shape)) or "nothing"
        raise InferqError(
            f"picture {number} is an array of {size}; it must be height × width, or height × width × 3 (RGB){advice}"
        )
    height, width = shape[:2]
    pixels, stride = memoryview(array.tobytes()), width * (3 if len(shape) == 3 else 1)
    rows = b"".join(b"\0" + pixels[at : at + stride] for at in range(0, height * stride, stride))  # 0: no filter
    header = struct.pack(">IIBBBBB", width, height, 8, 2 if len(shape) == 3 else 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
