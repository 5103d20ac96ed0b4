"""Queries on API keys and the tokens issued for them; only hashes are stored, never the secrets."""

from __future__ import annotations

import math
from collections.abc import Mapping
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
        """Return the key with that hash, unless it was revoked; None if there is none. It may have expired."""
        row = self._connection.execute(_BY_HASH, {"hash": digest}).first()
        return _key(row) if row else None

    def by_account(self, account: str) -> list[ApiKey]:
        """Return the keys with which an account signs and that were not revoked, oldest first; they may have
        expired."""
        query = sa.select(keys).where(keys.c.account == account, keys.c.revoked_at.is_(None)).order_by(keys.c.id)
        return [_key(row) for row in self._connection.execute(query)]

    def find_by_token(self, digest: str, kind: str, now: float) -> ApiKey | None:
        """Return the key for which a valid token was issued, unless the key was revoked; None if there is none. The key
        may have expired."""
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

    def outlasts_others_with(self, tenant: str, scope: str, key_id: str, now: float) -> bool:
        """Return True if the key has the scope for longer than every other valid key of the tenant; until the end of
        the transaction none of these keys can be revoked by another."""
        valid = sa.select(keys).where(keys.c.tenant == tenant, is_valid(now))
        valid = valid.order_by(keys.c.id).with_for_update()  # in the order in which last uses are written
        rows = [row for row in self._connection.execute(valid) if scope in row.scopes]
        ends = {row.id: math.inf if row.expires_at is None else row.expires_at for row in rows}
        end = ends.pop(key_id, -math.inf)
        return end > max(ends.values(), default=-math.inf)

    def revoke(self, tenant: str, key_id: str, now: float) -> bool:
        """Revoke a key; returns False if the tenant manages no such valid key."""
        where = sa.and_(_manages(tenant), keys.c.id == key_id, keys.c.revoked_at.is_(None))
        return bool(self._connection.execute(sa.update(keys).where(where).values(revoked_at=now)).rowcount)


class KeyUses:
    """The last uses of keys. Not part of Keys: every commit in which Keys was used makes all processes look their keys
    up again."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def note(self, uses: Mapping[str, float]) -> None:
        """Set when keys were last used (id -> Unix seconds); an older time, of a slower process, changes nothing."""
        # In one order, since two processes that lock the same rows in different ones would wait for each other.
        self._connection.execute(_NOTE, [{"key_id": key_id, "when": uses[key_id]} for key_id in sorted(uses)])

    def expiring(self, tenant: str, now: float, until: float, since: float) -> list[ApiKey]:
        """Return the valid keys of the tenant, of all for DEFAULT_TENANT, that expire by `until` and were used since
        `since` (Unix seconds), first those that expire first."""
        query = sa.select(keys).where(
            _manages(tenant), is_valid(now), keys.c.expires_at <= until, keys.c.last_used_at >= since
        )
        return [_key(row) for row in self._connection.execute(query.order_by(keys.c.expires_at))]


# Built once; the first three are run by requests.
_BY_HASH = sa.select(keys).where(keys.c.hash == sa.bindparam("hash"), keys.c.revoked_at.is_(None))
_BY_TOKEN = (
    sa.select(keys)
    .join(tokens)
    .where(tokens.c.hash == sa.bindparam("hash"), tokens.c.kind == sa.bindparam("kind"), keys.c.revoked_at.is_(None))
    .where(tokens.c.expires_at > sa.bindparam("now"))
)
_ANY = sa.select(keys.c.id).limit(1)
_NOTE = (
    sa.update(keys)
    .where(keys.c.id == sa.bindparam("key_id"))
    .where(sa.or_(keys.c.last_used_at.is_(None), keys.c.last_used_at < sa.bindparam("when")))
    .values(last_used_at=sa.bindparam("when"))
)


def is_valid(now: float) -> sa.ColumnElement[bool]:
    """Return the condition that a key is neither revoked nor has expired, at that time in Unix seconds."""
    return sa.and_(keys.c.revoked_at.is_(None), sa.or_(keys.c.expires_at.is_(None), keys.c.expires_at > now))


def _manages(tenant: str) -> sa.ColumnElement[bool]:
    return sa.true() if tenant == DEFAULT_TENANT else keys.c.tenant == tenant


def _key(row: Row[tuple[object, ...]]) -> ApiKey:
    values = dict(row._mapping)
    return ApiKey(**values | {"scopes": tuple(values["scopes"])})
