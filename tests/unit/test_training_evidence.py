"""Calibration, evidence and its plots: right numbers, plain JSON, valid pictures."""

from __future__ import annotations

import io
import json
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from sklearn import metrics

from shared.domain.datasets import DatasetExample, Source, Split
from shared.schemas.evidence import Evidence
from worker.training import calibration, plots
from worker.training.evidence import MOST_MISTAKES, evidence

pytestmark = pytest.mark.slow

CURVE = [
    {"stage": "head", "epoch": 1, "train_loss": 0.9, "train_accuracy": 0.5, "validation_loss": None,
     "validation_accuracy": None},
    {"stage": "fine-tuning", "epoch": 1, "train_loss": None, "train_accuracy": 0.6, "validation_loss": 0.8,
     "validation_accuracy": 0.7},
]  # fmt: skip


def answers(count: int, classes: int, sharpness: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are mostly right and far too confident."""
    chance = torch.Generator().manual_seed(0)
    truths = torch.randint(0, classes, (count,), generator=chance)
    logits = torch.randn(count, classes, generator=chance)
    logits[torch.arange(count), truths] += 2
    return sharpness * logits, truths


def made_up_evidence(count: int = 300, classes: int = 5, labels: list[str] | None = None) -> dict[str, Any]:
    logits, truths = answers(count, classes)
    examples = [example(number) for number in range(count)]
    names = labels or [f"label {number}" for number in range(classes)]
    return evidence(logits, truths, names, examples, calibration.temperature(logits, truths)) | {"curve": CURVE}


def example(number: int) -> DatasetExample:
    return DatasetExample(1, number, 1, "", f"{number}.jpg", Split.TEST, Source.UPLOAD, "", "", 0, 0, 1, 0.0)


def test_a_temperature_mends_scores_that_are_too_sure() -> None:
    (logits, truths), half = answers(4000, 5), 2000
    temperature = calibration.temperature(logits[:half], truths[:half])
    before, after = (
        calibration.error(calibration.reliability(logits[half:], truths[half:], divisor))
        for divisor in (1.0, temperature)
    )
    assert temperature > 1.5
    assert after < before / 2


def test_with_the_temperature_the_mean_score_is_the_accuracy() -> None:
    logits, truths = answers(2000, 4)
    temperature = calibration.temperature(logits, truths)
    scores = softmax(logits.double().numpy() / temperature, axis=1)
    assert scores.max(axis=1).mean() == pytest.approx(metrics.accuracy_score(truths, scores.argmax(axis=1)), abs=1e-3)


def test_a_temperature_is_left_out_where_chance_explains_the_difference() -> None:
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(60, 4, generator=generator)
    truths = torch.multinomial(logits.softmax(dim=1), 1, generator=generator)[:, 0]  # calibrated by their making
    assert calibration.temperature(logits, truths) == 1.0


def test_too_few_pictures_give_no_temperature() -> None:
    logits, truths = answers(calibration.FEWEST - 1, 3)
    assert calibration.temperature(logits, truths) == 1.0


def test_a_few_pictures_that_are_all_right_do_not_make_scores_certain() -> None:
    truths = torch.arange(2000) % 2
    logits = torch.nn.functional.one_hot(truths).float()
    few, many = (calibration.temperature(logits[:count], truths[:count]) for count in (12, 2000))
    assert calibration.COOLEST <= many < 0.2
    assert 0.3 < few < 1.0


def test_bins_hold_every_picture_once() -> None:
    logits, truths = answers(100, 3)
    bins = calibration.reliability(logits, truths)
    assert len(bins) == 15
    assert sum(bin_.count for bin_ in bins) == 100
    assert all(bin_.low < bin_.confidence <= bin_.high + 1e-9 for bin_ in bins if bin_.count)


def test_evidence_agrees_with_scikit_learn() -> None:
    logits, truths = answers(300, 5)
    computed, predicted = made_up_evidence(), logits.argmax(1)
    rows = metrics.precision_recall_fscore_support(truths, predicted)
    for name, expected in zip(("precision", "recall", "f1", "support"), rows, strict=True):
        assert [row[name] for row in computed["per_label"]] == pytest.approx(list(expected))
    assert computed["accuracy"] == pytest.approx(metrics.accuracy_score(truths, predicted))
    assert computed["macro_f1"] == pytest.approx(metrics.f1_score(truths, predicted, average="macro"))
    assert computed["confusion"] == metrics.confusion_matrix(truths, predicted).tolist()


def test_evidence_is_plain_json_even_where_nothing_can_be_computed() -> None:
    logits = torch.tensor([[2.0, 1.0, 0.0], [2.0, 1.0, 0.0]])
    computed = evidence(logits, torch.tensor([0, 1]), ["a", "b", "c"], [example(1), example(2)], 1.0)
    json.dumps(computed, allow_nan=False)
    assert computed["per_label"][1]["precision"] == computed["per_label"][2]["recall"] == 0.0
    assert computed["macro_f1"] == pytest.approx(1 / 3)
    empty = evidence(logits[:0], torch.tensor([], dtype=torch.int64), ["a", "b", "c"], [], 1.0)
    json.dumps(empty, allow_nan=False)
    assert empty["accuracy"] == 0.0


def test_evidence_is_what_the_api_declares_also_where_an_epoch_has_no_finite_loss() -> None:
    declared = msgspec.convert(made_up_evidence() | {"method": "fine-tuned"}, Evidence)
    assert [epoch.train_loss for epoch in declared.curve] == [0.9, None]


def test_mistakes_are_listed_the_most_confident_first_and_not_without_end() -> None:
    computed = made_up_evidence(count=2000)
    scores = [mistake["score"] for mistake in computed["mistakes"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == MOST_MISTAKES < computed["mistakes_in_all"]
    assert all(mistake["expected"] != mistake["predicted"] for mistake in computed["mistakes"])
    assert computed["mistakes"][0]["name"] == f"{computed['mistakes'][0]['example']}.jpg"


def strange() -> dict[str, Any]:
    return made_up_evidence(classes=3, labels=["$x^2$ & <b>", "a label that is too long to be shown whole", "猫\n\t"])


def test_plots_are_valid_svg_and_png_and_the_same_bytes_each_time() -> None:
    first, again = plots.render(strange()), plots.render(strange())

    assert first == again
    assert set(first) == {f"{name}.{kind}" for name in ("confusion", "curve", "reliability") for kind in ("svg", "png")}
    for name, data in first.items():
        if name.endswith(".svg"):
            assert ElementTree.fromstring(data).tag.endswith("svg")
        else:
            picture = Image.open(io.BytesIO(data))
            picture.load()
            assert picture.format == "PNG"
            assert min(picture.size) > 300
    assert "猫".encode() in first["confusion.svg"]


def test_very_many_labels_and_no_epochs_can_be_drawn() -> None:
    assert plots.confusion_matrix(made_up_evidence(600, 130), "svg")
    assert plots.learning_curve([], "svg")
