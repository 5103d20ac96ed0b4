"""The genuine client of the Einstein Vision wire, EinsteinVision from PyPI, against the real service."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests import stacks
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
    answer = getattr(service, name)(*given)
    answers.append({"status": answer.status_code, "body": answer.json(), "token": service.token})
print()
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A service with a key, which so has no open door, and which may fetch from this machine."""
    data = tmp_path_factory.mktemp("guarded") / "data"
    with stacks.running(data, "--workers", "1", INFERQ_FETCH_PRIVATE="1") as running:
        yield running


@pytest.fixture(scope="module")
def pem(guarded: Stack) -> str:
    """Anna's private key; the public one is registered."""
    owner = httpx.post(f"{guarded.url}/v1/keys", json={"name": "owner"}).raise_for_status().json()["key"]
    key = rsa.generate_private_key(65537, 2048)
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    about = {"account": EMAIL, "public_key": public, "tenant": "anna", "scopes": ["infer"]}
    httpx.post(f"{guarded.url}/v1/keys", json=about, headers={"x-api-key": owner}).raise_for_status()
    return private(key)


@pytest.fixture
def picture_url() -> Iterator[str]:
    """The picture of a three, served on this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(SAMPLES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        yield f"http://127.0.0.1:{server.server_port}/{THREE.name}"
        server.shutdown()


def private(key: rsa.RSAPrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def ask(stack: Stack, service: dict[str, str], *calls: tuple[str, list[str]]) -> list[dict[str, Any]]:
    """What the client's methods, called one after the other, come back with, and the token it then has."""
    asked = json.dumps({"url": stack.url, "service": service, "calls": calls})
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT]
    done = subprocess.run(command, input=asked, check=False, capture_output=True, text=True, timeout=120)
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


def test_a_wrong_key_gets_no_token_and_is_told_why(guarded: Stack, pem: str) -> None:
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
