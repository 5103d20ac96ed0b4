"""The base types of all requests and answers, and the annotations that many of their fields share."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.domain.models import ProblemType

PROBLEM_TYPES = tuple(kind.value for kind in ProblemType)
MULTI_LABEL = ProblemType.MULTI_LABEL.value
"""The problem type of models and datasets with any number of labels."""


class Request(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The fields of one request, from form, query or JSON alike; a field without a default is required."""


class LinkedRequest(Request, kw_only=True):
    """The fields of a download link, which takes the place of a key."""

    tenant: Annotated[str, Meta(description="Of a download link: for whom it was made.")] = ""
    expires: Annotated[str, Meta(description="Of a download link: its end, in Unix seconds.")] = ""
    signature: Annotated[str, Meta(description="Of a download link: shows that it was made here.")] = ""


class Answer(msgspec.Struct, kw_only=True):
    """The fields of one answer; a field without a default is always present.

    Reading ignores unknown fields, so that an older client works with a newer server.
    """

    def to_json(self) -> dict[str, Any]:
        """Return the answer as it is written in JSON."""
        return dict(msgspec.to_builtins(self))

    def encode(self) -> bytes:
        """Return the answer as JSON in UTF-8, in one line for every reader of lines.

        Half of a surrogate pair, which JSON can carry as an escape and UTF-8 cannot, becomes U+FFFD.
        """
        try:
            data = msgspec.json.encode(self)
        except UnicodeEncodeError:
            text = json.dumps(self.to_json(), ensure_ascii=False)
            data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
        for character, escape in _LINE_BREAKS:
            data = data.replace(character, escape)
        return data


_LINE_BREAKS = [(character.encode(), f"\\u{ord(character):04x}".encode()) for character in "\x85\u2028\u2029"]
"""Characters at which some readers of NDJSON and event streams break a line, and their escapes in JSON."""


def one_of(values: Iterable[str | None], description: str = "", **more: Any) -> Meta:
    """Return the annotation of a text that is one of `values`.

    Reading an answer accepts other values, which a newer server may have; reading a request refuses them.
    """
    return Meta(description=description or None, extra_json_schema={"enum": [*values]}, **more)


def moment(when: float | None) -> str | None:
    """Return Unix seconds in RFC 3339, in UTC with milliseconds and `Z`; None for None."""
    return None if when is None else moment_at(when)


def moment_at(when: float) -> str:
    """Return Unix seconds in RFC 3339, in UTC with milliseconds and `Z`."""
    return datetime.fromtimestamp(when, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


Time = Annotated[str, Meta(description="RFC 3339, in UTC.", extra_json_schema={"format": "date-time"})]
Moment = Annotated[
    str | None,
    Meta(description="RFC 3339, in UTC; null until it is reached.", extra_json_schema={"format": "date-time"}),
]
Share = Annotated[float, Meta(extra_json_schema={"minimum": 0, "maximum": 1})]
File = Annotated[str, Meta(extra_json_schema={"format": "binary", "contentMediaType": "application/octet-stream"})]
"""The bytes of a file in a form; the page /docs shows a file chooser for it."""
Photo = Annotated[File, Meta(examples=["photo.jpg"])]
Archive = Annotated[File, Meta(examples=["pictures.zip"])]
Limit = Annotated[int, Meta(description="Entries of a page, 1 to 500.", ge=1, le=500)]
Cursor = Annotated[str, Meta(description="`next` of the page before.")]
Next = Annotated[str | None, Meta(description="The cursor of the next page; null on the last.")]
Id = Annotated[str, Meta(description="Ids sort by time (UUIDv7).")]
Terminal = Annotated[
    bool, Meta(description="True if nothing changes any more by itself; a client need not know the list of statuses.")
]
Metadata = Annotated[dict[str, Any], Meta(description="A JSON object of the caller, returned unchanged.")]


class Problem(Answer, kw_only=True, omit_defaults=True):
    """A problem document (RFC 9457)."""

    type: Annotated[str, Meta(examples=["urn:inferq:error:not_a_picture"])]
    title: Annotated[str, Meta(description="The kind of problem.")]
    status: int
    detail: Annotated[str, Meta(description="What is wrong here, and what to do.")]
    code: Annotated[str, Meta(description="The kind for programs; it does not change.", examples=["not_a_picture"])]
    job_id: Annotated[str, Meta(description="The job that failed with it, if there is one.")] = ""
    links: ProblemLinks | None = None


class DownloadLink(Answer, kw_only=True):
    """An address that a browser may fetch without a key."""

    url: Annotated[
        str,
        Meta(description="The path and query of the link, without scheme and host. Whoever has it can fetch the file."),
    ]
    expires_at: Annotated[Time, Meta(description="Until then the download must begin.")]


class ProblemLinks(Answer, kw_only=True):
    """The addresses that belong to a problem."""

    job: str
