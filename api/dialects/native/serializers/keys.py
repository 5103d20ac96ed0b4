"""Serializers of API keys; these functions read only their arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from shared.domain.keys import ApiKey, Caller
from shared.schemas import keys as schemas
from shared.schemas.common import moment, moment_at


def keys(keys: Sequence[ApiKey]) -> schemas.KeyList:
    """Return keys as they are shown after their creation, without their text."""
    return schemas.KeyList(keys=[schemas.Key(**_fields(key)) for key in keys])


def new_key(key: ApiKey, text: str = "") -> schemas.NewKey:
    """Return a key that was just created with its text; a registered public key has none."""
    return schemas.NewKey(**_fields(key), key=text)


def current(caller: Caller) -> schemas.CurrentKey:
    """Return what the key of the caller may do."""
    return schemas.CurrentKey(
        tenant=caller.tenant, scopes=list(caller.scopes), stage=caller.stage, expires=moment(caller.expires_at)
    )


def _fields(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "tenant": key.tenant,
        "prefix": key.prefix,
        "scopes": list(key.scopes),
        "stage": key.stage,
        "account": key.account,
        "created_at": moment_at(key.created_at),
        "revoked_at": moment(key.revoked_at),
        "expires": moment(key.expires_at),
        "last_used": moment(key.last_used_at),
    }
