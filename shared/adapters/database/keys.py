"""Queries on API keys, and the tokens given for them; neither is ever stored itself, only its hash."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.tables import keys, tokens
from shared.domain.keys import DEFAULT_TENANT, ApiKey


class Keys:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: ApiKey) -> None:
        self._connection.execute(sa.insert(keys), asdict(key) | {"scopes": list(key.scopes)})

    def by_hash(self, digest: str) -> ApiKey | None:
        """The key that is valid now."""
        row = self._connection.execute(_BY_HASH, {"hash": digest}).first()
        return _key(row) if row else None

    def by_account(self, account: str) -> list[ApiKey]:
        """The valid keys by which an account signs, oldest first."""
        query = sa.select(keys).where(keys.c.account == account, keys.c.revoked_at.is_(None)).order_by(keys.c.id)
        return [_key(row) for row in self._connection.execute(query)]

    def by_token(self, digest: str, kind: str, now: float) -> ApiKey | None:
        """The key that a token was given for, while both are valid."""
        row = self._connection.execute(_BY_TOKEN, {"hash": digest, "kind": kind, "now": now}).first()
        return _key(row) if row else None

    def add_token(self, digest: str, key_id: str, kind: str, expires_at: float) -> None:
        """`expires_at` in Unix seconds."""
        values = {"hash": digest, "key_id": key_id, "kind": kind, "expires_at": expires_at}
        self._connection.execute(sa.insert(tokens), values)

    def keep_token(self, digest: str, expires_at: float) -> None:
        """Let it live until then."""
        self._connection.execute(sa.update(tokens).where(tokens.c.hash == digest).values(expires_at=expires_at))

    def drop_tokens(self, now: float) -> None:
        """Delete the tokens that open nothing any more: expired ones, and those of revoked keys."""
        revoked = sa.select(keys.c.id).where(keys.c.revoked_at.is_not(None))
        worthless = sa.or_(tokens.c.expires_at <= now, tokens.c.key_id.in_(revoked))
        self._connection.execute(sa.delete(tokens).where(worthless))

    def all(self, tenant: str) -> list[ApiKey]:
        """The tenant's keys; for DEFAULT, which makes those of all tenants, everybody's."""
        query = sa.select(keys).where(_manages(tenant)).order_by(keys.c.created_at)
        return [_key(row) for row in self._connection.execute(query)]

    def any(self) -> bool:
        """Whether a key was ever made. A revoked one counts: revoking the last key must not open the door."""
        return self._connection.execute(_ANY).first() is not None

    def revoke(self, tenant: str, key_id: str, now: float) -> bool:
        """False when the tenant manages no such valid key."""
        where = sa.and_(_manages(tenant), keys.c.id == key_id, keys.c.revoked_at.is_(None))
        return bool(self._connection.execute(sa.update(keys).where(where).values(revoked_at=now)).rowcount)


# Asked by every request, so put together once.
_BY_HASH = sa.select(keys).where(keys.c.hash == sa.bindparam("hash"), keys.c.revoked_at.is_(None))
_BY_TOKEN = (
    sa.select(keys)
    .join(tokens)
    .where(tokens.c.hash == sa.bindparam("hash"), tokens.c.kind == sa.bindparam("kind"), keys.c.revoked_at.is_(None))
    .where(tokens.c.expires_at > sa.bindparam("now"))
)
_ANY = sa.select(keys.c.id).limit(1)


def _manages(tenant: str) -> sa.ColumnElement[bool]:
    return sa.true() if tenant == DEFAULT_TENANT else keys.c.tenant == tenant


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    values = dict(row._mapping)
    return ApiKey(**values | {"scopes": tuple(values["scopes"])})
