"""`python docs/reference/errors.py` writes errors.md, the table of all error codes, from shared/errors.py."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, this folder is the path

from docs.tables import origin, table, write
from shared import errors

HEAD = """\
# Errors

The native wire answers with problem documents (RFC 9457):

```text
{"type": "urn:inferq:error:not_a_picture", "title": "The bytes are not an image in a known format.", "status": 400,
 "detail": "'notes.txt' is not a picture in a known format. Send one of AVIF, BMP, GIF, HEIC, JPEG, PNG, …",
 "code": "not_a_picture"}
```

`code` is for programs and does not change. `detail` is a sentence for users, and says what to do. `429` and `503` carry
`Retry-After` if a later attempt helps. Every other wire says the same in the shape that its clients know:
[the wires](../wires.md).

"""
PICTURES = """\
## Codes of single pictures

A picture that fails in a worker fails alone: its job has the code beside the picture, and goes on. A job in which no
picture has an answer is `FAILED`, with the code `no_picture_succeeded`. The codes of a picture that cannot be used are
those above. These exist for pictures only:

"""
OF_PICTURES = (
    (
        "`poison`",
        "Workers have crashed on this picture, as often as `INFERQ_MAX_ATTEMPTS` allows.",
        "Examine the picture.",
    ),
    ("`expired`", "The deadline of the job came before its turn.", "Retry the job, or give it more time."),
    ("`gone`", "The picture was removed before it ran.", "Send it again."),
    ("`model_failed`", "The network fails on this picture; the message names the error.", "Read the worker's log."),
    ("`model_unavailable`", "The model was removed or refused after the job was accepted.", "Choose another model."),
    ("`search_failed`", "The features that a search compares could not be read.", "Search again."),
)


def pages() -> dict[str, str]:
    """Return name -> text."""
    lines = [HEAD + origin("errors", "shared/errors.py"), "", "## Codes of requests", ""]
    lines += table(("code", "status", "retry after", "meaning"), map(row, kinds(errors.InferqError)))
    lines += (PICTURES + "\n".join(table(("code", "meaning", "what to do"), OF_PICTURES))).splitlines()
    return {"errors.md": "\n".join(lines).rstrip() + "\n"}


def kinds(kind: type[errors.InferqError]) -> Iterator[type[errors.InferqError]]:
    """Yield a class of errors, and then those below it."""
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:  # no wire's, and no test's
            yield from kinds(below)


def row(kind: type[errors.InferqError]) -> tuple[str, str, str, str]:
    """Return the cells of a class of errors."""
    seconds = f"{kind.retry_after:g} s" if kind.retry_after else ""
    return f"`{kind().code}`", str(kind.status), seconds, inspect.getdoc(kind) or ""


if __name__ == "__main__":
    write(pages())
