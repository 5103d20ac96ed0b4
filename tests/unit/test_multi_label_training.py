"""What a multi-label training computes: truths, average precision, thresholds, corrections, and its evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn import metrics
from sklearn.linear_model import LogisticRegression
from torch import nn
from torch.profiler import ProfilerActivity, profile

from shared.domain.datasets import DatasetExample, Source, Split
from shared.domain.models import ModelState, ModelVersion, ProblemType
from shared.schemas.evidence import Evidence
from worker import families
from worker.training import average_precision, multi_label_evidence, pipeline, plots, thresholds, truths
from worker.training.cross_validation import cross_validate, folds
from worker.training.head import HeadTraining
from worker.training.logistic_regression import regression
from worker.training.outcome import TrainedNetwork, Unseen
from worker.training.suspects import find_suspect_labels
from worker.training.thresholds import Correction

pytestmark = pytest.mark.slow

LABELS = ["beach", "hill", "lake", "road"]


def answers(count: int, seed: int = 0, labels: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits that are mostly right, and truths, of which the last label is rare."""
    chance = torch.Generator().manual_seed(seed)
    shares = torch.linspace(0.5, 0.08, labels)
    shown = (torch.rand(count, labels, generator=chance) < shares).float()
    logits = 1.5 * torch.randn(count, labels, generator=chance) + 3 * shown - 2
    return logits, shown


def examples(count: int) -> tuple[DatasetExample, ...]:
    return tuple(
        DatasetExample(1, number, 0, "", f"{number}.jpg", Split.TEST, Source.UPLOAD, str(number), "", 0, 0, 1, 0.0)
        for number in range(count)
    )


def largest_allocation(work: Callable[[], object]) -> int:
    """Return the bytes of the largest tensor that the function makes, with those that torch makes inside."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        work()
    return max(int(event.self_cpu_memory_usage) for event in profiled.events())


# truths


def test_pictures_that_have_a_label_weigh_as_much_as_those_that_lack_it_within_bounds() -> None:
    shown = torch.zeros(1000, 3)
    shown[:100, 0] = shown[:900, 1] = shown[:3, 2] = 1
    assert truths.balance(shown, 3).tolist() == pytest.approx([9, 1 / 9, 20])
    assert truths.balance(torch.ones(9, 1), 1).tolist() == pytest.approx([1 / 20])


def test_balance_makes_no_copy_of_the_truths() -> None:
    shown = answers(20_000, labels=50)[1]
    expected = [(len(shown) - having) / having for having in shown.numpy().sum(axis=0, dtype=float)]
    taken = largest_allocation(lambda: truths.balance(shown, 50))
    assert taken < shown.nbytes / 10
    assert truths.balance(shown, 50).tolist() == pytest.approx([min(20, max(1 / 20, each)) for each in expected])


def test_the_stratum_of_a_picture_is_the_rarest_label_that_it_has() -> None:
    shown = torch.tensor([[1.0, 1, 0], [1, 0, 0], [1, 0, 1], [0, 0, 0], [0, 1, 0]])
    assert truths.strata(shown).tolist() == [1, 0, 2, 3, 1]


def test_the_loss_is_the_sum_of_a_binary_cross_entropy_for_each_label() -> None:
    logits, shown = answers(50)
    expected = [
        sum(metrics.log_loss([truth], [score], labels=[0, 1]) for truth, score in zip(*row, strict=True))
        for row in zip(shown.tolist(), expit(logits.double().numpy()), strict=True)
    ]
    assert truths.losses(logits.double(), shown).tolist() == pytest.approx(expected)


def test_every_fold_has_its_share_of_a_rare_label() -> None:
    _, shown = answers(400)
    fold = folds(truths.strata(shown))
    assert sorted(set(fold.tolist())) == [0, 1, 2, 3, 4]
    rare = [int(shown[fold == number, 3].sum()) for number in range(5)]
    assert max(rare) - min(rare) <= 1


# the head


def material(count: int = 300, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (N, 12) and truths (N, 3), of which each label is seen in four features."""
    chance = torch.Generator().manual_seed(seed)
    shown = (torch.rand(count, 3, generator=chance) < torch.tensor([0.5, 0.3, 0.1])).float()
    return shown.repeat_interleave(4, dim=1) + 1.2 * torch.randn(count, 12, generator=chance), shown


def test_the_head_starts_from_a_logistic_regression_for_each_label_as_scikit_learn_has_it() -> None:
    features, shown = material()
    counting = truths.balance(shown, 3)
    weight, bias = regression(features, shown, counting, biased=True)
    for number in range(3):
        weights = np.where(shown[:, number] > 0, float(counting[number]), 1.0)
        theirs = LogisticRegression(C=1.0, tol=1e-8, max_iter=5000).fit(features, shown[:, number], weights)
        assert weight[number].tolist() == pytest.approx(theirs.coef_[0].tolist(), abs=5e-3)
        assert float(bias[number]) == pytest.approx(float(theirs.intercept_[0]), abs=5e-3)


def test_the_head_ranks_new_pictures_as_well_as_scikit_learn() -> None:
    from shared.domain.trainings import TrainingParameters

    (features, shown), (fresh, fresh_shown), (new, new_shown) = material(), material(60, 1), material(2000, 2)
    head = HeadTraining((features, shown), (fresh, fresh_shown), 3, TrainingParameters(epochs=30))
    while not head.finished:
        head.step()
    weight, bias = head.result()
    theirs = np.column_stack([
        LogisticRegression(class_weight="balanced").fit(features, shown[:, number]).decision_function(new)
        for number in range(3)
    ])  # fmt: skip
    mine = metrics.average_precision_score(new_shown, (new @ weight.T + bias).numpy(), average="macro")
    assert mine >= metrics.average_precision_score(new_shown, theirs, average="macro") - 0.01


def test_cross_validation_answers_every_picture_by_a_head_that_has_not_seen_it() -> None:
    features, shown = material()
    crossed = cross_validate(features, shown, 3, biased=True)
    assert crossed is not None
    assert len(crossed.rows) == 300
    mean = metrics.average_precision_score(crossed.truths, crossed.logits.numpy(), average="macro")
    assert 0.5 < mean < 0.99, "better than chance, and not as sure as of pictures that were learned from"


# average precision


def test_average_precision_is_that_of_scikit_learn_with_ties_and_weights() -> None:
    logits, shown = answers(300)
    logits = (logits * 4).round()  # many ties
    found = average_precision.average_precisions(logits, shown)
    expected = metrics.average_precision_score(shown, logits.numpy(), average=None)
    assert found.tolist() == pytest.approx(expected.tolist())
    counts = torch.randint(0, 3, (5, 300), generator=torch.Generator().manual_seed(1))
    weighted = average_precision.average_precisions(logits, shown, counts)
    for row, weights in zip(weighted.tolist(), counts.numpy(), strict=True):
        theirs = metrics.average_precision_score(shown, logits.numpy(), average=None, sample_weight=weights)
        assert row == pytest.approx(theirs.tolist())


def test_a_label_that_no_picture_has_is_no_part_of_the_mean() -> None:
    logits, shown = answers(50)
    shown[:, 1] = 0
    precisions = average_precision.average_precisions(logits, shown)
    assert precisions[1].isnan()
    others = [0, 2, 3]
    assert float(average_precision.mean(precisions)) == pytest.approx(
        metrics.average_precision_score(shown[:, others], logits[:, others].numpy(), average="macro")
    )
    assert average_precision.interval(logits, torch.zeros(50, 4)) == (0.0, 1.0)


def test_the_interval_contains_the_mean_of_all_pictures_in_nineteen_of_twenty_samples() -> None:
    everything = answers(40_000, seed=9)
    truth = float(average_precision.mean(average_precision.average_precisions(*everything)))
    inside = 0
    for start in range(0, 12_000, 120):
        low, high = average_precision.interval(*(tensor[start : start + 120] for tensor in everything))
        inside += low <= truth <= high
    assert inside >= 92


def test_samples_of_many_pictures_are_measured_in_pieces() -> None:
    logits, shown = answers(1000)
    drawn = average_precision.resamples(1000, 4)
    assert len(drawn) == 1000
    found: list[torch.Tensor] = []
    taken = largest_allocation(lambda: found.append(average_precision.average_precisions(logits, shown, drawn)))
    assert taken < drawn.nbytes / 5
    for number in (0, 49, 50, 999):
        theirs = metrics.average_precision_score(shown, logits.numpy(), average=None, sample_weight=drawn[number])
        assert found[0][number].tolist() == pytest.approx(list(theirs))


def test_there_are_fewer_samples_of_very_many_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(average_precision, "_DRAWN", 200_000)
    assert average_precision.resamples(400, 1).shape == (500, 400)
    assert average_precision.resamples(4000, 1).shape == (100, 4000)
    assert average_precision.resamples(4000, 1).sum(dim=1).tolist() == [4000] * 100


def test_a_few_pictures_that_are_all_ranked_rightly_show_little() -> None:
    shown = torch.tensor([[1.0], [1], [1], [0], [0], [0]])
    low, high = average_precision.interval(shown, shown)
    assert low < 0.7
    assert high == 1.0


# thresholds and corrections


def test_a_threshold_gives_the_highest_f1_that_any_gives() -> None:
    logits, shown = answers(300)
    scores = expit(logits.double().numpy())
    for number, threshold in enumerate(thresholds.choose(logits, shown)):
        f1 = [
            metrics.f1_score(shown[:, number], scores[:, number] >= other, zero_division=0)
            for other in (threshold, *scores[:, number])
        ]
        assert f1[0] == pytest.approx(max(f1))


def test_one_picture_that_happens_to_be_ranked_low_does_not_lower_the_threshold() -> None:
    logits = torch.linspace(-3, 3, 200)[:, None]
    shown = (logits > 1).float()
    shown[20] = 1.0  # at a score of 0.08
    [threshold] = thresholds.choose(logits, shown)
    assert threshold == pytest.approx(expit(1), abs=0.02)


def test_without_pictures_every_threshold_is_a_half() -> None:
    assert thresholds.choose(torch.zeros(0, 2), torch.zeros(0, 2)) == (0.5, 0.5)
    assert thresholds.choose(torch.zeros(9, 1), torch.zeros(9, 1)) == (0.5,)


def test_the_weights_of_rare_labels_are_taken_out_of_the_scores() -> None:
    features, shown = material(3000)
    counting = truths.balance(shown, 3)
    weight, bias = regression(features[:1500], shown[:1500], counting, biased=True)
    logits, held = features[1500:] @ weight.T + bias, shown[1500:]
    correction = thresholds.correct(logits, held, counting, biased=True)
    before, after = (expit(found.double().numpy()).mean(axis=0) for found in (logits, correction(logits)))
    shares = held.mean(dim=0).numpy()
    assert abs(before[2] - shares[2]) > 0.1
    assert np.abs(after - shares).max() < 0.03
    assert metrics.log_loss(held[:, 2], expit(correction(logits)[:, 2].numpy())) < metrics.log_loss(
        held[:, 2], expit(logits[:, 2].numpy())
    )
    assert torch.allclose(correction.undone(correction(logits)), logits, atol=1e-5)


def test_a_correction_that_would_make_scores_worse_is_left_out() -> None:
    logits, shown = answers(2000)
    right = torch.logit(shown.mean(dim=0).expand_as(shown).clone(), eps=1e-6)  # what is known without a look
    correction = thresholds.correct(right, shown, torch.tensor([1.0, 2, 9, 20]), biased=True)
    assert correction.shift.tolist() == [0, 0, 0, 0]
    unbiased = thresholds.correct(logits, shown, torch.tensor([1.0, 2, 9, 20]), biased=False)
    assert unbiased.shift.tolist() == [0, 0, 0, 0]


def test_a_few_right_answers_do_not_make_scores_certain() -> None:
    shown = torch.tensor([[1.0, 0], [0, 1]] * 6)
    logits = 6 * shown - 3
    correction = thresholds.correct(logits, shown, torch.ones(2), biased=True)
    having, lacking = (expit(float(correction(logits)[0, number])) for number in (0, 1))
    assert having == pytest.approx(7 / 8, abs=1e-3), "as Platt has it of six pictures"
    assert lacking == pytest.approx(1 / 8, abs=1e-3)


def test_few_pictures_fit_no_temperature_and_the_shift_is_that_of_the_weights() -> None:
    logits, shown = answers(9)
    correction = thresholds.correct(logits, shown, torch.tensor([1.0, 2, 9, 20]), biased=True)
    assert correction.temperature == 1.0
    assert correction.shift.exp().tolist() == pytest.approx([1, 2, 9, 20])


# the evidence


def made_up(count: int = 300) -> tuple[dict[str, Any], torch.Tensor, torch.Tensor, tuple[float, ...]]:
    logits, shown = answers(count)
    chosen = (0.5, 0.3, 0.6, 0.2)
    correction = Correction(torch.tensor([0.0, 0.5, 1.0, 2.0]), 1.5)
    found = multi_label_evidence.evidence(logits, shown, LABELS, examples(count), correction, chosen)
    curve = [{"stage": "head", "epoch": 1, "train_loss": 0.9, "train_accuracy": 0.5, "validation_loss": None,
              "validation_accuracy": None}]  # fmt: skip
    return found | {"curve": curve, "method": "head"}, logits, shown, chosen


def test_every_number_of_the_evidence_is_that_of_scikit_learn() -> None:
    found, logits, shown, chosen = made_up()
    has, scores = shown.numpy(), expit(logits.double().numpy())
    answered = (scores >= np.array(chosen)).astype(int)
    assert found["accuracy"] == metrics.accuracy_score(has, answered)
    assert found["mean_average_precision"] == pytest.approx(
        metrics.average_precision_score(has, scores, average="macro")
    )
    assert found["micro_f1"] == pytest.approx(metrics.f1_score(has, answered, average="micro"))
    assert found["macro_f1"] == pytest.approx(metrics.f1_score(has, answered, average="macro"))
    matrices = metrics.multilabel_confusion_matrix(has, answered)
    rows = zip(*metrics.precision_recall_fscore_support(has, answered, zero_division=0), strict=True)
    for number, (row, (precision, recall, f1, support)) in enumerate(zip(found["per_label"], rows, strict=True)):
        assert row["label"] == LABELS[number]
        assert [row["precision"], row["recall"], row["f1"]] == pytest.approx([precision, recall, f1])
        assert (row["support"], row["threshold"]) == (support, chosen[number])
        assert row["average_precision"] == pytest.approx(
            metrics.average_precision_score(has[:, number], scores[:, number])
        )
        counts = [row["true_negatives"], row["false_positives"], row["false_negatives"], row["true_positives"]]
        assert counts == matrices[number].ravel().tolist()
    assert found["mistakes_in_all"] == int((has != answered).sum())
    assert [row[1:] for row in found["tested"]] == [np.flatnonzero(row).tolist() for row in answered]
    low, high = found["mean_average_precision_interval"]
    assert low < found["mean_average_precision"] < high


def test_the_calibration_error_counts_every_label_of_every_picture() -> None:
    found, logits, shown, _ = made_up()
    for name, given in (("after", logits), ("before", logits * 1.5 + torch.tensor([0.0, 0.5, 1.0, 2.0]))):
        scores, has = expit(given.double().numpy()).ravel(), shown.numpy().ravel()
        which = np.ceil(scores * 15).clip(1, 15)
        error = sum(
            abs(scores[which == bin_].mean() - has[which == bin_].mean()) * (which == bin_).mean()
            for bin_ in np.unique(which)
        )
        assert found[f"ece_{name}"] == pytest.approx(error)


def test_mistakes_are_single_labels_and_the_surest_comes_first() -> None:
    found, logits, shown, chosen = made_up()
    scores = expit(logits.double().numpy())
    sure = []
    for mistake in found["mistakes"]:
        label = mistake["expected"] or mistake["predicted"]
        number, row = LABELS.index(label), mistake["example"]
        assert bool(mistake["expected"]) == bool(shown[row, number])
        assert bool(mistake["predicted"]) == (scores[row, number] >= chosen[number])
        assert mistake["score"] == pytest.approx(scores[row, number])
        sure.append(mistake["score"] if mistake["predicted"] else 1 - mistake["score"])
    assert sure == sorted(sure, reverse=True)
    assert sure


def test_the_evidence_is_plain_json_of_the_declared_type_and_has_plots() -> None:
    found, *_ = made_up()
    read = msgspec.json.decode(json.dumps(found), type=Evidence)
    assert read.mean_average_precision == found["mean_average_precision"]
    assert read.per_label[3].threshold == 0.2
    drawn = plots.render(found)
    assert b"missed" in drawn["confusion.svg"]
    assert b"300 test pictures" in drawn["reliability.svg"]


def test_labels_that_were_swapped_on_purpose_are_the_first_suspects() -> None:
    logits, shown = answers(400, seed=3)
    logits = logits + 4 * shown - 2  # sure answers
    marked = shown.clone()
    wrong = [(5, 0), (17, 1), (31, 2), (60, 0), (99, 1)]
    for row, label in wrong:
        marked[row, label] = 1 - marked[row, label]
    suspects = find_suspect_labels(Unseen(examples(400), logits, marked), (0.0,) * 4)
    found = [(suspect.row, suspect.label) for suspect in suspects]
    assert len(set(wrong) & set(found[:8])) >= 4
    for suspect in suspects:
        assert suspect.has == bool(marked[suspect.row, suspect.label])
        assert suspect.score < 0.15
    evidence = multi_label_evidence.evidence_of_suspects(
        LABELS, Unseen(examples(400), logits, marked), Unseen((), logits[:0], marked[:0]),
        Correction(torch.zeros(4), 1.0), (0.5,) * 4,
    )  # fmt: skip
    first = evidence["suspects"][0]
    assert bool(first["label"]) != bool(first["suggested"])
    assert evidence["suspects_in_all"] == len(suspects)


def test_after_fine_tuning_labels_are_doubted_by_its_own_answers_and_not_those_of_the_linear_heads() -> None:
    logits, shown = answers(200, seed=3)
    sure = logits + 4 * shown - 2
    shown[5, 0], shown[17, 1] = 1 - shown[5, 0], 1 - shown[17, 1]  # labels that are wrong on purpose
    tuned = Unseen(examples(200), sure, shown)
    crossed = replace(tuned, logits=4 * logits)  # too sure, and often wrong
    trained = TrainedNetwork(
        nn.Identity(), "small", families.find("small").preprocessing("small"), "fine-tuned", "", "epochs", 1, None, 1.0,
        None, tuned, tuned.examples, crossed,
    )  # fmt: skip
    version = ModelVersion(
        "1", "anna", "beaches", "1", "small", "small", ModelState.READY, 0.0, labels=tuple(LABELS), source="",
        problem_type=ProblemType.MULTI_LABEL, thresholds=(0.5,) * 4,
    )  # fmt: skip
    found = pipeline._measure(trained, tuned, version, Correction(torch.zeros(4), 1.0))
    assert found["suspects_in_all"] == 2 * len(find_suspect_labels(tuned, (0.0,) * 4)) > 0
    assert len(find_suspect_labels(crossed, (0.0,) * 4)) > 10
    assert found["cross_validation"] == multi_label_evidence.evidence_of_folds(crossed)


def test_after_fine_tuning_the_pictures_that_it_has_learned_from_are_doubted_by_the_linear_heads() -> None:
    """The trial has held a third out; the wrong labels are among the others."""
    logits, shown = answers(300, seed=5)
    sure = 2 * logits + 4 * shown - 2
    right = shown.clone()
    for row, label in ((150, 0), (222, 1)):
        shown[row, label] = 1 - shown[row, label]
    every = examples(300)
    crossed = Unseen(every, 4 * sure, shown)  # too sure for the correction of the tuned network
    held_out = Unseen(every[:100], sure[:100], right[:100])
    none = Correction(torch.zeros(4), 1.0)
    nothing = Unseen((), sure[:0], shown[:0])

    def doubted(*crossed: Unseen) -> dict[int, str]:
        found = multi_label_evidence.evidence_of_suspects(LABELS, nothing, held_out, none, (0.5,) * 4, *crossed)
        return {each["example"]: each["label"] or each["suggested"] for each in found["suspects"]}

    before, after = doubted(), doubted(crossed)
    assert {every[150].id: LABELS[0], every[222].id: LABELS[1]}.items() <= after.items()
    assert {example: label for example, label in after.items() if example <= every[99].id} == before
    assert len(after) - len(before) < 12, "few labels that are right are doubted"


def test_folds_are_measured_by_the_order_of_their_scores() -> None:
    logits, shown = answers(100)
    found = multi_label_evidence.evidence_of_folds(Unseen(examples(100), logits, shown))
    assert found is not None
    assert found["mean_average_precision"] == pytest.approx(
        metrics.average_precision_score(shown, logits.numpy(), average="macro")
    )
    assert found["accuracy"] is None
    assert multi_label_evidence.evidence_of_folds(None) is None
