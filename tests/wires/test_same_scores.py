"""One picture gets the same scores on every wire."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests import stacks
from tests.stacks import Stack

NAME, PICTURE = stacks.digits()[7]

Labels = list[tuple[str, float]]


def ask(stack: Stack, path: str, **sent: Any) -> Any:
    return httpx.post(stack.url + path, timeout=90, **sent).raise_for_status().json()


def of_results(results: list[dict[str, Any]], score: str = "score") -> Labels:
    return [(result["label"], result[score]) for result in results]


def native(stack: Stack) -> Labels:
    body = ask(stack, "/v1/classify", files={"files": (NAME, PICTURE)}, data={"top_k": "5"})
    return of_results(body["predictions"][0]["results"])


def native_kept(stack: Stack) -> Labels:
    kept = ask(stack, "/v1/images/upload", data={"name": "seven"}, files={"image": (NAME, PICTURE)})["id"]
    body = ask(stack, "/v1/classify", json={"inputs": [{"image_id": kept}]})
    return of_results(body["predictions"][0]["results"])


def sap(path: str) -> Callable[[Stack], Labels]:
    def classify(stack: Stack) -> Labels:
        return of_results(ask(stack, path, files={"files": (NAME, PICTURE)})["predictions"][0]["results"])

    return classify


def einstein(model: str) -> Callable[[Stack], Labels]:
    def predict(stack: Stack) -> Labels:
        files = {"sampleContent": (NAME, PICTURE), "modelId": (None, model)}
        return of_results(ask(stack, "/v2/vision/predict", files=files)["probabilities"], "probability")

    return predict


def huggingface(stack: Stack) -> Labels:
    return of_results(ask(stack, "/models/digits", content=PICTURE, headers={"x-use-cache": "false"}))


def huggingface_json(stack: Stack) -> Labels:
    body = {"inputs": base64.b64encode(PICTURE).decode(), "parameters": {"top_k": 5, "function_to_apply": "softmax"}}
    return of_results(ask(stack, "/hf-inference/models/digits", json=body))


def img_processing(stack: Stack) -> Labels:
    kept = ask(stack, "/v1/images/upload", data={"name": "seven"}, files={"image": (NAME, PICTURE)})["id"]
    body = ask(stack, f"/v1/images/{kept}/classify", json={})
    return [(body["main_label"], body["main_score"]), *of_results(body["secondary_labels"])]


WIRES: dict[str, Callable[[Stack], Labels]] = {
    "native, a kept picture": native_kept,
    "SAP v1": sap("/inference_sync"),
    "SAP mid": sap("/ml/imageclassification/classification"),
    "SAP v2": sap("/api/v2/image/classification/models/digits/versions/1"),
    "Einstein, the general model": einstein("GeneralImageClassifier"),
    "Einstein, by name": einstein("digits"),
    "Hugging Face": huggingface,
    "Hugging Face, JSON": huggingface_json,
    "IMG": img_processing,
}


@pytest.fixture(scope="module")
def expected(stack: Stack) -> Labels:
    labels = native(stack)
    assert len(labels) == 5
    assert labels[0][0] == "7"
    return labels


@pytest.mark.parametrize("wire", WIRES)
def test_every_wire_gives_the_same_labels_and_scores(stack: Stack, expected: Labels, wire: str) -> None:
    same(WIRES[wire](stack), expected)


def test_an_answer_from_the_cache_is_the_same_again(stack: Stack, expected: Labels) -> None:
    first = httpx.post(f"{stack.url}/models/digits", content=PICTURE, timeout=90)
    second = httpx.post(f"{stack.url}/models/digits", content=PICTURE, timeout=90)
    assert second.headers["x-compute-type"] == "cache"
    same(of_results(first.json()), expected)
    same(of_results(second.json()), expected)


def same(scores: Labels, expected: Labels) -> None:
    """Check for equal labels and scores; one wire writes labels in Title Case."""
    assert [label.lower() for label, _ in scores] == [label.lower() for label, _ in expected]
    # Not closer: a model that has become busy may get another runtime between two answers.
    assert [score for _, score in scores] == pytest.approx([score for _, score in expected], rel=0, abs=1e-6)
