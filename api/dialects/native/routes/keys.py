"""`/v1/keys`: create, list and revoke API keys, whose text is shown once, and register public keys of accounts."""

from __future__ import annotations

from flask import Response, request
from flask.typing import ResponseReturnValue

from api.context import caller, container, scope
from api.dialects.native.openapi.operations import Body, OperationsBlueprint, operation
from api.dialects.native.requests.common import parse, parse_json
from api.dialects.native.requests.jobs import read_time
from api.dialects.native.serializers import keys as serializers
from api.dialects.native.serializers.common import respond
from shared import errors
from shared.domain.keys import SCOPES
from shared.schemas.keys import CurrentKey, KeyList, KeyRequest, NewKey, RevokeQuery
from shared.services import accounts, keys

bp = OperationsBlueprint("native-keys", __name__)


@bp.post("/v1/keys")
@scope("keys")
@operation(
    "createKey",
    "Keys",
    {201: ("The key, with its text in `key`.", NewKey)},
    body=Body(json=KeyRequest, example={"name": "owner", "scopes": list(SCOPES)}),
)
def create() -> Response:
    """Create a key.

    Its text is in this answer and nowhere else. From the first key on, requests without a key are refused on loopback
    as well, so the first key needs the scope `keys`. A key gives no scope that it lacks itself. With `public_key` there
    is no text: the holder of the private key exchanges assertions signed with it for tokens. A key that `expires` is
    refused from then on, as are the tokens that were issued for it; the first key does not expire.
    """
    wanted = parse_json(KeyRequest)
    tenant, name, scopes = wanted.tenant, wanted.name, wanted.scopes
    expires_at = read_time("expires", str(wanted.expires))
    if not (wanted.public_key or wanted.account):
        key, text = keys.create(
            container(), caller(), tenant=tenant, name=name, scopes=scopes, stage=wanted.stage, expires_at=expires_at
        )
        return respond(serializers.new_key(key, text), 201)
    if wanted.stage:
        raise errors.BadOption("stage is for keys that have a text, not for public keys")
    account, public_key = wanted.account, wanted.public_key
    key = accounts.register(
        container(), caller(), account=account, public_key=public_key, tenant=tenant, name=name, scopes=scopes,
        expires_at=expires_at,
    )  # fmt: skip
    return respond(serializers.new_key(key), 201)


@bp.get("/v1/keys")
@scope("keys")
@operation("listKeys", "Keys", {200: ("The keys.", KeyList)})
def listing() -> Response:
    """List the keys.

    Those that the tenant manages, revoked and expired ones too, by their first characters; `default` manages all keys.
    """
    return respond(serializers.keys(keys.list_keys(container(), caller().tenant)))


@bp.get("/v1/keys/current")
@operation("getCurrentKey", "Keys", {200: ("What it may do.", CurrentKey)})
def current() -> Response:
    """Look at the key of this request.

    Its tenant, its scopes, its stage and when it expires; any key may ask for that.
    """
    return respond(serializers.current(caller()))


@bp.delete("/v1/keys/<key_id>")
@scope("keys")
@operation("revokeKey", "Keys", {204: ("It is revoked.", None)}, query=RevokeQuery)
def revoke(key_id: str) -> ResponseReturnValue:
    """Revoke a key.

    It is refused from now on. 409 for the last key of the tenant `default` with the scope `keys`, without which no
    request can make or revoke keys, and for the one that outlasts the others, unless `force` is given.
    """
    query = parse(RevokeQuery, request.args)
    keys.revoke(container(), caller().tenant, key_id, force=query.force)
    return "", 204
