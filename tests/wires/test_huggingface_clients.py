"""The genuine clients of the Hugging Face wire, `huggingface_hub` and `@huggingface/inference`, against the service."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from werkzeug.serving import make_server

from api.application import create_app
from api.dialects.huggingface import common
from shared.container import Container
from shared.domain.keys import SCOPES, Caller
from shared.domain.models import ModelState, ModelVersion
from shared.services import keys, models, result_cache
from tests.stacks import SAMPLES, Stack

ALIAS = "clients-of/huggingface"
THREE = SAMPLES / "digit_3.png"
NO_PICTURE = Path(__file__)
LOGITS = [0.5, -3.25, 2.0, 9.5, -12.0, 4.75, 0.0, 1.5, 3.0, -0.5]

PROGRAM = """
import json, os, sys
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError
from huggingface_hub.inference._providers import PROVIDERS

for task in PROVIDERS["hf-inference"].values():
    task.base_url = os.environ["HF_ENDPOINT"] + "/hf-inference"

def answer(image, as_bytes=False, provider=None, **more):
    client = InferenceClient(provider=provider)
    try:
        data = open(image, "rb").read() if as_bytes else image
        return [[found.label, found.score] for found in client.image_classification(data, **more)]
    except HfHubHTTPError as error:
        return {"kind": type(error).__name__, "status": error.response.status_code, "text": str(error)}

print(json.dumps({name: answer(**call) for name, call in json.load(sys.stdin).items()}))
"""
"""A program for a process of its own, since the client reads the hub's address when it is imported."""

Answers = dict[str, Any]


def hub(url: str, folder: Path, calls: dict[str, dict[str, Any]], key: str = "any-key") -> Answers:
    """Return what each call of `huggingface_hub` gave: `[[label, score], …]`, or kind, status and text of the error."""
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    ours = {"HF_ENDPOINT": url, "HF_HOME": str(folder), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_TOKEN": key}
    program_input = {name: {"image": str(THREE)} | call for name, call in calls.items()}
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=mine | ours, input=json.dumps(program_input),
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout))


def node(url: str, npm: Path, *names: str, key: str = "any-key") -> Answers:
    """Return what each named call of the script gave: labels, or kind, text, status and body of the error."""
    command = ["node", str(npm / "huggingface.mjs"), str(THREE), str(NO_PICTURE), ALIAS, *names]
    environment = os.environ | {"SVC_URL": url, "SVC_KEY": key}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    return dict(json.loads(result.stdout.splitlines()[-1]))  # the client itself prints, too


@contextmanager
def serving(container: Container) -> Iterator[str]:
    """Serve the app on a port of its own, without a worker; yield its URL."""
    server = make_server("127.0.0.1", 0, create_app(container), threaded=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def url(stack: Stack) -> Iterator[str]:
    """The URL of the running stack, in which `digits` has an alias."""
    path = f"{stack.url}/v1/aliases/{ALIAS}"
    httpx.put(path, json={"model": "digits"}, timeout=30).raise_for_status()
    yield stack.url
    httpx.delete(path, timeout=30).raise_for_status()


def set_state(container: Container, state: ModelState) -> ModelVersion:
    version = models.get_version(container, "default", "digits")
    with container.database.write() as uow:
        uow.model_versions.save(replace(version, state=state))
    return version


def remember_the_three(container: Container) -> None:
    """Put the picture of a three into the result cache, so that it is answered without a worker."""
    version = models.get_version(container, "default", "digits")
    key = result_cache.key("default", version.id, "classify", True, THREE.read_bytes())
    result_cache.keep(container, {key: LOGITS})


# -- huggingface_hub


@pytest.fixture(scope="module")
def python(url: str, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """The outcomes of the calls that the shared stack can answer."""
    model = f"{url}/models/digits"
    chosen = {"top_k": 7, "function_to_apply": "none"}
    calls: dict[str, dict[str, Any]] = {
        "path": {"model": model},
        "bytes": {"model": model, "as_bytes": True},
        "path with parameters": {"model": model} | chosen,
        "bytes with parameters": {"model": model, "as_bytes": True} | chosen,
        "alias": {"model": f"{url}/models/{ALIAS}"},
        "id": {"model": "digits", "provider": "hf-inference"},
        "id of an alias": {"model": ALIAS, "provider": "hf-inference", "top_k": 5},
        "id, any provider": {"model": ALIAS},
        "no picture": {"model": model, "image": str(NO_PICTURE)},
        "bad parameter": {"model": model, "function_to_apply": "relu"},
        "unknown model": {"model": f"{url}/models/google/unknown"},
        "unknown id": {"model": "google/unknown", "provider": "hf-inference"},
    }
    return hub(url, tmp_path_factory.mktemp("hub"), calls)


@pytest.mark.parametrize("call", ["path", "bytes", "alias", "id", "id of an alias", "id, any provider"])
def test_the_python_client_gets_its_labels(python: Answers, call: str) -> None:
    assert python[call][0][0] == "3"
    assert len(python[call]) == 5
    assert dict(python[call]) == pytest.approx(dict(python["path"]))


@pytest.mark.parametrize("call", ["path with parameters", "bytes with parameters"])
def test_the_parameters_of_the_python_client_are_honoured(python: Answers, call: str) -> None:
    assert len(python[call]) == 7
    assert any(not 0 <= score <= 1 for _, score in python[call])


@pytest.mark.parametrize(
    ("call", "kind", "status", "text"),
    [
        ("no picture", "BadRequestError", 400, "cannot identify image file"),
        ("bad parameter", "BadRequestError", 400, "relu"),
        ("unknown model", "HfHubHTTPError", 404, "Model google/unknown does not exist"),
        ("unknown id", "HfHubHTTPError", 404, "google/unknown"),
    ],
)
def test_the_python_client_learns_what_is_wrong(python: Answers, call: str, kind: str, status: int, text: str) -> None:
    assert (python[call]["kind"], python[call]["status"]) == (kind, status)
    assert text in python[call]["text"]


def test_the_python_client_learns_that_a_model_is_loading(
    container: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.01)
    set_state(container, ModelState.CHECKING)
    with serving(container) as url:
        outcome = hub(url, tmp_path, {"call": {"model": f"{url}/models/digits"}})["call"]
    assert (outcome["status"], "currently loading" in outcome["text"]) == (503, True)


def test_the_python_client_learns_when_it_may_ask_again(container: Container, tmp_path: Path) -> None:
    remember_the_three(container)
    limited = replace(container, settings=container.settings.changed(huggingface_rate="1/minute"))
    with serving(limited) as url:
        call = {"model": f"{url}/models/digits"}
        answers = hub(url, tmp_path, {"first": call, "second": call})
    assert answers["first"][0][0] == "3"
    assert answers["second"]["status"] == 429
    assert "(0/1 requests remaining in current 60s window)" in answers["second"]["text"]


def test_the_python_client_needs_the_right_token(container: Container, tmp_path: Path) -> None:
    remember_the_three(container)
    _, key = keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
    with serving(container) as url:
        calls = {"by url": {"model": f"{url}/models/digits"}, "by id": {"model": "digits", "provider": "hf-inference"}}
        right, wrong, none = [hub(url, tmp_path, calls, key=sent) for sent in (key, "hf_wrong", "")]
    assert [answer[0][0] for answer in right.values()] == ["3", "3"]
    for answer in wrong.values():
        assert (answer["kind"], answer["status"]) == ("HfHubHTTPError", 401)
        assert "Invalid credentials in Authorization header" in answer["text"]
    assert [answer["status"] for answer in none.values()] == [401, 401]


# -- @huggingface/inference


@pytest.fixture(scope="module")
def javascript(url: str, npm: Path) -> Answers:
    """The outcomes of the calls that the shared stack can answer."""
    return node(url, npm)


@pytest.mark.node
@pytest.mark.parametrize(
    "call", ["typed", "untyped", "mistyped", "arrayBuffer", "inputs", "byAlias", "byId", "byIdOfAlias", "patient"]
)
def test_the_npm_client_gets_its_labels(javascript: Answers, call: str) -> None:
    assert isinstance(javascript[call], list), javascript[call]
    assert (javascript[call][0]["label"], len(javascript[call])) == ("3", 5)


@pytest.mark.node
@pytest.mark.parametrize(
    ("call", "kind", "status", "text"),
    [
        ("notAPicture", "ProviderApiError", 400, "cannot identify image file"),
        ("unknownModel", "ProviderApiError", 404, "Model google/unknown does not exist"),
        ("unknownId", "HubApiError", 404, "google/unknown"),
    ],
)
def test_the_npm_client_learns_what_is_wrong(javascript: Answers, call: str, kind: str, status: int, text: str) -> None:
    outcome = javascript[call]
    assert (outcome["kind"], outcome["status"]) == (kind, status)
    assert outcome["text"].endswith(outcome["body"]["error"])
    assert text in outcome["text"]
    assert outcome["requestId"]


@pytest.mark.node
def test_the_npm_client_comes_again_until_the_model_is_loaded(
    container: Container, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.01)
    remember_the_three(container)
    set_state(container, ModelState.CHECKING)
    requests: list[str] = []
    servable = models.get_ready_version

    def loaded_at_the_third_time(*args: Any, **more: Any) -> ModelVersion:
        requests.append("")
        if len(requests) == 3:
            set_state(container, ModelState.READY)
        return servable(*args, **more)

    monkeypatch.setattr(models, "get_ready_version", loaded_at_the_third_time)
    with serving(container) as url:
        answers = node(url, npm, "patient")
    assert answers["patient"][0]["label"] == "3"
    assert len(requests) == 3


@pytest.mark.node
def test_the_npm_client_can_decline_to_come_again(
    container: Container, npm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(common, "PATIENCE", 0.01)
    set_state(container, ModelState.CHECKING)
    with serving(container) as url:
        outcome = node(url, npm, "typed")["typed"]
    assert outcome["status"] == 503
    assert set(outcome["body"]) == {"error", "estimated_time"}
    assert outcome["text"].endswith("Model digits is currently loading")


@pytest.mark.node
def test_the_npm_client_does_not_send_a_picture_again_that_still_waits(container: Container, npm: Path) -> None:
    with serving(container) as url:
        outcome = node(url, npm, "patient")["patient"]
    with container.database.read() as uow:
        assert len(uow.jobs.page("default", limit=10)) == 1
    assert "/v1/jobs/" in outcome["text"]


@pytest.mark.node
def test_the_npm_client_needs_the_right_token(container: Container, npm: Path) -> None:
    remember_the_three(container)
    _, key = keys.create(container, Caller("default", SCOPES), scopes=SCOPES)
    with serving(container) as url:
        assert node(url, npm, "typed", key=key)["typed"][0]["label"] == "3"
        outcome = node(url, npm, "typed", key="hf_wrong")["typed"]
    assert (outcome["kind"], outcome["status"]) == ("ProviderApiError", 401)
    assert outcome["text"].endswith("Invalid credentials in Authorization header")
