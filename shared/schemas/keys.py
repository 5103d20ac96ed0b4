"""API keys and public keys of accounts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from shared.domain.keys import SCOPES, STAGES
from shared.schemas.common import Answer, Moment, Request, Time, one_of

Scope = Annotated[str, one_of(SCOPES)]


class KeyRequest(Request, kw_only=True):
    """A key to create, or a public key to register."""

    name: Annotated[str, Meta(description="The purpose of the key.")] = ""
    tenant: Annotated[str, Meta(description="By default the caller's own tenant.")] = ""
    scopes: Annotated[
        list[Scope],
        Meta(description="What the key may do, of what yours may; by default `infer` and `models`, and of the "
                         "first key everything."),
    ] = field(default_factory=list)  # fmt: skip
    stage: Annotated[str, one_of(STAGES, "What the text of the key begins with, and which images it sees.")] = ""
    public_key: Annotated[
        str, Meta(description="Registers the RSA public key, or certificate, of `account` in PEM.")
    ] = ""
    account: Annotated[
        str,
        Meta(description="The `sub` of the assertions that are signed with its private key.", extra_json_schema={
            "format": "email"}),
    ] = ""  # fmt: skip


class RevokeQuery(Request, kw_only=True):
    """How a key is revoked."""

    force: Annotated[
        bool, Meta(description="Revokes the last key of the tenant `default` with the scope `keys` as well.")
    ] = False


class Key(Answer, kw_only=True):
    """A key as it is shown after its creation, without its text."""

    id: str
    name: str
    tenant: str
    prefix: Annotated[str, Meta(description="The first characters, to recognise it by.")]
    scopes: list[Scope]
    stage: Annotated[str, one_of(STAGES, "An upload with a key of one stage is invisible to keys of the other.")]
    account: Annotated[
        str, Meta(description="The account that signs assertions with the private key; empty for ordinary keys.")
    ]
    created_at: Time
    revoked_at: Moment


class NewKey(Key, kw_only=True, omit_defaults=True):
    """A key that was just created."""

    key: Annotated[str, Meta(description="The text of the key, shown only here; a registered public key has none.")] = (
        ""
    )


class KeyList(Answer, kw_only=True):
    """The keys that the caller manages."""

    keys: list[Key]
