"""The genuine client of the Einstein Vision wire, EinsteinVision from PyPI, against the real service."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests import digit_images, stacks
from tests.stacks import SAMPLES, Stack

EMAIL = "anna@example.test"
GENERAL = "GeneralImageClassifier"
THREE = next(SAMPLES.glob("digit_3.png"))

SCRIPT = """
import json, sys
import EinsteinVision.EinsteinVision as library

asked = json.load(sys.stdin)
hosted, ours = "https://api.einstein.ai/", asked["url"] + "/"
moved = lambda value: value.replace(hosted, ours) if isinstance(value, str) else value
for name in [name for name in dir(library) if name.startswith("API_")]:
    setattr(library, name, moved(getattr(library, name)))
for function in vars(library.EinsteinVisionService).values():  # they copied the addresses when they were defined
    if getattr(function, "__defaults__", None):
        function.__defaults__ = tuple(map(moved, function.__defaults__))

class Text(str):  # the library is from when PyJWT gave bytes
    def decode(self, *_):
        return str(self)

encode = library.jwt.encode
library.jwt.encode = lambda *given, **named: Text(encode(*given, **named))

service = library.EinsteinVisionService(**asked["service"])
answers = []
for name, given in asked["calls"]:
    bodies = [answer["body"] for answer in answers]
    answer = getattr(service, name)(*(text.format(*bodies) for text in given))
    answers.append({"status": answer.status_code, "body": answer.json(), "token": service.token})
print()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that needs a key, and may fetch from private addresses."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    with stacks.running(data, "--workers", "1", trainer=True, INFERQ_FETCH_PRIVATE="1") as running:
        yield running


@pytest.fixture(scope="module")
def pem(guarded: Stack) -> str:
    """Anna's private key; the public one is registered."""
    owner = httpx.post(f"{guarded.url}/v1/keys", json={"name": "owner"}).raise_for_status().json()["key"]
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    about = {"account": EMAIL, "public_key": public, "tenant": "anna", "scopes": ["infer", "models"]}
    httpx.post(f"{guarded.url}/v1/keys", json=about, headers={"x-api-key": owner}).raise_for_status()
    return private(key)


@pytest.fixture
def picture_url() -> Iterator[str]:
    """The picture of a three, served on this machine."""
    with serving(SAMPLES) as root:
        yield f"{root}/{THREE.name}"


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on this machine; yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def ask(stack: Stack, service: dict[str, str], *calls: tuple[str, list[str]]) -> list[dict[str, Any]]:
    """Call methods of the client one after the other; return their answers and the client's token.

    What is given to them may refer to the answers before it: `{0[id]}` is the id in the first one's body.
    """
    instructions = json.dumps({"url": stack.url, "service": service, "calls": calls})
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, input=instructions, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout.splitlines()[-1]))


def assert_three(answer: dict[str, Any]) -> None:
    assert answer["status"] == 200
    assert answer["body"]["object"] == "predictresponse"
    assert answer["body"]["probabilities"][0]["label"] == "3"
    assert len(answer["body"]["probabilities"]) == 5


def test_an_account_gets_a_token_and_predicts_with_it(guarded: Stack, pem: str, picture_url: str) -> None:
    encoded = base64.b64encode(THREE.read_bytes()).decode()
    token, *predictions = ask(
        guarded, {"email": EMAIL, "rsa_cert": pem},
        ("get_token", []),
        ("get_fileb64_image_prediction", [GENERAL, str(THREE)]),
        ("get_b64_image_prediction", ["digits", encoded]),
        ("get_url_image_prediction", [GENERAL, picture_url]),
    )  # fmt: skip
    assert token["status"] == 200
    assert token["body"]["token_type"] == "Bearer"
    assert 500 < token["body"]["expires_in"] <= 600
    assert {answer["token"] for answer in predictions} == {token["body"]["access_token"]}
    for answer in predictions:
        assert_three(answer)


def test_a_wrong_key_gets_no_token_but_the_reason(guarded: Stack, pem: str) -> None:
    wrong = private(rsa.generate_private_key(65537, 2048))
    (refused,) = ask(guarded, {"email": EMAIL, "rsa_cert": wrong}, ("get_token", []))
    (unknown,) = ask(guarded, {"email": "ben@example.test", "rsa_cert": pem}, ("get_token", []))
    for answer in (refused, unknown):
        assert (answer["status"], answer["token"]) == (401, None)
        assert "not signed by a key that is registered" in answer["body"]["message"]


def test_a_token_that_was_never_given_predicts_nothing(guarded: Stack, pem: str) -> None:
    (answer,) = ask(guarded, {"token": "NOSUCHTOKEN"}, ("get_fileb64_image_prediction", [GENERAL, str(THREE)]))
    assert (answer["status"], answer["body"]) == (401, {"message": "Invalid access token"})


def test_on_the_open_door_any_token_predicts_but_nothing_is_fetched_from_this_machine(
    stack: Stack, picture_url: str
) -> None:
    good, refused, unknown = ask(
        stack, {"token": "ANYTHING"},
        ("get_fileb64_image_prediction", [GENERAL, str(THREE)]),
        ("get_url_image_prediction", [GENERAL, picture_url]),
        ("get_fileb64_image_prediction", ["NOSUCHMODEL", str(THREE)]),
    )  # fmt: skip
    assert_three(good)
    assert refused["status"] == 400
    assert "not on the public internet" in refused["body"]["message"]
    assert 400 <= unknown["status"] < 500
    assert "'NOSUCHMODEL' cannot be found" in unknown["body"]["message"]


def test_on_the_open_door_any_key_gets_a_token(stack: Stack) -> None:
    pem = private(rsa.generate_private_key(65537, 2048))
    token, answer = ask(stack, {"email": EMAIL, "rsa_cert": pem}, ("get_token", []),
                        ("get_fileb64_image_prediction", [GENERAL, str(THREE)]))  # fmt: skip
    assert token["status"] == 200
    assert_three(answer)


# -- datasets and training


def begun(stack: Stack, service: dict[str, str], url: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Create a dataset and a training of the archive behind a URL with the client; return both."""
    dataset, training = ask(
        stack, service,
        ("create_dataset_synchronous", [url]),
        ("train_model", ["{0[id]}", "digits v1"]),
    )  # fmt: skip
    assert (dataset["status"], training["status"]) == (200, 200), (dataset, training)
    return dataset["body"], training["body"]


def until_trained(stack: Stack, service: dict[str, str], model_id: str, seconds: float) -> None:
    """Fail unless the training succeeds within `seconds`. Polled without the client, which needs a process per call."""
    headers = {"Authorization": f"Bearer {service['token']}"}

    def status() -> dict[str, Any]:
        return dict(httpx.get(f"{stack.url}/v2/vision/train/{model_id}", headers=headers, timeout=30).json())

    stacks.until(
        lambda: status()["status"] not in ("QUEUED", "RUNNING"), seconds, lambda: f"{status()}\n{stack.output()}"
    )
    assert status()["status"] == "SUCCEEDED", status()


def test_a_dataset_is_made_trained_on_and_predicted_with(guarded: Stack, pem: str, tmp_path: Path) -> None:
    (tmp_path / "digits.tgz").write_bytes(digit_images.archive(digit_images.files({0: 12, 1: 12})))
    for digit in (0, 1):
        (tmp_path / f"{digit}.png").write_bytes(digit_images.pictures(digit)[20])
    (token,) = ask(guarded, {"email": EMAIL, "rsa_cert": pem}, ("get_token", []))
    service = {"token": token["token"]}
    with serving(tmp_path) as root:
        dataset, training = begun(guarded, service, f"{root}/digits.tgz")
    labels = {label["name"]: label["numExamples"] for label in dataset["labelSummary"]["labels"]}
    assert (dataset["name"], dataset["available"], dataset["statusMsg"]) == ("digits", True, "SUCCEEDED")
    assert labels == {"zero": 12, "one": 12}
    assert (training["datasetId"], training["name"], training["status"]) == (dataset["id"], "digits v1", "QUEUED")
    until_trained(guarded, service, training["modelId"], 240)
    status, metrics, models, listed, unknown, *predictions = ask(
        guarded, service,
        ("get_training_status", [training["modelId"]]),
        ("get_model_info", [training["modelId"]]),
        ("get_models_info_for_dataset", [str(dataset["id"])]),
        ("get_datasets_info", []),
        ("get_model_info", ["NOSUCHMODEL"]),
        ("get_fileb64_image_prediction", [training["modelId"], str(tmp_path / "0.png")]),
        ("get_fileb64_image_prediction", [training["modelId"], str(tmp_path / "1.png")]),
    )  # fmt: skip
    assert (status["body"]["progress"], status["body"]["trainStats"]["examples"]) == (1, 24)
    assert metrics["body"]["metricsData"]["labels"] == ["one", "zero"]
    assert metrics["body"]["metricsData"]["testAccuracy"] > 0.4
    assert [model["modelId"] for model in models["body"]["data"]] == [training["modelId"]]
    assert [dataset["id"] for dataset in listed["body"]["data"]] == [dataset["id"]]
    assert (unknown["status"], set(unknown["body"])) == (404, {"message"})
    assert [answer["body"]["probabilities"][0]["label"] for answer in predictions] == ["zero", "one"]


def test_an_archive_that_is_not_there_is_reported_in_the_documented_words(
    guarded: Stack, pem: str, tmp_path: Path
) -> None:
    with serving(tmp_path) as root:
        _, refused, listed = ask(
            guarded, {"email": EMAIL, "rsa_cert": pem},
            ("get_token", []),
            ("create_dataset_synchronous", [f"{root}/nothing.zip"]),
            ("get_datasets_info", []),
        )  # fmt: skip
    assert refused["status"] == 400
    assert refused["body"] == {"message": "Failed to download the dataset from the public URL."}
    assert "nothing" not in [dataset["name"] for dataset in listed["body"]["data"]]
