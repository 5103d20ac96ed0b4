"""Serializers of images, links to pages, and classifications."""

from __future__ import annotations

import string
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from flask import request

from api.context import container
from shared.domain.stored_images import StoredImage


def image(stored: StoredImage) -> dict[str, Any]:
    """Return an image; sizes are in pixels and bytes, and the URL is null, as no image is published."""
    created = datetime.fromtimestamp(stored.created_at, UTC).isoformat(timespec="milliseconds")
    return {
        "id": stored.id,
        "name": stored.name,
        "url": None,
        "width": stored.width,
        "height": stored.height,
        "format": stored.format.lower(),
        "size": stored.size,
        "created_at": created.replace("+00:00", "Z"),
    }


def link(take: int, first: StoredImage) -> str:
    """Return the address of a page of `take` images that begins with `first`."""
    base = container().settings.public_url or request.root_url
    return f"{base.rstrip('/')}/v1/images?{urlencode({'take': take, 'from': first.id})}"


def classification(result: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """Return (label, score), best first, as one main label and secondary labels; each word begins with a capital.

    A multi-label model may find no label: the main label is then empty with the score 0, since clients of this wire
    declare a text and a number, which null would not be.
    """
    main, *others = [(string.capwords(label), score) for label, score in result] or [("", 0.0)]
    secondary = [{"label": label, "score": score} for label, score in others]
    return {"main_label": main[0], "main_score": main[1], "secondary_labels": secondary}
