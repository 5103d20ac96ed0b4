"""`/v1/keys`: create, list and revoke API keys, whose text is shown once, and register public keys of accounts."""

from __future__ import annotations

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue

from api import reading
from api.context import caller, container, scope
from api.dialects.native.requests import common
from api.dialects.native.serializers import jobs_and_models
from api.reading import Fields
from shared import errors
from shared.services import accounts, keys

bp = Blueprint("native-keys", __name__)


@bp.post("/v1/keys")
@scope("keys")
def create() -> ResponseReturnValue:
    """Create a key; 201 with its text in `key`, which cannot be shown again. A registered public key has no text."""
    fields = Fields(reading.json_object(request, reading.SMALL))
    scopes = common.texts(fields, "scopes")
    tenant, name, stage = (fields.text(field) for field in ("tenant", "name", "stage"))
    if not (fields.has("public_key") or fields.has("account")):
        key, text = keys.create(container(), caller(), tenant=tenant, name=name, scopes=scopes, stage=stage)
        return jsonify(jobs_and_models.key(key) | {"key": text}), 201
    if stage:
        raise errors.BadOption("stage is for keys that have a text, not for public keys")
    account, public_key = fields.text("account"), fields.text("public_key")
    key = accounts.register(
        container(), caller(), account=account, public_key=public_key, tenant=tenant, name=name, scopes=scopes
    )
    return jsonify(jobs_and_models.key(key)), 201


@bp.get("/v1/keys")
@scope("keys")
def listing() -> ResponseReturnValue:
    """List the keys that the tenant manages, revoked or not, by their first characters; `default` manages all keys."""
    return jsonify(keys=[jobs_and_models.key(key) for key in keys.list_keys(container(), caller().tenant)])


@bp.delete("/v1/keys/<key_id>")
@scope("keys")
def revoke(key_id: str) -> ResponseReturnValue:
    """Revoke a key, which is refused from now on; 204."""
    keys.revoke(container(), caller().tenant, key_id)
    return "", 204
