"""Parsing of the requests: names, pictures from a file, a URL or base64, and the limits of this wire."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from api import reading
from api.dialects.img_processing.errors import Invalid
from shared import errors
from shared.adapters import http_fetch
from shared.domain.pictures import Limits, Picture
from shared.imaging import images
from shared.settings import Settings

FORMATS = frozenset({"JPEG", "PNG", "WEBP"})
MAX_BYTES = 20 * 1024 * 1024
"""Most bytes of one picture."""
MAX_NAME = 30
MAX_TAKE = 100


def limits(settings: Settings) -> Limits:
    """Return the limits of one picture on this wire."""
    service = reading.limits(settings)
    return replace(service, formats=FORMATS, max_bytes=min(MAX_BYTES, service.max_bytes))


def name_complaints(name: Any) -> list[str]:
    """Return what is wrong with the name of an image, as error texts; an empty list means that the name is valid."""
    if name is None or (isinstance(name, str) and not name.strip()):
        return ["name is required"]
    if not isinstance(name, str):
        return ["name must be a string"]
    if len(name) > MAX_NAME:
        return [f"name must have 1 to {MAX_NAME} characters"]
    return [] if name.isprintable() else ["name must have characters that can be shown"]


def from_base64(name: str, text: str, settings: Settings) -> Picture:
    """Return the picture of a base64 text; raises BadRequest if the bytes are not a picture of this wire."""
    return images.check(name, images.from_base64(text), limits(settings))


def from_url(name: str, url: str, settings: Settings) -> Picture:
    """Fetch a picture from an allowed host, or take it from a data URL; raises BadRequest if that fails or the bytes
    are not a picture."""
    if images.is_data_url(url):
        return from_base64(name, url, settings)
    accepted = limits(settings)
    hosts = settings.img_hosts.replace(",", " ").split()
    data = http_fetch.fetch(
        url,
        max_bytes=accepted.max_bytes,
        timeout=settings.fetch_timeout,
        allow_private=settings.fetch_private,
        hosts=hosts,
    )
    return images.check(name, data, accepted)


@contextmanager
def naming_field(field: str) -> Iterator[None]:
    """Turn a BadRequest of the block into an Invalid that names the field."""
    try:
        yield
    except (errors.NotAPicture, errors.WrongFormat):
        raise Invalid(f"{field} must be a jpeg, png or webp file") from None
    except errors.BadRequest as error:
        raise Invalid(f"{field} cannot be used: {error.message}") from error
