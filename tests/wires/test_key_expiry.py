"""A key that has expired is refused on every wire, in the words of the wire, with the time and what to do."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

from shared.container import Container
from shared.domain.keys import SCOPES, Caller
from shared.services import keys
from tests import apps

OWNER = Caller("default", SCOPES)
WHEN = r"The API key expired at 20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00\. Send another key: .*`inferq keys create`"
DAY = 86_400.0


@pytest.fixture
def owner(container: Container) -> dict[str, str]:
    return {"Authorization": f"Bearer {keys.create(container, OWNER, name='owner')[1]}"}


def after(container: Container, seconds: float) -> FlaskClient:
    """Return requests to the service in so many seconds."""
    return apps.over(replace(container, now=lambda: time.time() + seconds)).test_client()


@pytest.mark.usefixtures("owner")
@pytest.mark.parametrize(
    ("method", "path", "header", "field", "words"),
    [
        ("GET", "/v1/jobs", "Authorization", "detail", WHEN),
        ("POST", "/inference_sync", "APIKey", "fault.faultstring", f"Key Expired: {WHEN}"),
        ("POST", "/ml/imageclassification/classification", "APIKey", "fault.faultstring", f"Key Expired: {WHEN}"),
        ("POST", "/api/v2/image/classification", "Authorization", "error.message", WHEN),
        ("POST", "/oauth/token", "Basic", "error_description", f"Bad credentials: {WHEN}"),
        ("POST", "/v2/vision/predict", "Authorization", "message", f"Invalid access token: {WHEN}"),
        ("GET", "/v1/apiusage", "Authorization", "message", f"Invalid access token: {WHEN}"),
        ("POST", "/models/digits", "Authorization", "error", f"Invalid credentials in Authorization header: {WHEN}"),
        ("GET", "/v1/images", "x-api-key", "message", f"API key is not valid: {WHEN}"),
    ],
)
def test_each_wire_says_in_its_words_that_a_key_has_expired(
    container: Container, method: str, path: str, header: str, field: str, words: str
) -> None:
    _, secret = keys.create(container, OWNER, scopes=SCOPES, expires_at=time.time() + 60)
    sent: dict[str, Any] = {"headers": {header: f"Bearer {secret}" if header == "Authorization" else secret}}
    if header == "Basic":
        sent = {"data": {"grant_type": "client_credentials", "client_secret": secret}}
    assert after(container, 30).open(path, method=method, **sent).status_code != 401
    answer = after(container, 61).open(path, method=method, **sent)
    assert answer.status_code == 401, answer.text
    told = answer.get_json()
    for name in field.split("."):
        told = told[name]
    assert re.match(words, told), told


def test_programs_know_an_expired_key_by_its_code(container: Container, owner: dict[str, str]) -> None:
    _, secret = keys.create(container, OWNER, expires_at=time.time() + 60)
    late = after(container, 61)
    assert late.get("/v1/jobs", headers={"x-api-key": secret}).json["code"] == "key_expired"
    fault = late.post("/jobs", headers={"APIKey": secret}).json["fault"]
    assert fault["detail"] == {"errorcode": "keymanagement.service.consumer_key_expired"}
    assert late.get("/v1/jobs", headers=owner).status_code == 200


@pytest.mark.parametrize("other", ["wrong", "VALID"])
def test_of_several_keys_a_valid_one_wins_and_an_expired_one_is_told(
    container: Container, owner: dict[str, str], other: str
) -> None:
    _, secret = keys.create(container, OWNER, expires_at=time.time() + 60)
    second = owner["Authorization"].split()[1] if other == "VALID" else other
    sent = {"Authorization": f"Bearer {secret}", "x-api-key": second}
    answer = after(container, 61).get("/v1/jobs", headers=sent)
    assert (answer.status_code, answer.json.get("code")) == ((200, None) if other == "VALID" else (401, "key_expired"))


# -- what is made with a key


def test_a_token_that_is_the_key_itself_is_promised_for_no_longer(container: Container, owner: dict[str, str]) -> None:
    _, secret = keys.create(container, OWNER, expires_at=time.time() + 60)
    form = {"grant_type": "client_credentials", "client_secret": secret}
    assert 50 < after(container, 0).post("/oauth/token", data=form).json["expires_in"] <= 60
    form["client_secret"] = owner["Authorization"].split()[1]
    assert after(container, 0).post("/oauth/token", data=form).json["expires_in"] == 43_199


# -- the native calls


def test_a_key_is_made_with_its_expiry_and_listed_with_its_last_use(
    container: Container, client: FlaskClient, owner: dict[str, str]
) -> None:
    ends = (datetime.now(UTC) + timedelta(days=30)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    made = client.post("/v1/keys", json={"name": "app", "expires": ends, "scopes": ["infer"]}, headers=owner).json
    assert (made["expires"], made["last_used"]) == (ends, None)
    used = {"x-api-key": made["key"]}
    assert client.get("/v1/keys/current", headers=used).json["expires"] == ends
    keys.write_uses(container)
    listed = {key["name"]: key for key in client.get("/v1/keys", headers=owner).json["keys"]}
    assert (listed["owner"]["expires"], listed["app"]["expires"]) == (None, ends)
    for name in ("owner", "app"):
        assert abs(datetime.fromisoformat(listed[name]["last_used"]).timestamp() - time.time()) < 60


def test_an_expiry_may_be_unix_seconds_as_other_times_may(client: FlaskClient, owner: dict[str, str]) -> None:
    for ends in (time.time() + DAY, f"{time.time() + DAY:.0f}"):
        made = client.post("/v1/keys", json={"expires": ends}, headers=owner)
        assert made.status_code == 201
        assert abs(datetime.fromisoformat(made.json["expires"]).timestamp() - float(ends)) < 0.01


@pytest.mark.parametrize("wrong", ["2020-01-01T00:00:00Z", "soon", "1e400", 0, -5, "9999-12-31T23:59:59Z", 1e18])
def test_an_expiry_that_is_no_time_ahead_is_refused_by_name(
    client: FlaskClient, owner: dict[str, str], wrong: str | float
) -> None:
    answer = client.post("/v1/keys", json={"expires": wrong}, headers=owner)
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")
    assert answer.json["detail"].startswith("expires must be a time")
    assert len(client.get("/v1/keys", headers=owner).json["keys"]) == 1


def test_an_expired_key_is_listed_and_not_counted(container: Container, owner: dict[str, str]) -> None:
    keys.create(container, OWNER, tenant="acme", expires_at=time.time() + 60)

    def seen(seconds: float) -> tuple[int, int]:
        client = after(container, seconds)
        usage = client.get("/v1/usage", headers=owner).json["tenants"]
        counted = {tenant["tenant"]: tenant["keys"] for tenant in usage}
        return len(client.get("/v1/keys", headers=owner).json["keys"]), counted.get("acme", 0)

    assert (seen(0), seen(61)) == ((2, 1), (2, 0))
