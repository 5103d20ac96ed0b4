"""A stack on which nothing was chosen labels photographs truly, on every wire, and trainings start from its model."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from shared import samples
from tests import stacks
from tests.stacks import Stack

SHOWN = {
    "cat.png": "tiger cat",
    "coffee.png": "espresso",
    "rocket.jpg": "missile",
    "motorcycle.png": "moped",
    "palace.jpg": "palace",
}
MODEL = "efficientnet_lite0"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of `inferq up` on a machine that reaches no server of weights."""
    data = tmp_path_factory.mktemp("first") / "data"
    with stacks.running(data, "--workers", "1", trainer=True, INFERQ_DEFAULT_MODEL="") as running:
        yield running


@pytest.fixture(scope="module")
def photos() -> dict[str, Path]:
    return samples.installed()


def posted(stack: Stack, path: str, **body: Any) -> Any:
    answer = httpx.post(stack.url + path, timeout=90, **body)
    assert answer.is_success, answer.text
    return answer.json()


@pytest.mark.parametrize("name", SHOWN)
def test_a_photograph_gets_its_true_label(stack: Stack, photos: dict[str, Path], name: str) -> None:
    job = posted(stack, "/v1/classify", files={"files": photos[name].read_bytes()})
    assert job["model"] == {"name": MODEL, "version": "1"}
    assert job["predictions"][0]["results"][0]["label"] == SHOWN[name]


def test_the_other_wires_say_the_same_where_no_model_is_named(stack: Stack, photos: dict[str, Path]) -> None:
    coffee = photos["coffee.png"].read_bytes()
    sap = posted(stack, "/inference_sync", files={"files": coffee})
    einstein = posted(
        stack, "/v2/vision/predict", data={"modelId": "GeneralImageClassifier"}, files={"sampleContent": coffee}
    )
    image = posted(stack, "/v1/images/upload", data={"name": "coffee"}, files={"image": coffee})
    img = httpx.post(f"{stack.url}/v1/images/{image['id']}/classify", timeout=60)
    facing = posted(stack, f"/models/{MODEL}", content=coffee)

    assert sap["predictions"][0]["results"][0]["label"] == "espresso"
    assert einstein["probabilities"][0]["label"] == "espresso"
    assert (img.status_code, img.json()["main_label"]) == (201, "Espresso")
    assert img.headers["X-Inferq-Model"] == f"{MODEL}/1"
    assert facing[0]["label"] == "espresso"


def test_the_model_says_what_it_is(stack: Stack) -> None:
    (version,) = stack.get(f"/v1/models/{MODEL}")["versions"]
    assert (version["architecture"], version["family"]) == ("tf_efficientnet_lite0", "timm")
    assert version["preset"]["origin"] == "published"
    assert (version["preprocessing"]["interpolation"], version["preprocessing"]["mean"]) == ("bicubic", [0.5] * 3)


def pieces(path: Path, count: int) -> list[bytes]:
    """Return square parts of a photograph as PNG."""
    photo, chance, encoded = Image.open(path).convert("RGB"), np.random.default_rng(0), []
    for _ in range(count):
        side = int(chance.integers(150, 250))
        left, top = (int(chance.integers(0, size - side)) for size in photo.size)
        file = io.BytesIO()
        photo.crop((left, top, left + side, top + side)).save(file, "PNG")
        encoded.append(file.getvalue())
    return encoded


def test_a_training_that_names_no_base_starts_from_it(stack: Stack, photos: dict[str, Path]) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name in ("cat.png", "coffee.png"):
            for number, piece in enumerate(pieces(photos[name], 15)):
                file.writestr(f"{Path(name).stem}/{number}.png", piece)
    dataset = {"file": ("pieces.zip", archive.getvalue())}
    headers = {"Prefer": "wait=60"}
    posted(stack, "/v1/datasets", data={"name": "pieces"}, files=dataset, headers=headers)
    wanted = {"dataset": "pieces", "name": "own", "parameters": {"fine_tune": "never"}}
    training = posted(stack, "/v1/trainings", json=wanted, headers=headers)
    assert training["status"] == "DONE", training
    assert training["base"] == f"{MODEL} 1"
    assert training["evidence"]["accuracy"] > 0.8
