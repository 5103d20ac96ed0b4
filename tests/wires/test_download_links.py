"""Download links: a browser fetches one file by each, without a key, until it ends; and nothing else by it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from api import download_links
from shared.container import Container
from tests import apps, stacks
from tests.clocks import Clock
from tests.wires.training_requests import complaint, keys

PICTURE = stacks.digits()[7][1]
NO_KEY = {"REMOTE_ADDR": "203.0.113.9"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(container: Container, clock: Clock) -> FlaskClient:
    return apps.over(replace(container, now=clock)).test_client()


def results(client: FlaskClient, headers: dict[str, str]) -> str:
    """Return the path of the results of a new job."""
    sent = client.post("/v1/jobs?model=digits", data=PICTURE, content_type="image/png", headers=headers)
    assert sent.status_code == 202, sent.text
    return f"/v1/jobs/{sent.json['_id']}/results"


def linked(client: FlaskClient, path: str, headers: dict[str, str], **options: str) -> str:
    answer = client.post(f"{path}/link", json=options, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json["url"])


def followed(client: FlaskClient, url: str) -> TestResponse:
    """Return the answer to a browser elsewhere, which has no key."""
    return client.get(url, environ_base=NO_KEY, buffered=True)


def changed(url: str, **fields: Any) -> str:
    """Return the address with other fields in its query; None leaves a field out."""
    parts = urlsplit(url)
    query = {**dict(parse_qsl(parts.query)), **fields}
    return f"{parts.path}?{urlencode({name: value for name, value in query.items() if value is not None})}"


def test_results_are_saved_by_a_link_without_a_key(client: FlaskClient) -> None:
    anna = keys(client, anna=["infer"])["anna"]
    path = results(client, anna)
    assert followed(client, path).status_code == 401
    answer = followed(client, linked(client, path, anna, format="csv"))
    assert answer.status_code == 200
    assert answer.text.startswith("position,name,status")
    assert followed(client, linked(client, path, anna)).mimetype == "application/x-ndjson"


def test_a_link_is_good_until_its_last_second(client: FlaskClient, clock: Clock) -> None:
    anna = keys(client, anna=["infer"])["anna"]
    url = linked(client, results(client, anna), anna)
    clock.now += download_links.SECONDS - 0.001
    assert followed(client, url).status_code == 200
    clock.now += 0.001
    assert "expired" in complaint(followed(client, url), 403, "forbidden")
    assert "expired" in complaint(client.get(url, headers=anna), 403, "forbidden")  # a key does not help it


def test_a_link_ends_with_the_key_that_it_was_made_with(client: FlaskClient, clock: Clock) -> None:
    anna = keys(client, anna=["infer", "keys"])["anna"]
    made = client.post("/v1/keys", json={"scopes": ["infer"], "expires": clock.now + 60}, headers=anna)
    assert made.status_code == 201, made.text
    short = {"Authorization": f"Bearer {made.json['key']}"}
    url = linked(client, results(client, short), short)
    clock.now += 59.999
    assert followed(client, url).status_code == 200
    clock.now += 0.001
    assert "expired" in complaint(followed(client, url), 403, "forbidden")


@pytest.mark.parametrize(
    "fields",
    [
        {"tenant": "bert"}, {"expires": 2_000_000_000}, {"format": "csv"}, {"format": None}, {"signature": "0" * 64},
        {"signature": None}, {"tenant": None},
    ],
)  # fmt: skip
def test_a_link_that_was_changed_is_refused(client: FlaskClient, fields: dict[str, Any]) -> None:
    anna = keys(client, anna=["infer"], bert=["infer"])["anna"]
    url = linked(client, results(client, anna), anna, format="ndjson")
    assert "was changed" in complaint(followed(client, changed(url, **fields)), 403, "forbidden")


def test_a_link_leads_to_its_own_file_only(client: FlaskClient) -> None:
    anna = keys(client, anna=["infer"])["anna"]
    first, second = results(client, anna), results(client, anna)
    query = urlsplit(linked(client, first, anna)).query
    complaint(followed(client, f"{second}?{query}"), 403, "forbidden")
    complaint(followed(client, f"{first.removesuffix('/results')}?{query}"), 401, "unauthorized")
    assert client.delete(f"{first.removesuffix('/results')}?{query}", environ_base=NO_KEY).status_code == 401


def test_no_link_is_made_to_what_another_tenant_has(client: FlaskClient) -> None:
    headers = keys(client, anna=["infer"], bert=["infer"])
    path = results(client, headers["anna"])
    complaint(client.post(f"{path}/link", json={}, headers=headers["bert"]), 404, "not_found")
    complaint(client.post(f"{path}/link", json={}, environ_base=NO_KEY), 401, "unauthorized")


def test_a_key_without_the_scope_gets_no_link_to_results(client: FlaskClient) -> None:
    headers = keys(client, anna=["infer"], bert=["models"])
    path = results(client, headers["anna"])
    complaint(client.post(f"{path}/link", json={}, headers=headers["bert"]), 403, "forbidden")


def test_a_link_has_the_path_below_which_a_proxy_serves_the_service(container: Container) -> None:
    client = apps.over(replace(container, settings=container.settings.changed(trusted_proxies=1))).test_client()
    owner = keys(apps.over(container).test_client(), anna=["infer"])["anna"]
    path = results(client, owner)
    below = client.post(f"{path}/link", json={}, headers={**owner, "X-Forwarded-Prefix": "/vision"}).json["url"]
    assert below.startswith(f"/vision{path}?")
    behind = {"X-Forwarded-Prefix": "/vision"}
    answer = client.get(below.removeprefix("/vision"), headers=behind, environ_base=NO_KEY, buffered=True)
    assert answer.status_code == 200


def test_a_wrong_format_is_refused_before_a_link_is_made(client: FlaskClient) -> None:
    anna = keys(client, anna=["infer"])["anna"]
    path = results(client, anna)
    complaint(client.post(f"{path}/link", json={"format": "pdf"}, headers=anna), 400, "bad_option")
    complaint(client.post(f"{path}/link", json={"tenant": "bert"}, headers=anna), 400, "bad_option")
