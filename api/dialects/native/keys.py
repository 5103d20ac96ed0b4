"""`/v1/keys`: make, list and revoke API keys, whose text is shown once, and register public keys of accounts."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, scope, tools
from api.dialects.native import asking, views
from api.reading import Fields
from shared import accounts, errors, tenants

bp = Blueprint("native-keys", __name__)


@bp.post("/v1/keys")
@scope("keys")
def create() -> ResponseReturnValue:
    """201 with the key's text in `key`, which cannot be shown again; a public key that is registered has none."""
    fields = Fields(reading.json_object(request, reading.SMALL))
    scopes = asking.texts(fields, "scopes")
    tenant, name, stage = (fields.text(field) for field in ("tenant", "name", "stage"))
    if not (fields.has("public_key") or fields.has("account")):
        key, text = tenants.create(tools(), caller(), tenant=tenant, name=name, scopes=scopes, stage=stage)
        return jsonify(views.key(key) | {"key": text}), 201
    if stage:
        raise errors.BadOption("stage is for keys that have a text, not for public keys")
    account, public_key = fields.text("account"), fields.text("public_key")
    key = accounts.register(
        tools(), caller(), account=account, public_key=public_key, tenant=tenant, name=name, scopes=scopes
    )
    return jsonify(views.key(key)), 201


@bp.get("/v1/keys")
@scope("keys")
def listing() -> ResponseReturnValue:
    """The keys the tenant manages, revoked ones too, by their first characters; `default` manages everybody's."""
    with tools().records.read() as r:
        return jsonify(keys=[views.key(key) for key in r.keys.all(caller().tenant)])


@bp.delete("/v1/keys/<key_id>")
@scope("keys")
def revoke(key_id: str) -> ResponseReturnValue:
    """From now on the key opens nothing; 204."""
    tenants.revoke(tools(), caller().tenant, key_id)
    return "", 204
