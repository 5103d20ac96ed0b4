"""Queries on API keys and the tokens issued for them; only hashes are stored, never the secrets."""

from __future__ import annotations

from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from shared.adapters.database.tables import keys, tokens
from shared.domain.keys import DEFAULT_TENANT, ApiKey


class Keys:
    """The tables of keys and tokens, inside one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def add(self, key: ApiKey) -> None:
        """Insert a key."""
        self._connection.execute(sa.insert(keys), asdict(key) | {"scopes": list(key.scopes)})

    def find_by_hash(self, digest: str) -> ApiKey | None:
        """Return the valid key with that hash, or None."""
        row = self._connection.execute(_BY_HASH, {"hash": digest}).first()
        return _key(row) if row else None

    def by_account(self, account: str) -> list[ApiKey]:
        """Return the valid keys with which an account signs, oldest first."""
        query = sa.select(keys).where(keys.c.account == account, keys.c.revoked_at.is_(None)).order_by(keys.c.id)
        return [_key(row) for row in self._connection.execute(query)]

    def find_by_token(self, digest: str, kind: str, now: float) -> ApiKey | None:
        """Return the key for which a token was issued, while both are valid, or None."""
        row = self._connection.execute(_BY_TOKEN, {"hash": digest, "kind": kind, "now": now}).first()
        return _key(row) if row else None

    def add_token(self, digest: str, key_id: str, kind: str, expires_at: float) -> None:
        """Insert the hash of a token; `expires_at` is in Unix seconds."""
        values = {"hash": digest, "key_id": key_id, "kind": kind, "expires_at": expires_at}
        self._connection.execute(sa.insert(tokens), values)

    def keep_token(self, digest: str, expires_at: float) -> None:
        """Extend a token until `expires_at` (Unix seconds)."""
        self._connection.execute(sa.update(tokens).where(tokens.c.hash == digest).values(expires_at=expires_at))

    def drop_tokens(self, now: float) -> None:
        """Delete expired tokens and the tokens of revoked keys."""
        revoked = sa.select(keys.c.id).where(keys.c.revoked_at.is_not(None))
        worthless = sa.or_(tokens.c.expires_at <= now, tokens.c.key_id.in_(revoked))
        self._connection.execute(sa.delete(tokens).where(worthless))

    def all(self, tenant: str) -> list[ApiKey]:
        """Return the tenant's keys; for DEFAULT_TENANT, which creates the keys of all tenants, the keys of all
        tenants."""
        query = sa.select(keys).where(_manages(tenant)).order_by(keys.c.created_at)
        return [_key(row) for row in self._connection.execute(query)]

    def any(self) -> bool:
        """Return True if a key was ever created. Revoked keys count: revoking the last key must not disable
        authentication."""
        return self._connection.execute(_ANY).first() is not None

    def is_last_with(self, tenant: str, scope: str, key_id: str) -> bool:
        """Return True if no other valid key of the tenant has the scope; until the end of the transaction none of these
        keys can be revoked by another."""
        valid = sa.select(keys).where(keys.c.tenant == tenant, keys.c.revoked_at.is_(None)).with_for_update()
        return [row.id for row in self._connection.execute(valid) if scope in row.scopes] == [key_id]

    def revoke(self, tenant: str, key_id: str, now: float) -> bool:
        """Revoke a key; returns False if the tenant manages no such valid key."""
        where = sa.and_(_manages(tenant), keys.c.id == key_id, keys.c.revoked_at.is_(None))
        return bool(self._connection.execute(sa.update(keys).where(where).values(revoked_at=now)).rowcount)


# Run by every request, so built once.
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
