"""The rejection rule of a fine-tuned network: new pictures of the kinds that it has learned are near enough, foreign
ones are not, although its features were fitted to all pictures that the rule could be measured on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from shared.domain.datasets import DatasetExample, Source, Split
from shared.domain.trainings import TrainingParameters
from worker.training import fine_tuning, material, rejection_rule
from worker.training.fine_tuning import Trial, fine_tune
from worker.training.material import Part, compute_features
from worker.training.outcome import TrainedNetwork, Unseen
from worker.training.rejection_rule import choose
from worker.training.stage_epochs import FINE_TUNING, REFIT

pytestmark = pytest.mark.slow
WIDTH, KINDS, LEARNED, NEW = 200, 2, 90, 400
_COMMON = KINDS
"""The number that is high in all pictures of the kinds, and very low in foreign ones."""


def drawn(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pictures as rows of numbers (N, D), and their labels (N,), of which a fifth is wrong: what a network can
    learn of these is that very picture."""
    generator = torch.Generator().manual_seed(seed)
    kinds = torch.arange(count) % KINDS
    each = torch.eye(WIDTH)
    rows = 0.2 * torch.randn(count, WIDTH, generator=generator) + each[kinds] + each[_COMMON]
    return rows, torch.where(torch.rand(count, generator=generator) < 0.2, 1 - kinds, kinds)


def foreign(count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(77)
    return 0.2 * torch.randn(count, WIDTH, generator=generator) - 20 * torch.eye(WIDTH)[_COMMON]


PICTURES: dict[int, torch.Tensor] = {}
"""The numbers of each example by its id."""


class Learner:
    """Gradient descent until the network knows every picture by heart: their features then lie around their labels."""

    best_epoch, improved = 1, True

    def __init__(self, network: nn.Module, part: Part) -> None:
        self._network = network.requires_grad_(True)
        self._rows = torch.stack([PICTURES[example.id] for example in part.examples])
        self._labels = part.labels

    def run(self) -> None:
        optimizer = torch.optim.Adam(self._network.parameters(), lr=0.003)
        for _ in range(100):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(self._network(self._rows), self._labels)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def result(self) -> nn.Module:
        return self._network.eval().requires_grad_(False)


def learned() -> Part:
    rows, labels = drawn(LEARNED, 1)
    PICTURES.update(enumerate(rows))
    examples = tuple(
        DatasetExample(1, number, label, str(label), f"{number}.png", Split.OPEN, Source.UPLOAD, f"{number:064x}", "b",
                       0, 1, 1, 0.0)
        for number, label in enumerate(labels.tolist())
    )  # fmt: skip
    return Part(examples, rows, labels)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A training with a rule, whose pictures are rows of numbers, and whose stages are those of Learner; `stages` are
    those that ran, each with what its checkpoint keeps of an earlier one."""

    def batches(
        storage: object, progress: object, examples: Sequence[DatasetExample], preprocessing: object
    ) -> Iterator[torch.Tensor]:
        yield torch.stack([PICTURES[example.id] for example in examples])

    def run_epochs(
        run: Any, stage: str, learner: Learner, span: object, notes: Mapping[str, torch.Tensor] | None = None
    ) -> str:
        run.stages[stage] = notes
        learner.run()
        return "epochs"

    def learner(
        storage: object, run: object, frozen: object, network: nn.Module, parts: tuple[Part, Part], *about: object
    ) -> Learner:
        return Learner(network, parts[0])

    monkeypatch.setattr(material, "batches", batches)
    monkeypatch.setattr(fine_tuning, "run_epochs", run_epochs)
    monkeypatch.setattr(fine_tuning, "_learner", learner)
    checkpoints = SimpleNamespace(stage="", tensors={}, curve=[], add_seconds=lambda stage, began: None)
    parameters = TrainingParameters(fine_tune="always", reject_below_precision=0.8)
    return SimpleNamespace(
        training=SimpleNamespace(parameters=parameters, base="toy"), checkpoints=checkpoints, progress=None, stages={},
        cancellation=SimpleNamespace(out_of_time=False),
    )  # fmt: skip


def tuned(run: Any) -> TrainedNetwork:
    """Return the network that has learned all pictures, after a trial on two thirds of them."""
    everything = learned()
    third = torch.arange(LEARNED) // KINDS % 3
    most, judges = (everything.choose(chosen.nonzero()[:, 0]) for chosen in (third != 0, third == 0))
    trial = Trial(most, judges, everything, (torch.zeros(KINDS, 64), torch.zeros(KINDS)))
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, KINDS)).requires_grad_(False)
    nothing: Any = None
    frozen = TrainedNetwork(
        network, "toy", nothing, "head", "", "", 0, None, 1.0, None,
        Unseen(everything.examples, torch.zeros(LEARNED, KINDS), everything.labels), everything.examples,
    )  # fmt: skip
    return fine_tune(nothing, run, frozen, lambda: trial, torch.device("cpu"))


def chosen(trained: TrainedNetwork, monkeypatch: pytest.MonkeyPatch) -> rejection_rule.Chosen:
    """Return the rule of a network whose answers are right, so that the distance alone decides."""

    def features(storage: Any, model: object, examples: Sequence[DatasetExample], on_progress: object) -> torch.Tensor:
        return compute_features(storage, None, trained.network, examples, None)  # type: ignore[arg-type]

    monkeypatch.setattr(rejection_rule, "features", features)
    right = replace(trained.unseen, logits=8.0 * nn.functional.one_hot(trained.unseen.truths, KINDS))
    storage: Any = SimpleNamespace(write=lambda key, data: None)
    model: Any = SimpleNamespace(version=SimpleNamespace(id="v"))
    found = choose(storage, model, replace(trained, unseen=right), 1.0, 0.8, "", lambda message: None)
    assert isinstance(found, rejection_rule.Chosen)
    return found


def share_within(found: rejection_rule.Chosen, trained: TrainedNetwork, rows: torch.Tensor) -> float:
    features = nn.Sequential(*list(trained.network.children())[:-1])(rows)
    assert found.rule.max_distance is not None
    return float((found.bank.distances(features) <= found.rule.max_distance).double().mean())


def test_new_pictures_are_near_enough_and_foreign_ones_are_not(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """96 % of known pictures are to be near enough; of the distances in features that were fitted to the pictures
    themselves follows a rule that turns a third of new ones away."""
    trained = tuned(run)
    assert list(run.stages) == [FINE_TUNING, REFIT]
    found = chosen(trained, monkeypatch)
    assert share_within(found, trained, drawn(NEW, 2)[0]) > 0.9
    assert share_within(found, trained, foreign(NEW)) < 0.1


def test_the_distances_of_the_trial_are_kept_for_a_trainer_that_resumes_after_it(run: Any) -> None:
    first = tuned(run).unseen
    assert first.distances is not None
    run.checkpoints.stage, run.checkpoints.tensors = REFIT, run.stages[REFIT]
    run.stages.clear()
    again = tuned(run).unseen
    assert list(run.stages) == [REFIT]
    assert again.distances is not None
    assert torch.equal(again.distances, first.distances)


def test_the_trial_is_repeated_if_a_checkpoint_lacks_the_distances(run: Any) -> None:
    tuned(run)
    kept = {name: tensor for name, tensor in run.stages[REFIT].items() if "distances" not in name}
    run.checkpoints.stage, run.checkpoints.tensors = REFIT, kept
    run.stages.clear()
    assert tuned(run).unseen.distances is not None
    assert list(run.stages) == [FINE_TUNING, REFIT]


def test_no_distance_is_measured_without_a_rule(run: Any) -> None:
    run.training.parameters = TrainingParameters(fine_tune="always")
    assert tuned(run).unseen.distances is None
    assert "trial.distances" not in run.stages[REFIT]
