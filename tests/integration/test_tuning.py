"""Tuning: a busy model gets the faster runtime, if that gives the same answers; torch answers whatever fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from shared import errors
from shared.adapters.queue.queue import Queue
from shared.container import Container
from shared.domain import lock_names
from shared.domain.engines import EngineErrors, converted_folder, converted_key, failure_key
from shared.domain.jobs import BOTH
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import ModelVersion
from shared.services import engines, models
from tests.stacks import digits
from tests.workers import make_container
from worker import conversions, openvino_conversion, openvino_network, tuning
from worker.cuda_trial import CudaTrial, Plain
from worker.engine import Loaded
from worker.openvino_network import Examples, OpenVinoNetwork
from worker.process import WorkerProcess
from worker.tuning import BUSY_PICTURES

pytestmark = pytest.mark.slow

LIBRARY = openvino_network.version()
RATES = {"torch": 10.0, "openvino": 100.0, "openvino bfloat16": 200.0}
WRONG = EngineErrors(difference=0.002, score_difference=0.03, agreement=0.98)


@pytest.fixture
def container(checked: Path, tmp_path: Path, valkey_queue: Queue) -> Iterator[Container]:
    shutil.copytree(checked, tmp_path / "data")
    container = make_container(tmp_path / "data", valkey_queue)
    yield container
    container.waiters.close()


@pytest.fixture
def worker(container: Container, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A worker whose conversions run in this process, and which finds OpenVINO ten times as fast as torch."""

    def run(command: list[str], **options: Any) -> Any:
        code = conversions.attempt(openvino_conversion.work, Path(command[-1]))
        return type("Done", (), {"returncode": code, "stderr": b""})

    monkeypatch.setattr("worker.conversions.subprocess.run", run)
    monkeypatch.setattr(tuning, "measure", lambda model, candidates: RATES)
    made = WorkerProcess(container)
    yield made
    made.tuner.close()


@pytest.fixture
def version(container: Container) -> ModelVersion:
    return models.get_version(container, DEFAULT_TENANT, "digits")


@pytest.fixture
def model(worker: WorkerProcess, version: ModelVersion) -> Loaded:
    return worker.engine.load(version)


def tune(worker: WorkerProcess, model: Loaded) -> None:
    """Let the worker consider the model, and wait until its tuner has nothing to do."""
    worker.tuner.consider(model)
    worker.tuner._thread.submit(lambda: None).result(60)


def answers(model: Loaded, task: str = "classify") -> torch.Tensor:
    return model.forward([model.prepare(data) for _, data in digits()], task)


def test_a_model_that_is_hardly_used_stays_with_torch(worker: WorkerProcess, model: Loaded) -> None:
    answers(model)
    tune(worker, model)
    assert (model.runtime, model.tune_at) == ("torch", BUSY_PICTURES)
    assert worker.container.storage.list(converted_folder(model.version.id)) == []


def test_a_busy_model_gets_the_faster_runtime_with_the_same_answers(worker: WorkerProcess, model: Loaded) -> None:
    logits, features = answers(model), answers(model, "features")
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert model.runtime == "openvino"
    assert torch.allclose(answers(model), logits, atol=1e-4 * logits.abs().max().item())
    assert torch.allclose(answers(model, "features"), features, atol=1e-4 * features.abs().max().item())
    assert torch.equal(answers(model, BOTH), torch.cat([answers(model), answers(model, "features")], dim=1))
    assert worker.engine.runtimes() == {model.version.id: "openvino float32 on cpu"}


def test_what_was_measured_is_stored_with_the_version(worker: WorkerProcess, model: Loaded) -> None:
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    report = engines.find_report(worker.container, model.version.id)
    assert report
    assert (report.runtime, report.chosen, report.precision) == ("openvino", "openvino", "exact")
    assert report.pictures_per_second == RATES
    assert report.difference < 1e-4
    assert (set(report.errors), report.errors["openvino"].agreement) == ({"openvino"}, 1.0)
    assert report.errors["openvino"].score_difference < 1e-4
    assert report.pictures > 40
    assert report.library == f"openvino {LIBRARY}"


@pytest.mark.long
def test_another_worker_takes_the_converted_network_with_its_first_batch(
    worker: WorkerProcess, container: Container, version: ModelVersion, model: Loaded
) -> None:
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    other = WorkerProcess(container)
    loaded = other.engine.load(version)
    answers(loaded)
    tune(other, loaded)
    assert loaded.runtime == "openvino"
    other.tuner.close()


def test_a_runtime_that_is_no_faster_is_not_taken(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "measure", lambda model, candidates: {"torch": 100.0, "openvino": 101.0})
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    report = engines.find_report(worker.container, model.version.id)
    assert report
    assert (model.runtime, report.runtime) == ("torch", "torch")


def test_a_runtime_with_other_answers_is_not_taken(
    worker: WorkerProcess, container: Container, version: ModelVersion, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    monkeypatch.setattr(OpenVinoNetwork, "errors", lambda *_, **__: WRONG)
    other = WorkerProcess(container)
    loaded = other.engine.load(version)
    answers(loaded)
    tune(other, loaded)
    other.tuner.close()
    report = engines.find_report(container, version.id)
    assert report
    assert (loaded.runtime, report.runtime, report.chosen, report.difference) == ("torch", "torch", "torch", 0.002)


def test_a_network_that_cannot_be_converted_is_not_tried_again(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OpenVinoNetwork, "errors", lambda *_, **__: WRONG)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    storage = worker.container.storage
    assert storage.list(converted_folder(model.version.id)) == [failure_key(model.version.id, LIBRARY)]
    monkeypatch.undo()
    model.tune_at = 0
    tune(worker, model)
    assert model.runtime == "torch"


def test_the_pictures_of_a_training_are_the_example_set_beside_the_example(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuning, "example_pictures", lambda container, version: [data for _, data in digits()] * 2)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    report = engines.find_report(worker.container, model.version.id)
    assert report
    assert (report.runtime, report.pictures) == ("openvino", 5 + 20)


# the precision `fast`


@pytest.fixture
def fast(container: Container, worker: WorkerProcess, monkeypatch: pytest.MonkeyPatch) -> Iterator[WorkerProcess]:
    """A worker of the precision `fast`, on a processor with bfloat16."""
    monkeypatch.setattr(openvino_network, "has_bfloat16", lambda: True)
    made = WorkerProcess(replace(container, settings=container.settings.changed(precision="fast")))
    yield made
    made.tuner.close()


GOOD = EngineErrors(difference=0.01, score_difference=0.02, agreement=0.99)


@pytest.mark.long
@pytest.mark.parametrize(
    ("bfloat16", "scaled", "chosen", "runs"),
    [
        (GOOD, GOOD, "openvino bfloat16, scaled decoding", "openvino bfloat16 on cpu"),
        (GOOD, replace(GOOD, agreement=0.98), "openvino bfloat16", "openvino bfloat16 on cpu"),
        (replace(GOOD, score_difference=0.021), GOOD, "openvino, scaled decoding", "openvino float32 on cpu"),
        (replace(GOOD, agreement=0.98), replace(GOOD, difference=0.06), "openvino", "openvino float32 on cpu"),
    ],
)
def test_fast_is_what_keeps_the_labels_and_moves_no_score_far(
    fast: WorkerProcess, version: ModelVersion, monkeypatch: pytest.MonkeyPatch, bfloat16: EngineErrors,
    scaled: EngineErrors, chosen: str, runs: str,
) -> None:  # fmt: skip
    exact = OpenVinoNetwork.errors

    def errors(network: OpenVinoNetwork, *arguments: Any, **options: Any) -> EngineErrors:
        if options.get("scaled"):
            return scaled
        return exact(network, *arguments) if network.numbers == "float32" else bfloat16

    monkeypatch.setattr(OpenVinoNetwork, "errors", errors)
    model = fast.engine.load(version)
    model.pictures = BUSY_PICTURES
    tune(fast, model)
    report = engines.find_report(fast.container, version.id)
    assert report
    assert (report.precision, report.chosen, fast.engine.runtimes()[version.id]) == ("fast", chosen, runs)
    assert report.errors["openvino bfloat16"] == bfloat16
    assert report.difference == report.errors[chosen].difference


@pytest.mark.long
def test_fast_answers_of_the_digits_are_right(fast: WorkerProcess, version: ModelVersion) -> None:
    model = fast.engine.load(version)
    exact = answers(model)
    model.pictures = BUSY_PICTURES
    tune(fast, model)
    assert torch.equal(answers(model).argmax(1), exact.argmax(1))


@pytest.mark.long
def test_a_processor_without_bfloat16_tries_float32_alone(
    fast: WorkerProcess, version: ModelVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_network, "has_bfloat16", lambda: False)
    model = fast.engine.load(version)
    model.pictures = BUSY_PICTURES
    tune(fast, model)
    report = engines.find_report(fast.container, version.id)
    assert report
    assert model.numbers == "float32"
    assert "openvino bfloat16" not in report.errors


def test_a_conversion_that_was_killed_is_tried_again_later(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed = type("Done", (), {"returncode": -9, "stderr": b""})
    monkeypatch.setattr("worker.conversions.subprocess.run", lambda *_, **__: killed)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert worker.container.storage.list(converted_folder(model.version.id)) == []
    assert (model.runtime, model.tune_at) == ("torch", 2 * BUSY_PICTURES)


def test_a_full_disk_does_not_end_the_tuning_of_a_model(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.conversions.run", full)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert (model.runtime, model.tune_at) == ("torch", 2 * BUSY_PICTURES)


def test_an_unreachable_storage_does_not_end_the_tuning_of_a_model(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unreachable(folder: str) -> list[str]:
        raise errors.Unavailable("The storage does not answer.")

    monkeypatch.setattr(worker.container.storage, "list", unreachable)
    answers(model)
    tune(worker, model)
    assert model.tune_at == model.pictures + BUSY_PICTURES


@pytest.mark.long
def test_a_version_that_is_removed_during_its_conversion_leaves_nothing(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.tuning.models.find_version_by_id", lambda container, version_id: None)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert worker.container.storage.list(converted_folder(model.version.id)) == []


@pytest.mark.long
@pytest.mark.parametrize("broken", ["logits", "features"])
def test_answers_that_are_no_numbers_are_other_answers(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    stored = worker.container.storage.read(converted_key(model.version.id, LIBRARY))
    real = OpenVinoNetwork._run

    def run(network: OpenVinoNetwork, pixels: torch.Tensor) -> list[torch.Tensor]:
        found = real(network, pixels)
        found[("logits", "features").index(broken)][0, 0] = float("nan")
        return found

    monkeypatch.setattr(OpenVinoNetwork, "_run", run)
    found = OpenVinoNetwork(stored, 1).errors(Examples(stored, model.preprocessing), torch.sigmoid)
    assert (found.are_exact, found.are_fast, found.difference) == (False, False, 1.0)


@pytest.mark.long
def test_other_models_make_room_for_the_second_network(worker: WorkerProcess, model: Loaded) -> None:
    worker.engine._kept["other"] = model
    limit = int(2.5 * model.bytes)
    worker.engine._settings = worker.engine._settings.changed(model_memory=limit)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert list(worker.engine._kept) == [model.version.id]


def test_one_worker_converts_and_the_others_look_again_later(worker: WorkerProcess, model: Loaded) -> None:
    model.pictures = BUSY_PICTURES
    with worker.container.queue.locks.renewed(lock_names.conversion(model.version.id)) as held:
        assert held
        tune(worker, model)
    assert (model.runtime, model.tune_at) == ("torch", 2 * BUSY_PICTURES)


def test_a_damaged_converted_network_leaves_torch_answering(worker: WorkerProcess, model: Loaded) -> None:
    worker.container.storage.write(converted_key(model.version.id, LIBRARY), b"no zip")
    answers(model)
    tune(worker, model)
    assert (model.runtime, len(answers(model))) == ("torch", 10)


def test_a_stopping_worker_begins_no_tuning(worker: WorkerProcess, model: Loaded) -> None:
    worker.stop()
    model.pictures = BUSY_PICTURES
    worker.tuner.consider(model)
    assert (model.runtime, worker.container.storage.list(converted_folder(model.version.id))) == ("torch", [])


@pytest.mark.long
def test_two_threads_may_run_the_faster_runtime_at_once(worker: WorkerProcess, model: Loaded) -> None:
    expected = answers(model)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda _: answers(model), range(40)))
    assert model.runtime == "openvino"
    assert all(torch.allclose(one, expected, atol=1e-4 * expected.abs().max().item()) for one in found)


def test_nothing_is_tuned_where_the_setting_says_torch(container: Container, version: ModelVersion) -> None:
    plain = replace(container, settings=container.settings.changed(engine="torch"))
    worker = WorkerProcess(plain)
    model = worker.engine.load(version)
    model.pictures = BUSY_PICTURES
    tune(worker, model)
    assert (model.runtime, plain.storage.list(converted_folder(version.id))) == ("torch", [])


def test_what_was_tried_on_a_card_is_compiled_once_and_stored_with_what_was_refused(
    worker: WorkerProcess, model: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a card")
    plain = Plain(nn.Identity(), "", model.preprocessing, model.forward, torch.sigmoid)
    model.trial = trial = CudaTrial(plain, [model.prepare(digits()[0][1])], 1)
    trial.refused["graphs float32"] = "It cannot be recorded."
    compiled: list[CudaTrial] = []

    def compile_it(tried: CudaTrial) -> None:
        compiled.append(tried)

    monkeypatch.setattr(CudaTrial, "compile", compile_it)
    tune(worker, model)
    tune(worker, model)
    assert compiled == [trial]
    report = engines.find_report(worker.container, model.version.id)
    assert report
    assert (report.runtime, report.chosen, report.processor) == ("torch", "torch", "a card")
    assert report.refused == {"graphs float32": "It cannot be recorded."}


def test_the_measurement_counts_pictures_of_both_in_turn(worker: WorkerProcess, model: Loaded) -> None:
    order: list[str] = []
    model.run_with_torch = lambda batch, task="": order.append("torch")  # type: ignore[method-assign,assignment,return-value]
    ticks = iter(range(1000))
    candidates = {"openvino": lambda batch: order.append("openvino")}
    measured = measure(model, candidates, lambda: next(ticks))
    assert order[:6] == ["torch", "openvino"] * 3
    assert measured["torch"] == measured["openvino"] > 0


def test_openvino_reports_nothing_to_anybody() -> None:
    code = (
        "import sys; from worker.openvino_network import library; library().Core(); import openvino.tools.ovc; "
        "print([name for name, module in sys.modules.items() if name.startswith('openvino_telemetry') and module])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"


ROOT = Path(__file__).parents[2]
measure = tuning.measure
"""The real one, before a fixture replaces it."""
