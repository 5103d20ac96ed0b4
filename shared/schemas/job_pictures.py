"""The pictures of a job: pages of them with their outcomes, and how small one is fetched."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from shared.schemas.common import Answer, Cursor, Limit, Next, Request
from shared.schemas.jobs import StreamedPrediction


class JobPictureQuery(Request, kw_only=True):
    """Which pictures of a job a page holds."""

    failed: Annotated[bool, Meta(description="Only those that have failed.")] = False
    limit: Limit = 50
    cursor: Cursor = ""


class ThumbnailQuery(Request, kw_only=True):
    """How small a picture is fetched."""

    side: Annotated[int, Meta(description="Pixels of the longer side at most.", ge=16, le=1280)] = 320


class JobPicturePage(Answer, kw_only=True):
    """One page of the pictures of a job with their outcomes so far, in the order in which they were sent."""

    pictures: list[StreamedPrediction]
    next: Next
