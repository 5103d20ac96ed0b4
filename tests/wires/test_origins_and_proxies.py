"""Web pages of other origins, and proxies in front of the service, where the settings name them and nowhere else."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from granian.http import HTTP1Settings

import api.__main__
from shared.container import Container
from shared.domain.keys import SCOPES, Caller
from shared.services import keys
from shared.settings import Settings
from tests import apps
from tests.conftest import container_in
from tests.wires.ways import WAYS, Way, picture

PAGE = "https://app.example"
EVERY_WAY = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


@pytest.fixture(scope="module")
def shared_container(tmp_path_factory: pytest.TempPathFactory, empty_file: Path) -> Iterator[Container]:
    """One container for all these tests, which waits for no worker and needs keys."""
    with container_in(tmp_path_factory.mktemp("origins"), empty_file) as container:
        keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
        settings = container.settings.changed(max_wait=0.001, img_live_rate="off", admin_key="secret")
        yield replace(container, settings=settings)


def with_settings(container: Container, **changed: Any) -> FlaskClient:
    return apps.over(replace(container, settings=container.settings.changed(**changed))).test_client()


def headers(way: Way, **more: str) -> dict[str, str]:
    return way.write(way, [("a.png", picture("PNG"))])[0] | {"Authorization": "Bearer secret"} | more


def body(way: Way) -> bytes:
    return way.write(way, [("a.png", picture("PNG"))])[1]


# pages of other origins


@EVERY_WAY
@pytest.mark.parametrize("named", [f"{PAGE}/, http://localhost:3000", "*", f"http://other.example {PAGE.upper()}"])
def test_a_page_that_the_setting_names_may_call(shared_container: Container, way: Way, named: str) -> None:
    client = with_settings(shared_container, cors_origins=named, native_rate="1000/minute")
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,content-type",
    }
    may = client.options(way.path, headers=asked)  # without a key
    assert may.status_code == 204
    assert may.headers["Access-Control-Allow-Origin"] == PAGE
    assert may.headers["Access-Control-Allow-Methods"] == "POST"
    assert may.headers["Access-Control-Allow-Headers"] == "authorization,content-type"
    answer = client.post(way.path, data=body(way), headers=headers(way, Origin=PAGE))
    assert answer.status_code == way.taken
    assert answer.headers["Access-Control-Allow-Origin"] == PAGE
    exposed = answer.headers["Access-Control-Expose-Headers"].split(", ")
    assert not {"Location", "RateLimit", "ETag", "Retry-After"} & {*dict(answer.headers)} - {*exposed}
    assert "Origin" in answer.vary
    assert "Access-Control-Allow-Credentials" not in answer.headers


@EVERY_WAY
def test_a_page_reads_errors_too(shared_container: Container, way: Way) -> None:
    client = with_settings(shared_container, cors_origins=PAGE, max_body=100)
    for answer, status in (
        (client.post(way.path, headers={"Origin": PAGE}), 401),
        (client.patch(way.path, headers={"Origin": PAGE, "Authorization": "Bearer secret"}), 405),
        (client.post(way.path, data=bytes(1000), headers=headers(way, Origin=PAGE)), 413),
        (client.get(f"{way.path}/no/such/path", headers={"Origin": PAGE}), 404),
    ):
        assert answer.status_code == status
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE


@EVERY_WAY
@pytest.mark.parametrize("named", ["", "https://other.example", "http://app.example", "https://app.example:8443"])
def test_any_other_page_may_not(shared_container: Container, way: Way, named: str) -> None:
    client = with_settings(shared_container, cors_origins=named)
    asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
    for answer in (
        client.options(way.path, headers=asked),
        client.post(way.path, data=body(way), headers=headers(way, Origin=PAGE)),
    ):
        assert not [name for name in dict(answer.headers) if name.startswith("Access-Control-")]


def test_a_page_that_may_call_needs_a_key_where_a_program_of_this_machine_needs_none(container: Container) -> None:
    client = with_settings(container, cors_origins=PAGE)
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs", headers={"Origin": PAGE}).status_code == 401


# proxies

BEHIND = {
    "X-Forwarded-For": "203.0.113.9",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": "vision.example.com",
    "X-Forwarded-Prefix": "/inferq/",
}


@pytest.fixture
def behind(shared_container: Container) -> FlaskClient:
    """Requests that have come through a trusted proxy, which serves the API below a path."""
    client = with_settings(shared_container, trusted_proxies=1)
    client.environ_base |= {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in BEHIND.items()}
    client.environ_base["HTTP_AUTHORIZATION"] = "Bearer secret"
    return client


def test_the_links_of_a_job_lead_through_the_proxy(behind: FlaskClient) -> None:
    answer = behind.post("/v1/jobs", data=picture("PNG"))
    path = f"/inferq/v1/jobs/{answer.json['_id']}"
    assert answer.headers["Location"] == path
    assert answer.json["links"] == {"self": path} | {
        name: f"{path}/{name}" for name in ("pictures", "results", "events")
    }
    assert behind.get("/v1/jobs").json["jobs"][0]["links"]["self"].startswith("/inferq/")
    with behind.get(path.removeprefix("/inferq") + "/events") as events:
        assert f'"self":"{path}"' in next(events.iter_encoded()).decode()


@pytest.mark.parametrize("path", ["/jobs", "/api/v2/image/classification/jobs", "/inference_sync"])
def test_a_job_of_the_sap_wire_is_located_through_the_proxy(behind: FlaskClient, path: str) -> None:
    answer = behind.post(path, data={"files": (io.BytesIO(picture("PNG")), "a.png")})
    assert answer.headers["Location"].startswith(f"/inferq{path}")


def test_the_links_to_datasets_and_their_examples_lead_through_the_proxy(behind: FlaskClient) -> None:
    made = behind.post("/v1/datasets", json={"name": "ducks", "labels": ["duck"]})
    assert made.headers["Location"] == made.json["links"]["self"] == f"/inferq/v1/datasets/{made.json['id']}"
    form = {"label": "duck", "file": (io.BytesIO(picture("PNG")), "a.png")}
    example = behind.post(f"/v1/datasets/{made.json['id']}/examples", data=form)
    assert example.headers["Location"] == example.json["links"]["self"]
    assert example.json["links"]["picture"].startswith("/inferq/v1/datasets/")
    einstein = behind.get(f"/v2/vision/datasets/{made.json['id']}/examples").json["data"]
    assert einstein[0]["location"].startswith("https://vision.example.com/inferq/v2/vision/datasets/")
    assert behind.get(einstein[0]["location"].removeprefix("https://vision.example.com/inferq")).status_code == 200


def test_the_pages_of_a_list_lead_through_the_proxy(behind: FlaskClient) -> None:
    for _ in range(2):
        behind.post("/v1/images/upload", data={"name": "n", "image": (io.BytesIO(picture("PNG")), "a.png")})
    following = behind.get("/v1/images?take=1").json["links"]["next"]
    assert following.startswith("https://vision.example.com/inferq/v1/images?")


def test_a_redirect_leads_through_the_proxy(behind: FlaskClient) -> None:
    assert behind.get("/ui").headers["Location"] == "/inferq/"


@pytest.mark.parametrize("path", ["/", "/docs", "/ui/datasets", "/ui/models", "/ui/trainings"])
def test_a_page_loads_its_parts_and_calls_through_the_proxy(behind: FlaskClient, path: str) -> None:
    page = behind.get(path).text
    assert 'data-root="/inferq"' in page
    addresses = re.findall(r'(?:href|src)="([^"#]*)"', page)
    assert addresses
    assert all(address.startswith("/inferq/") for address in addresses)
    for name in re.findall(r'src="/inferq/static/(\w+\.js)"', page):
        with behind.get(f"/static/{name}") as script:
            assert not re.search(r"""["'`]/(v1|ui|openapi)""", script.get_data(as_text=True))


def test_the_document_names_the_path_of_the_proxy(behind: FlaskClient, shared_container: Container) -> None:
    assert behind.get("/openapi.json").json["servers"] == [{"url": "/inferq"}]
    assert with_settings(shared_container).get("/openapi.json").json["servers"] == [{"url": "/"}]


def test_an_error_names_the_job_by_its_address_behind_the_proxy(behind: FlaskClient) -> None:
    assert "/inferq/v1/jobs/" in behind.post("/models/digits", data=picture("PNG")).json["error"]


def test_a_proxy_that_is_not_trusted_is_not_believed(shared_container: Container) -> None:
    client = with_settings(shared_container)
    answer = client.post("/v1/jobs", data=picture("PNG"), headers=BEHIND | {"Authorization": "Bearer secret"})
    assert answer.headers["Location"].startswith("/v1/jobs/")
    assert answer.json["links"]["self"].startswith("/v1/jobs/")
    assert 'data-root=""' in client.get("/docs", headers=BEHIND).text


def test_of_several_proxies_only_the_trusted_ones_are_believed(shared_container: Container) -> None:
    client = with_settings(shared_container, trusted_proxies=1)
    sent = {"X-Forwarded-Prefix": "/evil, /inferq", "Authorization": "Bearer secret"}
    assert client.post("/v1/jobs", data=picture("PNG"), headers=sent).headers["Location"].startswith("/inferq/v1/")


@pytest.mark.parametrize("sent", [{}, {"X-Forwarded-For": "127.0.0.1"}, {"X-Forwarded-Prefix": "/inferq"}], ids=str)
def test_where_a_proxy_is_trusted_nobody_counts_as_this_machine(container: Container, sent: dict[str, str]) -> None:
    client = with_settings(container, trusted_proxies=1)
    assert client.get("/v1/jobs", headers=sent).status_code == 401
    opened = with_settings(container, trusted_proxies=1, admin_key="secret")
    assert opened.get("/v1/jobs", headers=sent | {"Authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(
    "header",
    ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Port", "X-Forwarded-Ssl", "x-forwarded-whatever", "X-Real-IP",
     "CF-Connecting-IP", "True-Client-IP"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["", "127.0.0.1"], ids=["empty", "this machine"])
def test_a_caller_behind_any_proxy_is_not_on_this_machine(container: Container, header: str, value: str) -> None:
    client = with_settings(container)
    assert client.get("/v1/jobs").status_code == 200
    assert client.get("/v1/jobs", headers={header: value}).status_code == 401


# load balancers


def test_a_connection_is_kept_for_as_long_as_the_setting_says(monkeypatch: pytest.MonkeyPatch) -> None:
    started: dict[str, Any] = {}

    class Server:
        def __init__(self, *_: Any, **options: Any) -> None:
            started.update(options)

        def serve(self) -> None: ...

    monkeypatch.setattr(api.__main__, "_Server", Server)
    api.__main__.serve(Settings(keep_alive=75.5))
    assert started["http1_settings"] == HTTP1Settings(header_read_timeout=75_500)
