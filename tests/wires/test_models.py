"""Imports of models over HTTP: scores equal torchvision's, and a refused import leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import pickle
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
import torchvision
from flask.testing import FlaskClient
from PIL import Image, ImageOps
from safetensors.torch import save
from torchvision.transforms import v2
from torchvision.transforms.functional import pil_to_tensor

from shared.container import Container
from shared.domain.models import ModelState, ModelVersion
from tests import stacks
from tests.stacks import Stack

LABELS = ["ant", "bee", "cat", "dog", "eel"]
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack of its own that cannot reach the server of the published weights."""
    settings: dict[str, Any] = {"INFERQ_WEIGHTS_URL": "http://127.0.0.1:9", "INFERQ_DEFAULT_MODEL": "digits"}
    with stacks.running(tmp_path_factory.mktemp("models") / "data", "--workers", "1", **settings) as running:
        yield running


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    """Return squeezenet1_1 with random weights, whose last layer is scaled so that answers differ."""
    torch.manual_seed(3)
    model: torch.nn.Module = torchvision.models.squeezenet1_1(weights=None, num_classes=len(LABELS)).eval()
    with torch.no_grad():
        model.classifier[1].weight *= 15
    return model


@pytest.fixture(scope="module")
def state(network: torch.nn.Module) -> Weights:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def pth(state: object) -> bytes:
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def bring(stack: Stack, name: str, weights: bytes, labels: list[str] | str = LABELS, **fields: str) -> httpx.Response:
    text = labels if isinstance(labels, str) else "\n".join(labels)
    form = {"name": name, "architecture": "squeezenet1_1", "labels": text}
    return httpx.post(f"{stack.url}/v1/models", data=form | fields, files={"weights": ("w", weights)}, timeout=90)


def refused(answer: httpx.Response, status: int, code: str) -> str:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    return str(answer.json()["detail"])


def names(stack: Stack) -> set[str]:
    return {model["name"] for model in stack.get("/v1/models")["models"]}


def uploads(stack: Stack) -> list[Path]:
    folder = stack.data / "blobs" / "uploads"
    return list(folder.iterdir()) if folder.exists() else []


def photo(width: int, height: int, mode: str = "RGB", kind: str = "PNG", **options: Any) -> bytes:
    """Return a picture of waves and noise, a different one for each size."""
    y, x = np.mgrid[0:height, 0:width]
    waves = np.stack([128 + 100 * np.sin(x / (7 + a) + y / (11 - a)) for a in range(3)], axis=2)
    noise = np.random.default_rng(width).normal(0, 15, waves.shape)
    file = io.BytesIO()
    Image.fromarray((waves + noise).clip(0, 255).astype(np.uint8)).convert(mode).save(file, kind, **options)
    return file.getvalue()


def turned() -> bytes:
    tag = Image.Exif()
    tag[0x0112] = 6
    return photo(301, 200, kind="JPEG", exif=tag)


PHOTOS = {
    "landscape": photo(640, 480),
    "portrait": photo(120, 333),
    "grey": photo(256, 256, "L"),
    "palette": photo(300, 280, "P"),
    "transparent": photo(290, 270, "RGBA"),
    "jpeg": photo(500, 375, kind="JPEG"),
    "tiny": photo(9, 7),
    "turned by EXIF": turned(),
}


def reference(network: torch.nn.Module, data: bytes) -> dict[str, float]:
    """Return torchvision's own scores: its transforms on the decoded picture, eager, float32."""
    preset = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    # The preset's steps as v2 has them; the preset itself resizes whole numbers as floats.
    transforms = v2.Compose([v2.Resize(preset.resize_size), v2.CenterCrop(preset.crop_size),
                             v2.ToDtype(torch.float32, scale=True), v2.Normalize(preset.mean, preset.std)])  # fmt: skip
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    with torch.no_grad():
        scores = network(transforms(pil_to_tensor(picture))[None])[0].softmax(0)
    return dict(zip(LABELS, scores.tolist(), strict=True))


def scores(stack: Stack, model: str, data: bytes, **fields: str) -> dict[str, float]:
    sent = {"model": model, "top_k": "99"} | fields
    answer = httpx.post(f"{stack.url}/v1/classify", files={"files": ("p", data)}, data=sent, timeout=60)
    assert answer.status_code == 200, answer.text
    (prediction,) = answer.json()["predictions"]
    return {result["label"]: result["score"] for result in prediction["results"]}


# weights that fit


def test_imported_weights_are_served_with_torchvisions_own_scores(
    stack: Stack, network: torch.nn.Module, state: Weights
) -> None:
    answer = bring(stack, "mine", save(state))
    assert answer.status_code == 201, answer.text + stack.output()
    version = answer.json()
    assert (version["state"], version["version"], version["labels"]) == ("ready", "1", 5)
    assert answer.headers["Location"] == "/v1/models/mine/versions/1"
    assert stack.get(answer.headers["Location"])["label_names"] == LABELS
    stacks.until(lambda: uploads(stack) == [], 10)  # they are deleted after the version is announced

    expected = {name: reference(network, data) for name, data in PHOTOS.items()}
    assert (
        max(scores["ant"] for scores in expected.values()) - min(scores["ant"] for scores in expected.values()) > 0.05
    )
    for name, data in PHOTOS.items():
        assert scores(stack, "mine", data) == pytest.approx(expected[name], abs=1e-4), name


def test_a_pth_file_gives_the_very_same_model(stack: Stack, state: Weights) -> None:
    first, second = bring(stack, "as-safetensors", save(state)), bring(stack, "as-pth", pth(state))
    assert (first.status_code, second.status_code) == (201, 201)
    assert first.json()["checksum"] == second.json()["checksum"]
    assert scores(stack, "as-pth", PHOTOS["jpeg"]) == scores(stack, "as-safetensors", PHOTOS["jpeg"])


def test_what_training_scripts_wrap_around_the_tensors_is_no_hindrance(stack: Stack, state: Weights) -> None:
    wrapped = {"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}
    answer = bring(stack, "wrapped", pth(wrapped))
    assert answer.status_code == 201, answer.text


def test_labels_may_come_as_a_file(stack: Stack, state: Weights) -> None:
    labels = "\ufeff" + "\r\n".join(LABELS) + "\r\n\r\n"
    files: dict[str, Any] = {"weights": ("w", save(state)), "labels": ("labels.txt", labels)}
    form = {"name": "with-a-file", "architecture": "squeezenet1_1"}
    answer = httpx.post(f"{stack.url}/v1/models", data=form, files=files, timeout=90)
    assert answer.status_code == 201, answer.text
    assert stack.get("/v1/models/with-a-file/versions/1")["label_names"] == LABELS


def test_versions_are_numbered_chosen_and_removed(stack: Stack, state: Weights) -> None:
    assert bring(stack, "several", save(state)).json()["version"] == "1"
    assert bring(stack, "several", save(state), LABELS[::-1]).json()["version"] == "2"
    assert bring(stack, "several", save(state), version="2026-rc.1").json()["version"] == "2026-rc.1"
    assert "version '2'" in refused(bring(stack, "several", save(state), version="2"), 409, "conflict")
    model = stack.get("/v1/models/several")
    assert (model["default_version"], [version["version"] for version in model["versions"]]) == (
        "1",
        ["1", "2", "2026-rc.1"],
    )

    first, second = (scores(stack, "several", PHOTOS["jpeg"], version=version) for version in ("1", "2"))
    assert {LABELS[4 - LABELS.index(label)]: score for label, score in second.items()} == pytest.approx(first, abs=1e-5)
    assert scores(stack, "several", PHOTOS["jpeg"]) == pytest.approx(first, abs=1e-5)

    refused(httpx.delete(f"{stack.url}/v1/models/several/versions/1"), 409, "conflict")
    assert httpx.delete(f"{stack.url}/v1/models/several/versions/2").status_code == 204
    assert stack.get("/v1/models/several")["default_version"] == "1"
    assert httpx.delete(f"{stack.url}/v1/models/several").status_code == 204
    refused(httpx.get(f"{stack.url}/v1/models/several"), 404, "not_found")
    refused(httpx.delete(f"{stack.url}/v1/models/several"), 404, "not_found")


# weights that do not fit


class RunsCode:
    """An object that runs a command of the system when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


def changed(state: Weights, **tensors: torch.Tensor | None) -> bytes:
    """Return the weights with tensors replaced, added, or removed by None; `__` stands for `.` in names."""
    complete = state | {name.replace("__", "."): tensor for name, tensor in tensors.items() if tensor is not None}
    return save(
        {name: tensor for name, tensor in complete.items() if tensors.get(name.replace(".", "__"), 0) is not None}
    )


def bad_weights(state: Weights) -> dict[str, tuple[bytes, list[str] | str, str]]:
    """Case -> (weights, labels, a part of the reason)."""
    return {
        "a missing key": (changed(state, features__0__bias=None), LABELS, "features.0.bias"),
        "an extra key": (changed(state, surplus=torch.ones(1)), LABELS, "surplus"),
        "a wrong shape": (changed(state, features__0__weight=torch.ones(64, 3, 5, 5)), LABELS, "features.0.weight"),
        "too few labels": (save(state), LABELS[:4], "5 outputs, but 4 labels"),
        "too many labels": (save(state), [*LABELS, "fox"], "5 outputs, but 6 labels"),
        "ImageNet's labels": (save(state), "imagenet", "5"),
        "NaN": (changed(state, features__0__bias=torch.full((64,), float("nan"))), LABELS, "NaN"),
        "a picture": (PHOTOS["jpeg"], LABELS, "is a JPEG picture, not a model"),
        "a cut file": (save(state)[:-1000], LABELS, "safetensors"),
        "nothing": (b"", LABELS, "empty"),
    }


@pytest.mark.parametrize("case", bad_weights({"features.0.bias": torch.ones(1)}))
def test_weights_that_do_not_fit_are_refused_with_the_reason_and_leave_nothing(
    stack: Stack, state: Weights, case: str
) -> None:
    weights, labels, reason = bad_weights(state)[case]
    before = uploads(stack)
    assert reason in refused(bring(stack, "unfit", weights, labels), 400, "bad_weights")
    assert "unfit" not in names(stack)
    assert uploads(stack) == before


def test_labels_are_refused_at_once_with_the_line(stack: Stack, state: Weights) -> None:
    before = uploads(stack)
    detail = refused(bring(stack, "unfit", save(state), ["ant", "", "cat", "dog", "eel"]), 400, "bad_option")
    assert detail == "labels, line 2: the label is empty; each output needs one"
    assert uploads(stack) == before


@pytest.mark.parametrize("pack", [pth, lambda weights: pickle.dumps(weights, 2)], ids=["torch.save", "pickle"])
def test_a_pickle_that_wants_to_run_code_is_refused_and_does_not_run(
    stack: Stack, state: Weights, tmp_path: Path, pack: Any
) -> None:
    before = uploads(stack)
    hostile = pack({**state, "surplus": RunsCode(tmp_path / "ran")})
    assert "could run code" in refused(bring(stack, "hostile", hostile), 400, "bad_weights")
    assert not (tmp_path / "ran").exists()
    assert "hostile" not in names(stack)
    assert uploads(stack) == before


def test_an_unknown_architecture_is_refused_with_what_is_near(stack: Stack, state: Weights) -> None:
    answer = bring(stack, "unfit", save(state), architecture="squeezenet")
    assert answer.status_code == 400
    assert "squeezenet1_1" in answer.json()["detail"]
    assert "unfit" not in names(stack)


def test_after_a_refusal_the_right_file_is_taken_as_the_first_version(stack: Stack, state: Weights) -> None:
    refused(bring(stack, "second-try", save(state), LABELS[:3]), 400, "bad_weights")
    answer = bring(stack, "second-try", save(state))
    assert (answer.status_code, answer.json()["version"]) == (201, "1")
    assert stack.get("/v1/models/second-try")["default_version"] == "1"


def test_published_weights_that_cannot_be_fetched_are_refused_with_how_to_import_them(
    stack: Stack, state: Weights
) -> None:
    for _ in range(2):
        answer = httpx.post(f"{stack.url}/v1/models", json={"name": "squeezenet1_1"}, timeout=60)
        assert "import the model from a file" in refused(answer, 409, "conflict")
        assert "squeezenet1_1" not in names(stack)
    assert bring(stack, "squeezenet1_1", save(state)).json()["version"] == "1"
    assert scores(stack, "squeezenet1_1", PHOTOS["jpeg"]).keys() == set(LABELS)


def test_the_default_model_that_is_not_at_hand_says_how_to_import_it(stack: Stack) -> None:
    def detail() -> str:
        data = {"model": "resnet50"}
        answer = httpx.post(f"{stack.url}/v1/classify", files={"files": ("p", PHOTOS["tiny"])}, data=data, timeout=60)
        assert int(answer.headers["Retry-After"]) >= 1
        return refused(answer, 409, "model_not_ready")

    stacks.until(lambda: "import the model from a file" in detail(), 20)


# preprocessing


def older(network: torch.nn.Module, data: bytes) -> dict[str, float]:
    """Return torchvision's scores with the preprocessing of its first ResNet weights, which the newest do not have."""
    transforms = torchvision.models.ResNet50_Weights.IMAGENET1K_V1.transforms()
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    with torch.no_grad():
        scores = network(transforms(pil_to_tensor(picture))[None])[0].softmax(0)
    return dict(zip(LABELS, scores.tolist(), strict=True))


@pytest.mark.long
def test_first_generation_weights_with_their_preset_score_as_torchvision_scores_them(stack: Stack) -> None:
    torch.manual_seed(1)
    network = torchvision.models.resnet50(weights=None, num_classes=len(LABELS)).eval()
    with torch.no_grad():
        network.fc.weight *= 2 / network(torch.randn(1, 3, 224, 224)).std()
    weights = save({name: tensor.clone() for name, tensor in network.state_dict().items()})
    for name, fields in {"v1": {"preprocessing": "IMAGENET1K_V1"}, "silent": {}}.items():
        answer = bring(stack, f"resnet-{name}", weights, architecture="resnet50", **fields)
        assert answer.status_code == 201, answer.text
    v1, silent = (stack.get(f"/v1/models/resnet-{name}")["versions"][0] for name in ("v1", "silent"))
    assert v1["preset"] == {"name": "IMAGENET1K_V1", "origin": "requested", "available": silent["preset"]["available"],
                            "changed": []}  # fmt: skip
    assert (silent["preset"]["name"], silent["preset"]["origin"]) == ("IMAGENET1K_V2", "assumed")
    assert (v1["preprocessing"]["resize"], silent["preprocessing"]["resize"]) == (256, 232)

    expected = older(network, PHOTOS["landscape"])
    assert scores(stack, "resnet-v1", PHOTOS["landscape"]) == pytest.approx(expected, abs=1e-4)
    assert scores(stack, "resnet-silent", PHOTOS["landscape"]) != pytest.approx(expected, abs=1e-4)


def test_preprocessing_can_be_given_as_a_file_with_single_values_on_top(stack: Stack, state: Weights) -> None:
    given = {"resize": 120, "crop": 100, "mean": [0.5], "std": [0.25], "interpolation": "nearest"}
    fields = {"name": "by-file", "architecture": "squeezenet1_1", "labels": "\n".join(LABELS), "crop": "96"}
    files = {"weights": ("w", save(state)), "preprocessing": ("p.json", json.dumps(given).encode())}
    answer = httpx.post(f"{stack.url}/v1/models", data=fields, files=files, timeout=90)
    assert answer.status_code == 201, answer.text
    shown = answer.json()["preprocessing"]
    assert shown.pop("scale") == pytest.approx(1 / 255)
    assert shown == given | {
        "crop": 96, "mean": [0.5] * 3, "std": [0.25] * 3, "mode": "RGB", "crop_mode": "center", "channel_order": "RGB",
        "crop_offset": "round", "background": "", "color_profile": "ignore",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"preprocessing": "IMAGENET1K_V9"}, "squeezenet1_1 has IMAGENET1K_V1"),
        ({"preprocessing": "{"}, "not valid JSON"),
        ({"crop": "0"}, "crop must be a whole number of pixels"),
        ({"mean": "0.1,0.2"}, "mean must be one number, or three"),
        ({"preprocessing": '{"crop_pct": 0.9}'}, "no value 'crop_pct'"),
        ({"crop": "1"}, "cannot take pictures of 1 x 1 pixels"),
        ({"crop": "3000"}, "1 to 1024"),
    ],
)
def test_preprocessing_that_cannot_be_meant_leaves_nothing_behind(
    stack: Stack, state: Weights, fields: dict[str, str], complaint: str
) -> None:
    before = uploads(stack)
    answer = bring(stack, "unprepared", save(state), **fields)
    assert (answer.status_code, complaint in answer.json()["detail"]) == (400, True), answer.text
    assert "unprepared" not in names(stack)
    assert set(uploads(stack)) <= set(before)


def test_a_model_is_shown_with_preprocessing_labels_checksum_state_and_engine(stack: Stack) -> None:
    shown = stack.get("/v1/models/digits")
    (version,) = shown["versions"]
    assert shown["label_names"] == list("0123456789")
    assert shown["engine"] == "torch float32 on cpu"
    assert (version["state"], version["family"], len(version["checksum"])) == ("ready", "digits", 64)
    assert version["preprocessing"]["mode"] == "L"


# the default


def test_the_default_model_is_chosen_and_taken_back(client: FlaskClient, container: Container) -> None:
    bring_along(container, "vit")
    assert client.get("/v1/default-model").json == {"model": "digits", "origin": "setting"}
    chosen = client.put("/v1/default-model", json={"model": "vit"})
    assert (chosen.status_code, chosen.json) == (200, {"model": "vit", "origin": "tenant"})
    assert client.post("/v1/jobs", data=PHOTOS["tiny"]).json["model"]["name"] == "vit"
    assert client.delete("/v1/models/vit").json["code"] == "conflict"
    assert client.delete("/v1/default-model").json["model"] == "digits"
    assert client.post("/v1/jobs", data=PHOTOS["tiny"]).json["model"]["name"] == "digits"


@pytest.mark.parametrize(("body", "status"), [({"model": "nowhere"}, 404), ({}, 400), ({"model": ["digits"]}, 400)])
def test_a_default_that_could_not_answer_is_refused(client: FlaskClient, body: dict[str, Any], status: int) -> None:
    assert client.put("/v1/default-model", json=body).status_code == status


def test_a_model_of_the_catalogue_that_cannot_be_fetched_stays_and_a_ready_one_is_returned(stack: Stack) -> None:
    answer = httpx.post(f"{stack.url}/v1/models", json={"name": "resnet50"}, timeout=60)
    assert "import the model from a file" in refused(answer, 409, "conflict")
    assert "resnet50" in names(stack)
    assert httpx.post(f"{stack.url}/v1/models", json={"name": "digits"}, timeout=60).status_code == 200


# other names


VIT = "google/vit-base-patch16-224"


def bring_along(container: Container, name: str, tenant: str = "default") -> None:
    """Store a READY version in the database, without weights."""
    version = ModelVersion(
        f"{tenant}-{name}", tenant, name, "1", "digits", "digits", ModelState.READY, 1.0, labels=("a",)
    )
    with container.database.write() as uow:
        uow.model_versions.add(replace(version, is_default=True))


def shown(client: FlaskClient, name: str) -> list[str]:
    (model,) = [model for model in client.get("/v1/models").json["models"] if model["name"] == name]
    whole = client.get(f"/v1/models/{name}").json
    assert {field: whole[field] for field in model} == model
    return list(model["aliases"])


def test_an_alias_is_made_shown_moved_and_removed(client: FlaskClient, container: Container) -> None:
    bring_along(container, "vit")
    first = client.put(f"/v1/aliases/{VIT}", json={"model": "digits"})
    assert (first.status_code, first.json) == (201, {"alias": VIT, "model": "digits"})
    assert client.put("/v1/aliases/a-short.one", json={"model": VIT}).json["model"] == "digits"
    assert (shown(client, "digits"), shown(client, "vit")) == (["a-short.one", VIT], [])

    moved = client.put(f"/v1/aliases/{VIT.replace('/', '%2F')}", json={"model": "vit"})
    assert (moved.status_code, moved.json) == (200, {"alias": VIT, "model": "vit"})
    assert (shown(client, "digits"), shown(client, "vit")) == (["a-short.one"], [VIT])
    assert client.get("/v1/aliases").json == {
        "aliases": [{"alias": "a-short.one", "model": "digits"}, {"alias": VIT, "model": "vit"}]
    }

    assert client.delete(f"/v1/aliases/{VIT}").status_code == 204
    assert (client.delete(f"/v1/aliases/{VIT}").status_code, shown(client, "vit")) == (404, [])


@pytest.mark.parametrize(
    ("alias", "body", "status", "code"),
    [
        (VIT, {"model": "nowhere"}, 404, "not_found"),
        (VIT, {}, 400, "bad_option"),
        (VIT, {"model": ["digits"]}, 400, "bad_option"),
        ("one/two/three", {"model": "digits"}, 400, "bad_option"),
        ("with space", {"model": "digits"}, 400, "bad_option"),
        ("resnet50", {"model": "digits"}, 409, "conflict"),
    ],
)
def test_an_alias_that_could_not_be_used_is_refused(
    client: FlaskClient, alias: str, body: dict[str, Any], status: int, code: str
) -> None:
    answer = client.put(f"/v1/aliases/{alias}", json=body)
    assert (answer.status_code, answer.json["code"]) == (status, code)
    assert client.get("/v1/aliases").json == {"aliases": []}


def test_a_job_for_an_alias_bears_the_models_own_name(client: FlaskClient, container: Container) -> None:
    bring_along(container, "vit")
    client.put(f"/v1/aliases/{VIT}", json={"model": "vit"})
    job = client.post("/v1/jobs", data=PHOTOS["tiny"], query_string={"model": VIT})
    assert (job.status_code, job.json["model"]) == (202, {"name": "vit", "version": "1"})


def test_the_aliases_of_a_model_go_with_it(client: FlaskClient, container: Container) -> None:
    bring_along(container, "vit")
    client.put(f"/v1/aliases/{VIT}", json={"model": "vit"})
    assert client.delete("/v1/models/vit").status_code == 204
    assert client.get("/v1/aliases").json == {"aliases": []}
    assert client.post("/v1/jobs", data=PHOTOS["tiny"], query_string={"model": VIT}).status_code == 404


def test_an_alias_answers_on_a_real_stack_with_the_scores_of_its_model(stack: Stack) -> None:
    answer = httpx.put(f"{stack.url}/v1/aliases/{VIT}", json={"model": "digits"})
    assert answer.status_code == 201, answer.text
    assert scores(stack, VIT, PHOTOS["grey"]) == scores(stack, "digits", PHOTOS["grey"])


def test_a_model_is_not_removed_under_the_jobs_that_wait_for_it(client: FlaskClient, container: Container) -> None:
    mine = ModelVersion(
        "v", "default", "mine", "1", "digits", "digits", ModelState.READY, 1.0, labels=("a",), is_default=True
    )
    with container.database.write() as uow:
        uow.model_versions.add(mine)
    files = {"files": (io.BytesIO(PHOTOS["tiny"]), "p.png"), "model": "mine"}
    job = client.post("/v1/jobs", data=files, content_type="multipart/form-data").json
    answer = client.delete("/v1/models/mine")
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    client.delete(f"/v1/jobs/{job['_id']}")
    assert client.delete("/v1/models/mine").status_code == 204


# what an import may ask for


def test_a_check_keeps_a_model_with_another_answer_out(stack: Stack, network: torch.nn.Module, state: Weights) -> None:
    best = max(expected := reference(network, PHOTOS["landscape"]), key=expected.__getitem__)
    other = next(label for label in LABELS if label != best)

    def checked(name: str, *labels: str) -> httpx.Response:
        form = {"name": name, "architecture": "squeezenet1_1", "labels": "\n".join(LABELS), "check_label": labels}
        files = [("weights", ("w", save(state))), *(("check", ("p.png", PHOTOS["landscape"])) for _ in labels)]
        return httpx.post(f"{stack.url}/v1/models", data=form, files=files, timeout=90)

    before = uploads(stack)
    answer = checked("refused", best, other)
    assert f"p.png should be {other!r}, but the answer is {best}" in refused(answer, 400, "bad_weights")
    assert "refused" not in names(stack)
    assert checked("checked", best, best).status_code == 201
    stacks.until(lambda: uploads(stack) == before, 10)  # they are deleted after the version is announced


def test_checks_and_labels_come_in_pairs(stack: Stack, state: Weights) -> None:
    files = [("weights", ("w", save(state))), ("check", ("p.png", PHOTOS["tiny"]))]
    answer = httpx.post(f"{stack.url}/v1/models", data={"name": "pairs"}, files=files, timeout=90)
    assert "1 pictures in check and 0 labels" in refused(answer, 400, "bad_option")
    assert uploads(stack) == []


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"threshold": "1.5"}, "threshold must be a score from 0 to 1"),
        ({"threshold": "0.5"}, "A threshold is for multi_label_classification"),
        ({"problem_type": "regression"}, "problem_type must be one of single_label_classification"),
        ({"state_key": "ema"}, "no set of weights 'ema'"),
        ({"crop_mode": "left"}, "crop_mode must be one of center, squash, border"),
        ({"background": "pink"}, "background must be white, black, none or a colour"),
        ({"scale": "0"}, "scale must be a factor"),
        ({"channel_order": "GBR"}, "channel_order must be one of RGB, BGR"),
        ({"mean": "123,116,103"}, "give scale=1 as well"),
    ],
)
def test_what_an_import_cannot_mean_is_refused_by_name(
    stack: Stack, state: Weights, fields: dict[str, str], complaint: str
) -> None:
    answer = bring(stack, "unfit", save(state), **fields)
    assert (answer.status_code, complaint in answer.json()["detail"]) == (400, True), answer.text
    assert "unfit" not in names(stack)


def test_a_model_with_one_output_has_the_sigmoid_of_its_logit_on_every_wire(stack: Stack) -> None:
    torch.manual_seed(0)
    one = torchvision.models.squeezenet1_1(num_classes=1).eval()
    version = bring(stack, "one", save(one.state_dict()), ["defect"]).json()
    assert (version["problem_type"], version["thresholds"]) == ("multi_label_classification", [])
    picture = PHOTOS["landscape"]
    transforms = torchvision.models.SqueezeNet1_1_Weights.DEFAULT.transforms()
    with torch.inference_mode():
        logit = one(transforms(Image.open(io.BytesIO(picture)).convert("RGB"))[None])[0]
    expected = pytest.approx(torch.sigmoid(logit).item(), abs=1e-4)

    assert scores(stack, "one", picture) == {"defect": expected}
    hugging_face = httpx.post(f"{stack.url}/models/one", content=picture, timeout=60).json()
    assert hugging_face == [{"label": "defect", "score": expected}]


def test_a_check_that_is_no_accepted_picture_is_refused_at_once(stack: Stack, state: Weights) -> None:
    script = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n"
    form = {"name": "scripted", "architecture": "squeezenet1_1", "labels": "\n".join(LABELS), "check_label": "ant"}
    files = [("weights", ("w", save(state))), ("check", ("p.eps", script))]
    answer = httpx.post(f"{stack.url}/v1/models", data=form, files=files, timeout=90)
    assert (answer.json()["code"], "EPS" in answer.json()["detail"]) == ("wrong_format", True)
    assert uploads(stack) == []
