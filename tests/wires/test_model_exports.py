"""Exports over HTTP from a running stack: a worker converts, and what comes out is imported and answers the same."""

from __future__ import annotations

import io
import zipfile

import httpx
import pytest

from tests.stacks import Stack
from worker.families.digits import SAMPLES

PICTURE = (SAMPLES / "digit_7.png").read_bytes()


def scores(stack: Stack, model: str) -> dict[str, float]:
    sent = {"model": model, "top_k": "10"}
    answer = httpx.post(f"{stack.url}/v1/classify", files={"files": ("p", PICTURE)}, data=sent, timeout=60)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return {result["label"]: result["score"] for result in prediction["results"]}


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_model_of_the_catalogue_is_exported_and_comes_back(stack: Stack, kind: str) -> None:
    scores(stack, "digits")  # its weights are checked by now
    address = f"{stack.url}/v1/models/digits/versions/1/export"
    answer = httpx.get(address, params={"format": kind}, timeout=90)
    assert answer.status_code == 200, answer.text + stack.output()
    assert answer.headers["Content-Type"] == "application/zip"
    packed = {"weights": ("export.zip", answer.content)}
    added = httpx.post(f"{stack.url}/v1/models", data={"name": kind}, files=packed, timeout=90)
    assert added.status_code == 201, added.text + stack.output()
    assert (added.json()["architecture"], added.json()["labels"]) == ("digits", 10)
    assert scores(stack, kind) == pytest.approx(scores(stack, "digits"), abs=1e-4)
    httpx.delete(f"{stack.url}/v1/models/{kind}", timeout=30).raise_for_status()  # other tests find no model of theirs


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_an_export_is_saved_by_a_link_which_is_made_when_it_is_converted_and_needs_no_key(
    stack: Stack, kind: str
) -> None:
    scores(stack, "digits")
    address = f"{stack.url}/v1/models/digits/versions/1/export"
    made = httpx.post(f"{address}/link", json={"format": kind}, timeout=90)
    assert made.status_code == 200, made.text + stack.output()
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}  # the stack has no keys, and is open to this machine only
    assert httpx.get(address, params={"format": kind}, headers=elsewhere).status_code == 401
    saved = httpx.get(f"{stack.url}{made.json()['url']}", headers=elsewhere, timeout=90)
    assert saved.status_code == 200, saved.text
    assert f"model.{kind}" in zipfile.ZipFile(io.BytesIO(saved.content)).namelist()
