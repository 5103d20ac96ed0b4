"""Exports of models: what comes out goes in again, with the same scores, in either format."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import timm
import torch
import torchvision
import transformers
from flask.testing import FlaskClient
from safetensors.torch import save
from torch import nn
from werkzeug.test import TestResponse

from shared import errors
from shared.adapters.pauses import run
from shared.container import Container
from shared.domain.jobs import AnswerOptions, Status, Submission
from shared.domain.keys import Caller
from shared.domain.model_exports import ExportFormat, conversion_key, failure_key, labels_text
from shared.domain.models import ALL_TENANTS, ImportOptions, ModelImport, ModelState, ModelVersion, ProblemType
from shared.domain.preprocessing import PreprocessingRequest, to_values
from shared.domain.trainings import SCRATCH, Training, TrainingParameters
from shared.services import absences, datasets, jobs, keys, model_exports, models, trainings
from tests.unit import graphs
from worker import conversions, examination, model_check, model_export, onnx_conversion
from worker.process import WorkerProcess

pytestmark = pytest.mark.slow

LABELS = ("ant", "bee", "cat")
OWNER = Caller("default", ("infer", "models", "keys"))
SMALL = PreprocessingRequest(values={"resize": 72, "crop": 64, "mean": [0.5], "std": [0.25]})


@pytest.fixture
def worker(container: Container, monkeypatch: pytest.MonkeyPatch) -> WorkerProcess:
    """A worker that converts as soon as it is asked to; its conversions run in this process, which saves seconds."""
    made = WorkerProcess(container)

    def send_task(task: str, *arguments: str) -> bool:
        if task == "export":
            model_export.export(made, *arguments)
        return True

    def run(command: list[str], **options: Any) -> Any:
        code = conversions.attempt(onnx_conversion.work, Path(command[-1]))
        return type("Done", (), {"returncode": code, "stderr": b""})

    container.queue.notifications.send_task = send_task  # type: ignore[method-assign]
    monkeypatch.setattr("worker.conversions.subprocess.run", run)
    return made


def imported(
    worker: WorkerProcess, name: str, data: bytes, *, architecture: str = "", labels: tuple[str, ...] = (),
    preprocessing: PreprocessingRequest | None = None, options: ImportOptions | None = None,
) -> ModelVersion:  # fmt: skip
    """Import a file as a worker does, and return the checked version."""
    container = worker.container
    container.storage.write(f"uploads/{name}", data)
    wanted = ModelImport(f"uploads/{name}", labels, preprocessing, options)
    added = models.add(container, "default", name, architecture=architecture, imported=wanted)
    model_check.check(worker, added.id)
    checked = models.find_version_by_id(container, added.id)
    assert checked is not None
    assert checked.state is ModelState.READY, checked.reason
    return checked


def weights_of(network: nn.Module) -> bytes:
    with torch.no_grad():
        for parameter in network.parameters():  # spread, so that scores differ
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return save({name: tensor.contiguous().clone() for name, tensor in network.state_dict().items()})


def from_torchvision(worker: WorkerProcess) -> ModelVersion:
    torch.manual_seed(1)
    network = torchvision.models.squeezenet1_1(num_classes=3)
    return imported(worker, "mine", weights_of(network), architecture="squeezenet1_1", labels=LABELS,
                    preprocessing=SMALL)  # fmt: skip


def from_timm(worker: WorkerProcess) -> ModelVersion:
    torch.manual_seed(2)
    network = timm.create_model("test_efficientnet", num_classes=3)
    return imported(worker, "mine", weights_of(network), architecture="timm/test_efficientnet", labels=LABELS,
                    preprocessing=SMALL)  # fmt: skip


def from_transformers(worker: WorkerProcess) -> ModelVersion:
    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    pictures = {"image_size": 64, "patch_size": 16, "num_labels": 3, "id2label": dict(enumerate(LABELS))}
    config = transformers.ViTConfig.from_dict(sizes | pictures)
    network = transformers.ViTForImageClassification(config)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("config.json", json.dumps(config.to_dict() | {"architectures": ["ViTForImageClassification"]}))
        packed.writestr("model.safetensors", weights_of(network))
    options = ImportOptions(problem_type=ProblemType.MULTI_LABEL.value, thresholds=(0.2, 0.3, 0.4))
    return imported(worker, "mine", file.getvalue(), preprocessing=SMALL, options=options)


def from_digits(worker: WorkerProcess) -> ModelVersion:
    container = worker.container
    with container.database.write() as uow:
        (digits,) = uow.model_versions.named(ALL_TENANTS, "digits")
        uow.model_versions.save(replace(digits, state=ModelState.CHECKING))
    model_check.check(worker, digits.id)
    checked = models.find_version_by_id(container, digits.id)
    assert checked is not None
    return checked


def from_onnx(worker: WorkerProcess) -> ModelVersion:
    model = graphs.make(tail=[graphs.node("Softmax", "logits", "scores")])
    return imported(worker, "mine", model.SerializeToString(), labels=graphs.LABELS, preprocessing=SMALL)


SOURCES: dict[str, Callable[[WorkerProcess], ModelVersion]] = {
    "torchvision": from_torchvision, "timm": from_timm, "transformers": from_transformers, "digits": from_digits,
    "onnx": from_onnx,
}  # fmt: skip


def exported(client: FlaskClient, version: ModelVersion, kind: str = "", **headers: str) -> TestResponse:
    query = {"format": kind} if kind else {}
    path = f"/v1/models/{version.name}/versions/{version.version}/export"
    return client.get(path, query_string=query, headers=headers)


def unpacked(answer: TestResponse) -> dict[str, bytes]:
    assert answer.status_code == 200, answer.text
    with zipfile.ZipFile(io.BytesIO(answer.data)) as packed:
        assert packed.testzip() is None
        return {name: packed.read(name) for name in packed.namelist()}


def logits(worker: WorkerProcess, version: ModelVersion) -> np.ndarray[Any, Any]:
    loaded = worker.engine.load(version)
    pictures = [examination.example(), noise()]
    found: np.ndarray[Any, Any] = loaded.forward([loaded.prepare(data) for data in pictures]).numpy()
    return found


def noise() -> bytes:
    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(5).integers(0, 256, (90, 130, 3), np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.mark.long
@pytest.mark.parametrize(
    ("source", "kind"), [(source, kind) for source in SOURCES for kind in ("safetensors", "onnx")
                         if (source, kind) != ("onnx", "safetensors")]
)  # fmt: skip
def test_an_exported_version_comes_back_as_it_was(
    source: str, kind: str, worker: WorkerProcess, client: FlaskClient
) -> None:
    version = SOURCES[source](worker)
    answer = exported(client, version, kind)
    files = unpacked(answer)
    assert set(files) == {"inferq.json", "labels.txt", "example.png", f"model.{kind}"}
    again = imported(worker, "again", answer.data)
    for same in ("architecture", "labels", "preprocessing", "problem_type", "thresholds"):
        assert getattr(again, same) == getattr(version, same), same
    if kind == "safetensors":
        assert (again.family, dict(again.config)) == (version.family, dict(version.config))
        assert again.checksum == version.checksum == hashlib.sha256(files["model.safetensors"]).hexdigest()
    np.testing.assert_allclose(logits(worker, again), logits(worker, version), atol=1e-4)
    assert np.ptp(logits(worker, version)) > 0.01


def test_an_exported_graph_comes_back_even_alone(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    graph = unpacked(exported(client, version, "onnx"))["model.onnx"]
    again = imported(worker, "alone", graph)
    assert (again.labels, again.preprocessing, again.family) == (LABELS, version.preprocessing, "onnx")
    onnx.checker.check_model(onnx.load_from_string(graph))
    # And once more, without a second description in its metadata.
    twice = unpacked(exported(client, again, "onnx"))["model.onnx"]
    onnx.checker.check_model(onnx.load_from_string(twice))
    np.testing.assert_allclose(logits(worker, again), logits(worker, version), atol=1e-4)


def test_an_exported_graph_gives_the_logits_of_the_example(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    files = unpacked(exported(client, version, "onnx"))
    described = json.loads(files["inferq.json"])
    loaded = worker.engine.load(version)
    from worker import preprocess

    batch = preprocess.normalise(torch.stack([loaded.prepare(files["example.png"])] * 3), loaded.preprocessing)
    session = onnxruntime.InferenceSession(files["model.onnx"], providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {"pixels": batch.numpy()})
    assert found.shape == (3, 3)  # any number of pictures
    np.testing.assert_allclose(found[0], described["example"]["logits"], atol=1e-4)


def test_the_description_says_what_the_weights_are(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    answer = exported(client, version)
    files = unpacked(answer)
    described = json.loads(files["inferq.json"])
    assert version.preprocessing is not None
    assert version.example is not None
    assert described == {
        "format": 1, "name": "mine", "version": "1", "family": "torchvision", "architecture": "squeezenet1_1",
        "config": {}, "labels": list(LABELS), "problem_type": "single_label_classification", "thresholds": [],
        "preprocessing": json.loads(json.dumps(to_values(version.preprocessing))), "checksum": version.checksum,
        "example": {"picture": "example.png", "logits": list(version.example.logits)},
    }  # fmt: skip
    assert files["labels.txt"] == b"ant\nbee\ncat\n"
    assert answer.headers["Content-Disposition"] == 'attachment; filename="mine-1-safetensors.zip"'
    assert exported(client, version).data == answer.data
    again = exported(client, version, **{"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_the_evidence_of_a_trained_version_goes_with_it(worker: WorkerProcess, client: FlaskClient) -> None:
    version, container = from_torchvision(worker), worker.container
    dataset = datasets.create(container, "default", "birds")
    training = Training(
        id="t", tenant="default", wire="native", name="mine", title="mine", status=Status.DONE, dataset_id=dataset.id,
        dataset_version=1, base=SCRATCH, base_id="", parameters=TrainingParameters(), created_at=1.0, updated_at=2.0,
        version_id=version.id, evidence={"accuracy": 0.9},
    )  # fmt: skip
    with container.database.write() as uow:
        uow.trainings.add(training)
        uow.model_versions.save(replace(version, training_id="t"))
    assert json.loads(unpacked(exported(client, version))["evidence.json"]) == {"accuracy": 0.9}


def test_labels_that_do_not_fit_on_lines_are_written_as_json() -> None:
    assert labels_text(["ant", "bee"]) == "ant\nbee\n"
    assert json.loads(labels_text(["ant\nhill", "bee"])) == ["ant\nhill", "bee"]
    assert json.loads(labels_text([" ant"])) == [" ant"]


def test_an_onnx_file_has_no_tensors_to_export(worker: WorkerProcess, client: FlaskClient) -> None:
    answer = exported(client, from_onnx(worker), "safetensors")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")
    assert "format=onnx" in answer.json["detail"]


def test_an_unknown_format_is_refused(worker: WorkerProcess, client: FlaskClient) -> None:
    answer = exported(client, from_onnx(worker), "tflite")
    assert (answer.status_code, answer.json["code"]) == (400, "bad_option")


def repacked(files: dict[str, bytes], **changes: Any) -> bytes:
    """Return the zip of an export with some values of its description changed."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        for name, data in files.items():
            changed = json.dumps(json.loads(data) | changes).encode() if name == "inferq.json" else data
            packed.writestr(f"birds/{name}", changed)
    return file.getvalue()


HUGE = {"model_type": "vit", "hidden_size": 2**16, "num_attention_heads": 2, "image_size": 64, "patch_size": 16}


@pytest.mark.long
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "has the format 2"),
        ({"family": "onnx"}, "names the family 'onnx'"),
        ({"family": "os"}, "names the family 'os'"),
        ({"preprocessing": {"resize": 64, "crop": 10**6, "mean": [0.5], "std": [0.5]}}, "crop must be"),
        ({"labels": ["ant"]}, "3 outputs, but 1 label was"),
        ({"problem_type": "regression"}, "not as an export"),
        ({"family": "transformers", "architecture": "ViTForImageClassification", "config": HUGE}, "do not belong"),
    ],
)
def test_an_export_that_was_changed_is_refused_with_the_reason(
    changes: dict[str, Any], reason: str, worker: WorkerProcess, client: FlaskClient
) -> None:
    files = unpacked(exported(client, from_torchvision(worker)))
    with pytest.raises(AssertionError, match=reason):
        imported(worker, "again", repacked(files, **changes))
    assert imported(worker, "unchanged", repacked(files)).labels == LABELS


# waiting and failing


@pytest.mark.long
def test_a_request_that_waits_too_long_is_told_to_ask_again(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    sent: list[tuple[str, ...]] = []
    worker.container.queue.notifications.send_task = lambda *task: bool(sent.append(task)) or True  # type: ignore[method-assign, func-returns-value]
    answer = exported(client, version, "onnx")
    assert (answer.status_code, answer.json["code"]) == (409, "model_not_ready")
    assert int(answer.headers["Retry-After"]) >= 1
    assert sent == [("export", version.id)]
    model_export.export(worker, version.id)
    assert exported(client, version, "onnx").status_code == 200
    assert len(sent) == 1


@pytest.mark.long
def test_a_conversion_that_fails_is_told_once_and_can_be_tried_again(
    worker: WorkerProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = from_torchvision(worker)
    with monkeypatch.context() as patched:
        patched.setattr(torch.onnx, "export", lambda *_, **__: 1 / 0)
        answer = exported(client, version, "onnx")
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    assert "torch cannot write it (ZeroDivisionError" in answer.json["detail"]
    assert exported(client, version, "onnx").status_code == 200


@pytest.mark.long
@pytest.mark.parametrize("fault", [errors.Unavailable("It is away."), OSError(28, "No space left on device")])
def test_a_storage_that_is_away_or_a_disk_that_is_full_is_no_fault_of_the_version(
    worker: WorkerProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    def fail(*_: object) -> None:
        raise fault

    version = from_torchvision(worker)
    with monkeypatch.context() as patched:
        patched.setattr("worker.conversions.run", fail)
        answer = exported(client, version, "onnx")
        assert (answer.status_code, answer.json["code"]) == (409, "model_not_ready")
    assert exported(client, version, "onnx").status_code == 200


def test_an_export_whose_weights_the_storage_has_lost_says_so(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    worker.container.storage.delete(version.weights)
    answer = exported(client, version)
    assert (answer.status_code, answer.json["code"]) == (503, "unavailable")
    made = client.application.extensions["inferq"]
    made.absences.forget(version.weights)
    made.absences.note(version.weights, made.now() - absences.WAITED)
    answer = exported(client, version)
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    assert "lost a file" in answer.json["detail"]


def test_a_graph_with_other_answers_is_not_handed_out(
    worker: WorkerProcess, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = from_torchvision(worker)
    plain = onnx_conversion.convert

    def wrong(network: nn.Module, *rest: Any) -> None:
        other = torchvision.models.squeezenet1_1(num_classes=3).eval()
        plain(other, *rest)

    monkeypatch.setattr(onnx_conversion, "convert", wrong)
    answer = exported(client, version, "onnx")
    assert (answer.status_code, "other logits than torch" in answer.json["detail"]) == (409, True)


@pytest.mark.long
def test_a_conversion_runs_in_a_process_of_its_own(worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    version = from_digits(worker)
    model_export.export(worker, version.id)
    found = model_exports.request_weights(worker.container, version, ExportFormat.ONNX)
    assert found.ready, found.failure


@pytest.mark.long
def test_a_worker_converts_one_version_at_a_time(worker: WorkerProcess) -> None:
    version = from_torchvision(worker)
    converting = threading.Thread(target=model_export.export, args=(worker, version.id))
    with conversions._ONE_BY_ONE:
        converting.start()
        converting.join(0.5)
        assert converting.is_alive()
        assert not model_exports.request_weights(worker.container, version, ExportFormat.ONNX).ready
    converting.join(60)
    assert model_exports.request_weights(worker.container, version, ExportFormat.ONNX).ready


@pytest.mark.long
def test_converted_weights_go_with_their_version(worker: WorkerProcess, client: FlaskClient) -> None:
    version, storage = from_torchvision(worker), worker.container.storage
    exported(client, version, "onnx")
    storage.write(failure_key(version.id), b"why")
    assert storage.read(conversion_key(version.id))
    assert client.delete("/v1/models/mine").status_code == 204
    assert storage.list("exports") == []


def test_a_version_that_was_removed_meanwhile_leaves_nothing(worker: WorkerProcess, client: FlaskClient) -> None:
    version, container = from_torchvision(worker), worker.container
    client.delete("/v1/models/mine")
    model_exports.finish(container, version, b"late")
    model_exports.fail(container, version, "late")
    assert container.storage.list("exports") == []


# who may


def test_another_tenant_does_not_see_the_version(worker: WorkerProcess, client: FlaskClient) -> None:
    version = from_torchvision(worker)
    _, own = keys.create(worker.container, OWNER)
    assert exported(client, version, "", Authorization=f"Bearer {own}").status_code == 200
    _, secret = keys.create(worker.container, OWNER, tenant="another", scopes=["infer", "models"])
    answer = exported(client, version, "", Authorization=f"Bearer {secret}")
    assert (answer.status_code, answer.json["code"]) == (404, "not_found")
    shared = exported(client, from_digits(worker), "", Authorization=f"Bearer {secret}")
    assert shared.status_code == 200


# what an ONNX file cannot do


def test_an_onnx_file_is_refused_as_a_base(worker: WorkerProcess) -> None:
    from_onnx(worker)
    with pytest.raises(errors.BadOption, match="ONNX file, which can be run but not trained"):
        trainings.choose_base(worker.container, "default", "mine")


def test_features_are_refused_where_there_are_none(worker: WorkerProcess) -> None:
    version = from_onnx(worker)
    without = {name: value for name, value in version.config.items() if name != "features"}
    with worker.container.database.write() as uow:
        uow.model_versions.save(replace(version, config=without))
    submission = Submission([], model="mine", options=AnswerOptions(task="features"))
    with pytest.raises(errors.BadOption, match="no last layer"):
        run(jobs.submit(worker.container, "default", submission))


def test_an_export_of_absent_weights_is_refused_and_fetches_nothing(worker: WorkerProcess, client: FlaskClient) -> None:
    answer = client.get("/v1/models/resnet50/versions/1/export?format=onnx")
    assert (answer.status_code, answer.json["code"]) == (409, "conflict")
    assert "is absent, not ready. Add the model first." in answer.json["detail"]
    assert models.get_version(worker.container, "default", "resnet50").state is ModelState.ABSENT
