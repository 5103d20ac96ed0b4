"""rejection_rule.py: the rule of a training is chosen on distances as those of new pictures, and measured piece by
piece."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shared import errors
from shared.domain.datasets import DatasetExample, Source, Split
from shared.domain.rejection import RejectionRequest
from shared.services import rejection
from worker import rejection_fit
from worker.training import rejection_rule
from worker.training.outcome import Unseen
from worker.training.rejection_rule import Chosen, choose, measure

pytestmark = pytest.mark.slow
VERSION = SimpleNamespace(id="v", labels=("a", "b"))


class Blobs:
    """A storage that keeps what is written, and reads `gone` as lost."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}

    def write(self, key: str, data: bytes) -> None:
        self.kept[key] = data

    def read(self, key: str, offset: int = 0, size: int | None = None) -> bytes:
        if key == "gone":
            raise FileNotFoundError(key)
        return key.encode()


class Model:
    """A model that counts the pictures that it holds at once; each has logits and features of its own."""

    version = VERSION
    max_batch = 4

    def __init__(self) -> None:
        self.held = self.most = 0

    def prepare(self, data: bytes) -> torch.Tensor:
        self.held += 1
        self.most = max(self.most, self.held)
        return torch.zeros(1)

    def forward(self, inputs: list[torch.Tensor], task: str) -> torch.Tensor:
        self.held -= len(inputs)
        return torch.tensor([4.0, 0.0, 1.0, 0.5]).repeat(len(inputs), 1)


def example(number: int, label: int = 1, fingerprint: int | None = None, blob: str = "b") -> DatasetExample:
    return DatasetExample(1, number, label, "ab"[label - 1], f"{number}.png", Split.OPEN, Source.UPLOAD,
                          f"{number:064x}", blob, 0, 1, 1, 0.0, fingerprint=fingerprint)  # fmt: skip


def chosen(monkeypatch: pytest.MonkeyPatch, fingerprints: list[int | None], rows: torch.Tensor) -> Chosen:
    examples = tuple(example(number, 1 + number % 2, mark) for number, mark in enumerate(fingerprints))
    truths = torch.tensor([given.label_id - 1 for given in examples])
    trained: Any = SimpleNamespace(
        unseen=Unseen(examples, 8.0 * torch.nn.functional.one_hot(truths, 2), truths), learned=examples
    )
    monkeypatch.setattr(rejection_rule, "features", lambda storage, model, given, on_progress: rows)
    found = choose(Blobs(), Model(), trained, 1.0, 0.9, "", lambda message: None)  # type: ignore[arg-type]
    assert isinstance(found, Chosen)
    return found


def test_near_duplicates_do_not_make_known_pictures_look_nearer_than_new_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each picture is there eight times; measured from its own copies it would be at no distance."""
    generator, marks = torch.Generator().manual_seed(0), random.Random(0)
    rows = torch.randn(24, 16, generator=generator).repeat_interleave(8, dim=0)
    fingerprints = [marks.getrandbits(63) for _ in range(24)]
    found = chosen(monkeypatch, [mark for mark in fingerprints for _ in range(8)], rows)
    assert (found.rule.max_distance or 0.0) > 0.3


def test_near_duplicates_do_not_make_the_pictures_of_a_dataset_look_nearer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a rule that is fitted later: each picture is there four times."""
    features = torch.randn(24, 16, generator=torch.Generator().manual_seed(0)).repeat_interleave(4, dim=0)
    marks = random.Random(0)
    fingerprints = [mark for mark in (marks.getrandbits(63) for _ in range(24)) for _ in range(4)]
    examples = [example(number, 1 + number % 2, mark) for number, mark in enumerate(fingerprints)]
    logits = 8.0 * torch.nn.functional.one_hot(torch.arange(96) % 2, 2)
    monkeypatch.setattr(rejection, "get_pictures", lambda *about: examples)
    monkeypatch.setattr(rejection_fit, "run_dataset", lambda *about: torch.cat([logits, features], dim=1))
    monkeypatch.setattr(rejection_fit, "_keep_distances", lambda *about: None)
    worker: Any = SimpleNamespace(container=SimpleNamespace(storage=Blobs()))
    version: Any = SimpleNamespace(id="v", labels=("a", "b"), has_features=True)
    model: Any = Model()
    rule = rejection_fit.fit(worker, version, model, RejectionRequest(0.9, 1))
    assert (rule.max_distance or 0.0) > 0.3


def test_test_pictures_are_in_memory_batch_by_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = chosen(monkeypatch, [None] * 40, torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    read: list[int] = []
    model = Model()

    def counted(storage: object, given: DatasetExample) -> bytes:
        read.append(model.held)
        return b""

    monkeypatch.setattr(rejection_rule, "read", counted)
    test = [example(number) for number in range(20)]
    blobs: Any = Blobs()
    loaded: Any = model
    found, distances = measure(rule, blobs, loaded, test, torch.zeros(20), {}, 0.9, lambda message: None)
    assert found["pictures"] == len(read) == 20
    assert distances is not None
    assert distances.shape == (20,)
    assert max(read) < model.max_batch
    assert read[4] == 0, "a batch is read when the one before has run"


def test_a_dataset_that_is_removed_meanwhile_does_not_fail_a_training(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = chosen(monkeypatch, [None] * 40, torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    foreign = {"cups": [example(1), example(2, blob="gone")], "noise": [example(3)], "away": [example(4, blob="gone")]}
    blobs: Any = Blobs()
    model: Any = Model()
    found, _ = measure(rule, blobs, model, [example(0)], torch.zeros(1), foreign, 0.9, lambda message: None)
    kinds = [(row["kind"], row["pictures"]) for row in found["foreign"]]
    assert kinds == [("noise", 16), ("text", 16), ("plain", 16), ("gradient", 16), ("cups", 1), ("noise", 1)]


def test_a_test_picture_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = chosen(monkeypatch, [None] * 40, torch.randn(40, 2, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(errors.NotFound, match="example 7"):
        measure(
            rule, Blobs(), Model(), [example(7, blob="gone")], torch.zeros(1), {}, 0.9,  # type: ignore[arg-type]
            lambda message: None,
        )  # fmt: skip
