"""Exports over HTTP from a running stack: a worker converts, and what comes out is imported and answers the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import stacks
from tests.stacks import Stack
from worker.families.digits import SAMPLES

PICTURE = (SAMPLES / "digit_7.png").read_bytes()


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    settings: dict[str, Any] = {"INFERQ_WEIGHTS_URL": "http://127.0.0.1:9", "INFERQ_DEFAULT_MODEL": "digits"}
    with stacks.running(tmp_path_factory.mktemp("exports") / "data", "--workers", "1", **settings) as running:
        yield running


def scores(stack: Stack, model: str) -> dict[str, float]:
    sent = {"model": model, "top_k": "10"}
    answer = httpx.post(f"{stack.url}/v1/classify", files={"files": ("p", PICTURE)}, data=sent, timeout=60)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return {result["label"]: result["score"] for result in prediction["results"]}


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_a_model_of_the_catalogue_is_exported_and_comes_back(stack: Stack, kind: str, tmp_path: Path) -> None:
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
