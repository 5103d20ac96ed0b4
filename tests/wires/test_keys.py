"""Keys of a stage, and public keys that stand for accounts; what every key has in common is in test_native.py."""

from __future__ import annotations

import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from inferq.commands.keys import EXCHANGE

ACCOUNT = "anna@example.org"


@pytest.fixture(scope="module")
def private() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def public(private: rsa.RSAPrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


@pytest.fixture
def owner(client: FlaskClient) -> dict[str, str]:
    """Create the first key; return its headers."""
    answer = client.post("/v1/keys", json={"name": "owner"})
    assert answer.status_code == 201, answer.text
    return {"Authorization": f"Bearer {answer.json['key']}"}


def refused(answer: TestResponse, status: int, code: str) -> str:
    assert (answer.status_code, (answer.json or {}).get("code")) == (status, code), answer.text
    return str(answer.json["detail"])


@pytest.mark.parametrize("stage", ["live", "test"])
def test_a_key_of_a_stage_begins_with_its_name(client: FlaskClient, owner: dict[str, str], stage: str) -> None:
    answer = client.post("/v1/keys", json={"stage": stage, "scopes": ["keys"]}, headers=owner)
    assert answer.status_code == 201
    assert (answer.json["stage"], answer.json["account"]) == (stage, "")
    assert answer.json["key"].startswith(f"{stage}_")
    listed = client.get("/v1/keys", headers={"Authorization": f"Bearer {answer.json['key']}"}).json["keys"]
    assert [key["stage"] for key in listed] == ["live", stage]


def test_an_ordinary_key_is_of_the_stage_live(client: FlaskClient, owner: dict[str, str]) -> None:
    key = client.post("/v1/keys", json={}, headers=owner).json
    assert (key["stage"], key["key"][:3]) == ("live", "iq_")


def test_any_key_says_what_it_may_do(client: FlaskClient, owner: dict[str, str]) -> None:
    wanted = {"tenant": "acme", "scopes": ["models"], "stage": "test"}
    key = client.post("/v1/keys", json=wanted, headers=owner).json["key"]
    assert client.get("/v1/keys/current", headers={"x-api-key": key}).json == wanted | {"expires": None}
    refused(client.get("/v1/keys/current", headers={"x-api-key": "test_wrong"}), 401, "unauthorized")


def test_where_no_key_is_needed_yet_everything_may_be_done(client: FlaskClient) -> None:
    everything = {"tenant": "default", "scopes": ["infer", "models", "keys"], "stage": "live", "expires": None}
    assert client.get("/v1/keys/current").json == everything


def test_an_account_has_a_key_without_a_text(client: FlaskClient, owner: dict[str, str], public: str) -> None:
    request = {"account": ACCOUNT, "public_key": public, "tenant": "acme", "name": "batch", "scopes": ["infer"]}
    answer = client.post("/v1/keys", json=request, headers=owner)
    assert answer.status_code == 201, answer.text
    assert "key" not in answer.get_json()
    for field in ("account", "tenant", "name", "scopes"):
        assert answer.json[field] == request[field]
    assert answer.json in client.get("/v1/keys", headers=owner).json["keys"]
    assert client.delete(f"/v1/keys/{answer.json['id']}", headers=owner).status_code == 204


def test_the_assertion_that_the_command_describes_opens_what_its_key_opens(
    client: FlaskClient, owner: dict[str, str], private: rsa.RSAPrivateKey, public: str
) -> None:
    request = {"account": ACCOUNT, "public_key": public, "tenant": "acme", "scopes": ["keys"]}
    client.post("/v1/keys", json=request, headers=owner)
    claims = {"sub": ACCOUNT, "aud": f"http://localhost{EXCHANGE}", "exp": time.time() + 60}
    assertion = jwt.encode(claims, private, "RS256")
    sent = {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}
    token = client.post(EXCHANGE, data=sent)
    assert token.status_code == 200, token.text
    bearer = {"Authorization": f"Bearer {token.json['access_token']}"}
    assert [key["account"] for key in client.get("/v1/keys", headers=bearer).json["keys"]] == [ACCOUNT]
    refused(client.put("/v1/aliases/a/b", json={"model": "digits"}, headers=bearer), 403, "forbidden")


def test_a_private_key_is_not_taken(client: FlaskClient, owner: dict[str, str], private: rsa.RSAPrivateKey) -> None:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    answer = client.post("/v1/keys", json={"account": ACCOUNT, "public_key": pem}, headers=owner)
    assert "private key" in refused(answer, 400, "bad_option")
    assert pem.splitlines()[1] not in answer.text
    assert [key["name"] for key in client.get("/v1/keys", headers=owner).json["keys"]] == ["owner"]


@pytest.mark.parametrize(
    "fields",
    [
        {"stage": "rehearsal"},
        {"stage": "test", "account": ACCOUNT, "public_key": "PEM"},
        {"account": ACCOUNT},
        {"public_key": "PEM"},
        {"account": ACCOUNT, "public_key": "nonsense"},
        {"account": ACCOUNT, "public_key": ["PEM"]},
    ],
)
def test_a_key_that_could_not_be_used_is_refused(
    client: FlaskClient, owner: dict[str, str], public: str, fields: dict[str, Any]
) -> None:
    sent = {name: public if value == "PEM" else value for name, value in fields.items()}
    refused(client.post("/v1/keys", json=sent, headers=owner), 400, "bad_option")
    assert [key["name"] for key in client.get("/v1/keys", headers=owner).json["keys"]] == ["owner"]


def test_the_same_public_key_is_registered_once(client: FlaskClient, owner: dict[str, str], public: str) -> None:
    request = {"account": ACCOUNT, "public_key": public}
    assert client.post("/v1/keys", json=request, headers=owner).status_code == 201
    refused(client.post("/v1/keys", json=request, headers=owner), 409, "conflict")


def test_an_account_does_not_close_the_open_door(client: FlaskClient, public: str) -> None:
    refused(client.post("/v1/keys", json={"account": ACCOUNT, "public_key": public}), 400, "bad_option")
    assert client.get("/v1/keys").json["keys"] == []


def test_a_key_as_it_is_written_has_the_fields_that_are_described(client: FlaskClient) -> None:
    described = client.get("/openapi.json").json["components"]["schemas"]["NewKey"]["properties"]
    assert set(client.post("/v1/keys", json={}).get_json()) == set(described)
