"""Links that open one thing for a while, for whoever has them: signed, so that none can be made up or made to last."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shared import errors

if TYPE_CHECKING:
    from shared.tools import Tools

SECRET = "link_secret"  # noqa: S105 - the name of the fact that holds it
"""The fact with which links are signed; without it, as after it was removed, all links are void."""


def sign(tools: Tools, paths: Sequence[str], expires: int) -> list[str]:
    """A signature (hex) for each path, good until `expires`, Unix seconds."""
    secret = _secret(tools)
    return [_signature(secret, path, expires) for path in paths]


def check(tools: Tools, path: str, expires: int, signature: str) -> None:
    """Raise Forbidden unless the path was signed so and is not past its time."""
    if not hmac.compare_digest(_signature(_secret(tools), path, expires).encode(), signature.encode()):
        raise errors.Forbidden("This link was not made here, or was changed; ask for another.")
    if tools.now() >= expires:
        raise errors.Forbidden("This link has expired; ask for another.")


def _signature(secret: str, path: str, expires: int) -> str:
    return hmac.new(secret.encode(), f"{expires} {path}".encode(), hashlib.sha256).hexdigest()


def _secret(tools: Tools) -> str:
    with tools.records.read() as r:
        if found := r.facts.get(SECRET):
            return found
    with tools.records.write() as r:
        return r.facts.settle(SECRET, secrets.token_hex(32))
