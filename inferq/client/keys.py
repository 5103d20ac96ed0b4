"""API keys, and public keys of accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inferq.client import http
from inferq.client.blocking import Blocking, blocking
from inferq.client.connection import Connection, read
from inferq.errors import InferqError
from shared.schemas.keys import CurrentKey, Key, KeyList, NewKey


class AsyncKeys:
    """The keys that the key's tenant manages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def create(
        self,
        name: str = "",
        *,
        tenant: str = "",
        scopes: Sequence[str] = (),
        stage: str = "",
        expires: str | float = "",
    ) -> NewKey:
        """Create an API key for the stage `live` or `test`; only this answer contains the key's text.

        From `expires` on, a time in RFC 3339 or in Unix seconds, it is refused.
        """
        fields = {"name": name, "tenant": tenant, "scopes": [*scopes], "stage": stage, "expires": expires}
        return await self._create(fields)

    async def register(
        self,
        account: str,
        public_key: str,
        *,
        name: str = "",
        tenant: str = "",
        scopes: Sequence[str] = (),
        expires: str | float = "",
    ) -> NewKey:
        """Register the public key of an account, or its certificate, in PEM; assertions are signed with its private
        key.

        From `expires` on, a time in RFC 3339 or in Unix seconds, it and its tokens are refused. Raises InferqError
        without sending anything if the text is not a public key.
        """
        known = {"account": account, "public_key": _public(public_key)}
        return await self._create(known | {"name": name, "tenant": tenant, "scopes": [*scopes], "expires": expires})

    async def list(self) -> list[Key]:
        """Return the keys: tenant, name, scopes, creation, expiry and last use, never their text."""
        return read(KeyList, await self._connection.get("/v1/keys")).keys

    async def current(self) -> CurrentKey:
        """Return the tenant, the scopes, the stage and the expiry of the client's own key."""
        return read(CurrentKey, await self._connection.get("/v1/keys/current"))

    async def revoke(self, key_id: str, *, force: bool = False) -> None:
        """Revoke a key; `force` also the last key of the tenant `default` with the scope `keys`, or the one of those
        that outlives the others."""
        forced = "?force=true" if force else ""
        await self._connection.request("DELETE", f"/v1/keys/{http.word(key_id)}{forced}")

    async def _create(self, fields: Mapping[str, Any]) -> NewKey:
        # Not by its truth: a time of 0 would be left out, and make a key that lasts, where the server refuses it.
        wanted = {name: value for name, value in fields.items() if value not in ("", [])}
        return read(NewKey, await self._connection.request("POST", "/v1/keys", json=wanted))


class Keys(Blocking[AsyncKeys]):
    """The keys that the key's tenant manages."""

    create = blocking(AsyncKeys.create)
    register = blocking(AsyncKeys.register)
    list = blocking(AsyncKeys.list)
    current = blocking(AsyncKeys.current)
    revoke = blocking(AsyncKeys.revoke)


def _public(pem: str) -> str:
    """Return the text if it is a single public key or certificate in PEM; raises InferqError otherwise."""
    kind = "(?:RSA )?PUBLIC KEY|CERTIFICATE"
    if re.fullmatch(rf"-----BEGIN ({kind})-----[\w+/=\s]+-----END \1-----", pem.strip(), re.ASCII):
        return pem
    if "PRIVATE" in pem.upper():  # a private key must not leave this machine
        raise InferqError("This is a private key, keep it; for its public one: openssl pkey -in FILE -pubout")
    raise InferqError("This is no public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
