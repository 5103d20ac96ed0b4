"""A rejection rule through real processes: fitted at an import, told on each wire, changed while the stack runs."""

from __future__ import annotations

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image

from inferq.client import Client
from shared.schemas.jobs import Prediction
from tests import digit_images, stacks
from tests.stacks import Stack
from worker.families import digits

pytestmark = pytest.mark.long

WEIGHTS = Path(digits.__file__).parent / "digits.safetensors"


def plain() -> bytes:
    file = io.BytesIO()
    Image.new("L", (32, 32), 255).save(file, "PNG")
    return file.getvalue()


def answered(client: Client, folder: Path, *pictures: bytes) -> list[Prediction]:
    paths = [folder / f"{number}.png" for number in range(len(pictures))]
    for path, data in zip(paths, pictures, strict=True):
        path.write_bytes(data)
    return client.jobs.classify(*paths, model="mine").predictions


def huggingface(stack: Stack, picture: bytes) -> list[str]:
    answer = httpx.post(f"{stack.url}/models/mine", content=picture, headers={"X-Use-Cache": "true"}, timeout=60)
    return [each["label"] for each in answer.raise_for_status().json()]


def test_a_rule_is_fitted_by_a_worker_and_followed_on_every_wire(tmp_path: Path) -> None:
    archive = tmp_path / "numbers.tgz"
    archive.write_bytes(digit_images.archive(digit_images.files(dict.fromkeys(range(10), 12))))
    known = [digit_images.pictures(digit)[100] for digit in range(10)]
    with (
        stacks.running(tmp_path / "data", "--workers", "1", trainer=True) as stack,
        Client(stack.url, "") as client,
    ):
        *_, dataset = client.datasets.stream(client.datasets.create("numbers", archive).id)
        assert (dataset.state, dataset.examples) == ("READY", 120)
        version = client.models.upload(
            "mine", WEIGHTS, architecture="digits", labels=digit_images.WORDS,
            reject_below_precision=0.9, reject_on="numbers", unknown_label="unknown",
        )  # fmt: skip
        assert version.rejection
        assert version.rejection.max_distance

        believed = [prediction.confident for prediction in answered(client, tmp_path, *known)]
        assert believed.count(True) >= 8
        (foreign,) = answered(client, tmp_path, plain())
        assert foreign.confident is False
        assert foreign.doubt
        assert foreign.doubt.code == "unlike_training"
        assert huggingface(stack, plain()) == huggingface(stack, plain()) == ["unknown"]
        assert len(huggingface(stack, known[0])) > 1

        client.models.remove_rejection("mine", "1")
        stacks.until(lambda: answered(client, tmp_path, plain())[0].confident is None, 30)
        assert len(huggingface(stack, plain())) > 1
        fit = client.models.reject("mine", "1", precision=0.8, dataset="numbers")
        assert fit.rejection
        assert fit.rejection.precision == 0.8
        stacks.until(lambda: answered(client, tmp_path, plain())[0].confident is False, 30)
