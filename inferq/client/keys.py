"""API keys, and public keys of accounts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from inferq.client import http
from inferq.client.connection import Connection, read
from inferq.errors import InferqError
from shared.schemas.keys import Key, KeyList, NewKey


class Keys:
    """The keys that the key's tenant manages."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def create(self, name: str = "", *, tenant: str = "", scopes: Sequence[str] = (), stage: str = "") -> NewKey:
        """Create an API key for the stage `live` or `test`; only this answer contains the key's text."""
        return self._create({"name": name, "tenant": tenant, "scopes": [*scopes], "stage": stage})

    def register(
        self, account: str, public_key: str, *, name: str = "", tenant: str = "", scopes: Sequence[str] = ()
    ) -> NewKey:
        """Register the public key of an account, or its certificate, in PEM; assertions are signed with its private
        key.

        Raises InferqError without sending anything if the text is not a public key.
        """
        known = {"account": account, "public_key": _public(public_key)}
        return self._create(known | {"name": name, "tenant": tenant, "scopes": [*scopes]})

    def list(self) -> list[Key]:
        """Return the keys: tenant, name, creation and scopes, never their text."""
        return read(KeyList, self._connection.get("/v1/keys")).keys

    def revoke(self, key_id: str, *, force: bool = False) -> None:
        """Revoke a key; `force` also the last key of the tenant `default` with the scope `keys`."""
        forced = "?force=true" if force else ""
        self._connection.request("DELETE", f"/v1/keys/{http.word(key_id)}{forced}")

    def _create(self, fields: Mapping[str, Any]) -> NewKey:
        wanted = {name: value for name, value in fields.items() if value}
        return read(NewKey, self._connection.request("POST", "/v1/keys", json=wanted))


def _public(pem: str) -> str:
    """Return the text if it is a single public key or certificate in PEM; raises InferqError otherwise."""
    kind = "(?:RSA )?PUBLIC KEY|CERTIFICATE"
    if re.fullmatch(rf"-----BEGIN ({kind})-----[\w+/=\s]+-----END \1-----", pem.strip(), re.ASCII):
        return pem
    if "PRIVATE" in pem.upper():  # a private key must not leave this machine
        raise InferqError("This is a private key, keep it; for its public one: openssl pkey -in FILE -pubout")
    raise InferqError("This is no public key in PEM, which begins with -----BEGIN PUBLIC KEY-----")
