"""The commands on multi-label datasets and their models, against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from rich.console import Console

from inferq.client import connection
from inferq.commands import evidence, promotion
from shared.schemas.datasets import Example
from shared.schemas.promotions import ComparisonReport
from tests.unit.answers import complete, dataset, training_answer
from tests.unit.toy_server import ToyServer, serving

MULTI = "multi_label_classification"
COUNTS = {"true_positives": 4, "false_positives": 2, "false_negatives": 1, "true_negatives": 3}
EVIDENCE: dict[str, Any] = {
    "problem_type": MULTI,
    "accuracy": 0.6,
    "accuracy_interval": [0.31, 0.83],
    "mean_average_precision": 0.912,
    "mean_average_precision_interval": [0.8, 0.97],
    "micro_f1": 0.842,
    "macro_f1": 0.8,
    "cross_validation": {
        "folds": 5, "pictures": 90, "accuracy": None, "accuracy_interval": None, "mean_average_precision": 0.894,
        "mean_average_precision_interval": [0.85, 0.93],
    },
    "labels": ["beach", "sea"],
    "per_label": [
        {"label": "beach", "precision": 0.667, "recall": 0.8, "f1": 0.727, "support": 5, "average_precision": 0.871,
         "threshold": 0.31, **COUNTS},
        {"label": "sea", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0, "average_precision": None,
         "threshold": 0.5, **COUNTS},
    ],
    "mistakes": [
        {"example": 3, "name": "a.jpg", "expected": "", "predicted": "beach", "score": 0.93},
        {"example": 4, "name": "b.jpg", "expected": "beach", "predicted": "", "score": 0.08},
    ],
    "suspects_in_all": 2,
    "suspects": [
        {"example": 5, "name": "c.jpg", "label": "", "suggested": "sea", "score": 0.02},
        {"example": 6, "name": "d.jpg", "label": "beach", "suggested": "", "score": 0.03},
    ],
    "method": "head",
    "examples": {"training": 80, "validation": 10, "test": 10},
}  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ToyServer]:
    monkeypatch.setattr(connection, "EVERY", 0.0)
    with serving() as running:
        yield running


def shown(renderable: object, width: int = 110) -> list[list[str]]:
    """Return the words of each printed line."""
    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as capture:
        console.print(renderable)
    return [line.split() for line in capture.get().splitlines()]


def test_the_summary_begins_with_the_mean_average_precision() -> None:
    lines = shown(evidence.summary(training_answer("DONE", evidence=EVIDENCE)))
    assert lines[0][:3] == ["mAP", "91.2", "%"]
    assert "mean average precision of the labels; probably between 80.0 % and 97.0 %" in " ".join(lines[1])
    assert lines[2][:5] == ["all", "labels", "right", "60.0", "%"]
    assert "89.4 % mAP, probably between 85.0 % and 93.0 %; 90 pictures" in " ".join(lines[4])
    [beach] = [line for line in lines if line[:1] == ["beach"]]
    assert beach[:8] == ["beach", "0.871", "0.31", "1", "2", "0.667", "0.800", "0.727"]
    [sea] = [line for line in lines if line[:1] == ["sea"]]
    assert sea[1:3] == ["–", "0.50"]


def test_the_details_list_single_labels_of_pictures_and_no_confusion_matrix() -> None:
    lines = shown(evidence.details(training_answer("DONE", evidence=EVIDENCE), 110))
    assert ["a.jpg", "–", "beach", "0.930"] in lines
    assert ["b.jpg", "beach", "–", "0.080"] in lines
    assert ["–", "c.jpg", "5", "sea"] in lines
    assert ["beach", "d.jpg", "6", "–"] in lines
    assert "rows: true label" not in str(lines)


def test_a_dataset_says_that_it_is_multi_label_and_what_a_training_needs(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    labels = [{"id": 1, "name": "beach", "examples": 2}]
    ready = dataset("READY", labels=labels, label_count=1, examples=3, problem_type=MULTI)
    server.on("GET /v1/datasets/beaches", (200, {}, ready))
    result = run("datasets", "show", "beaches")
    assert f"READY  {MULTI}  version" in result.stdout
    assert "inferq train" in result.stderr, "one label is enough, as other pictures lack it"
    labels[0]["examples"] = 1
    server.on("GET /v1/datasets/beaches", (200, {}, ready | {"labels": labels}))
    assert "training needs a label with two pictures" in run("datasets", "show", "beaches").stderr


def test_the_type_of_a_dataset_can_be_asked_for(server: ToyServer, run: Callable[..., Result], tmp_path: Path) -> None:
    server.on("POST /v1/datasets", (201, {}, dataset("READY")))
    run("datasets", "create", "beaches", "--label", "beach", "--problem-type", MULTI)
    assert json.loads(server.requests[0].body) == {"name": "beaches", "labels": ["beach"], "problem_type": MULTI}
    (tmp_path / "labels.csv").write_text("file,labels\n")
    server.on("POST /v1/datasets", (202, {}, dataset("READY")))
    server.on("GET /v1/datasets/7", (200, {}, dataset("READY")))
    run("datasets", "create", "beaches", tmp_path, "--problem-type", MULTI)
    assert b'name="problem_type"\r\n\r\nmulti_label_classification' in server.requests[1].body
    assert b"labels.csv" in server.requests[1].body


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        (["beach"], {"label": "beach", "position": 0}),
        (["beach", "sea"], {"labels": ["beach", "sea"], "position": 0}),
        (["--none"], {"labels": [], "position": 0}),
    ],
)
def test_a_correction_names_all_labels_that_the_picture_shows(
    server: ToyServer, run: Callable[..., Result], given: list[str], sent: dict[str, Any]
) -> None:
    server.on("POST /v1/jobs/j1/feedback", (201, {}, complete(Example, id=5, label=None)))
    assert run("feedback", "j1", *given).exit_code == 0
    assert json.loads(server.requests[0].body) == sent


def test_a_correction_without_a_label_is_refused_before_anything_is_sent(
    server: ToyServer, run: Callable[..., Result]
) -> None:
    for given in ([], ["beach", "--none"]):
        result = run("feedback", "j1", *given)
        assert (result.exit_code, "--none for none of a multi-label dataset" in result.stderr) == (2, True)
    assert server.requests == []


def test_a_comparison_shows_the_change_of_the_mean_average_precision() -> None:
    def side(version: str, mean: float) -> dict[str, Any]:
        return {"version": version, "accuracy": 0.5, "mean_average_precision": mean, "macro_f1": 0.7, "per_label": [],
                "milliseconds": 2.0}  # fmt: skip

    report = {
        "pictures": 40, "left_out": 0, "agreement": 0.5, "only_right": {"candidate": 9, "baseline": 1},
        "mean_average_precision_change": 0.05, "mean_average_precision_change_interval": [0.01, 0.09],
        "verdict": "better", "candidate": side("2", 0.9), "baseline": side("1", 0.85),
    }  # fmt: skip
    verdict = promotion._verdict(msgspec.convert(report, ComparisonReport))
    assert verdict.plain.endswith(": the change of mAP is probably between +1.0 and +9.0 points")
