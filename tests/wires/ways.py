"""The ways in which a request carries pictures, by wire: what the body is, and which status says that it is taken."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pillow_heif
from PIL import Image

from api.dialects.einstein_vision.common import FORMATS as EINSTEIN
from api.dialects.img_processing.requests import FORMATS as IMG
from api.dialects.sap_leonardo.services import FORMATS as SAP
from shared.domain.pictures import ALL_FORMATS

MULTIPART, RAW, JSON = "multipart/form-data", "application/octet-stream", "application/json"
BOUNDARY = "0123456789abcdef"
File = tuple[str, bytes]
Body = tuple[dict[str, str], bytes]


@dataclass(frozen=True)
class Way:
    """One way in: a path, and how a body holds the files."""

    tag: str
    """The tag of its call in OpenAPI."""
    kind: str
    """The media type of its body in OpenAPI."""
    path: str
    formats: frozenset[str]
    taken: int
    """The status without a worker, which a request that waits gets when its wait is over."""
    part: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    several: bool = False
    archives: bool = False
    refused: int = 400
    write: Callable[[Way, Sequence[File]], Body] = lambda way, files: way.form(files)

    def form(self, files: Sequence[File]) -> Body:
        """Return headers and body of a form, as browsers and curl write it."""
        return form(*((disposition(self.part, name), data) for name, data in files), fields=self.fields)


def disposition(part: str, name: str) -> str:
    """Return the header of a file part."""
    return f'Content-Disposition: form-data; name="{part}"; filename="{name}"'


def form(*parts: tuple[str, bytes], fields: dict[str, str] | None = None, boundary: str = BOUNDARY) -> Body:
    """Return headers and body of a form with these parts, each with its headers as text."""
    texts = [(f'Content-Disposition: form-data; name="{key}"', text.encode()) for key, text in (fields or {}).items()]
    body = b"".join(
        b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary.encode(), head.encode("utf-8", "surrogateescape"), data)
        for head, data in [*texts, *parts]
    )
    return {"Content-Type": f"{MULTIPART}; boundary={boundary}"}, body + b"--%s--\r\n" % boundary.encode()


def _raw(_: Way, files: Sequence[File]) -> Body:
    return {"Content-Type": RAW}, files[0][1]


def _json(document: Callable[[Sequence[File]], Any]) -> Callable[[Way, Sequence[File]], Body]:
    return lambda _, files: ({"Content-Type": JSON}, json.dumps(document(files)).encode())


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _base64_field(way: Way, files: Sequence[File]) -> Body:
    return form(fields=way.fields | {way.part: text(files[0][1])})


MODEL = {"modelId": "digits"}
WAYS = {
    "native, form": Way("Jobs", MULTIPART, "/v1/jobs", ALL_FORMATS, 202, "files", several=True, archives=True),
    "native, raw": Way("Jobs", RAW, "/v1/jobs", ALL_FORMATS, 202, archives=True, write=_raw),
    "native, JSON": Way(
        "Jobs", JSON, "/v1/jobs", ALL_FORMATS, 202, several=True,
        write=_json(lambda files: {"inputs": [{"base64": text(data), "name": name} for name, data in files]}),
    ),
    "search, form": Way("Jobs", MULTIPART, "/v1/images/search", ALL_FORMATS, 202, "files"),
    "search, raw": Way("Jobs", RAW, "/v1/images/search", ALL_FORMATS, 202, write=_raw),
    "search, JSON": Way(
        "Jobs", JSON, "/v1/images/search", ALL_FORMATS, 202,
        write=_json(lambda files: {"inputs": [{"base64": text(data), "name": name} for name, data in files]}),
    ),
    "SAP v1": Way("SAP Leonardo", MULTIPART, "/jobs", SAP, 202, "files", several=True, archives=True),
    "SAP v2": Way(
        "SAP Leonardo", MULTIPART, "/api/v2/image/classification/jobs", SAP, 202, "files", several=True, archives=True
    ),
    "Einstein": Way("Einstein Vision", MULTIPART, "/v2/vision/predict", EINSTEIN, 503, "sampleContent", MODEL),
    "Einstein, base64": Way(
        "Einstein Vision", MULTIPART, "/v2/vision/predict", EINSTEIN, 503, "sampleBase64Content", MODEL,
        write=_base64_field,
    ),
    "Hugging Face, raw": Way("Hugging Face", RAW, "/models/digits", ALL_FORMATS, 504, write=_raw),
    "Hugging Face, JSON": Way(
        "Hugging Face", JSON, "/models/digits", ALL_FORMATS, 504,
        write=_json(lambda files: {"inputs": text(files[0][1])}),
    ),
    "IMG": Way("IMG Processing", MULTIPART, "/v1/images/upload", IMG, 201, "image", {"name": "n"}, refused=422),
    "IMG, JSON": Way(
        "IMG Processing", JSON, "/v1/images", IMG, 201, refused=422,
        write=_json(lambda files: {"name": "n", "base64": text(files[0][1])}),
    ),
}  # fmt: skip


def picture(format: str, mode: str = "RGB", **options: Any) -> bytes:
    """Return a picture of 16 x 16 pixels in a format, by its name in ALL_FORMATS."""
    pillow_heif.register_heif_opener()
    file = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert(mode).save(
        file, {"HEIC": "HEIF"}.get(format, format), **options
    )
    return file.getvalue()
