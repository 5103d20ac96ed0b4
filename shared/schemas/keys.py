"""API keys and public keys of accounts."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from shared.domain.keys import SCOPES, STAGES
from shared.schemas.common import Answer, Moment, Request, Time, one_of

Scope = Annotated[str, one_of(SCOPES)]
Expiry = Annotated[
    str | None,
    Meta(
        description="RFC 3339, in UTC: it is refused from then on; null if it does not expire.",
        extra_json_schema={"format": "date-time"},
    ),
]


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
    expires: Annotated[
        str | float,
        Meta(description="RFC 3339, or Unix seconds: the key is refused from then on; by default it is valid until "
                         "it is revoked."),
    ] = ""  # fmt: skip


class RevokeQuery(Request, kw_only=True):
    """How a key is revoked."""

    force: Annotated[
        bool,
        Meta(
            description="Revokes as well the last key of the tenant `default` with the scope `keys`, or the one of "
            "those that outlives the others."
        ),
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
    expires: Expiry
    last_used: Annotated[
        str | None,
        Meta(
            description="RFC 3339, in UTC: the last request with it, or with a token issued for it, at most a minute "
            "late; null if it was never used, or only before the version that writes this down.",
            extra_json_schema={"format": "date-time"},
        ),
    ]


class NewKey(Key, kw_only=True, omit_defaults=True):
    """A key that was just created."""

    key: Annotated[str, Meta(description="The text of the key, shown only here; a registered public key has none.")] = (
        ""
    )


class CurrentKey(Answer, kw_only=True):
    """What the key of the request may do."""

    tenant: Annotated[str, Meta(description="The tenant that it belongs to.")]
    scopes: Annotated[list[Scope], Meta(description="All, if the service needs no key yet.")]
    stage: Annotated[str, one_of(STAGES)]
    expires: Expiry


class KeyList(Answer, kw_only=True):
    """The keys that the caller manages."""

    keys: list[Key]
