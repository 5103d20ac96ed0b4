"""Promotions: versions are compared before they become the default, can be rolled back, and serve as canaries."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.container import Container
from shared.domain.comparisons import Comparison
from shared.domain.datasets import Split
from shared.domain.jobs import Outcome, Status, Submission
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion, ProblemType
from shared.domain.stream_entry import StreamEntry
from shared.domain.trainings import TrainingParameters
from shared.services import comparison_runs, comparisons, datasets, jobs, models, promotions, training_runs, trainings
from tests import dataset_fixtures
from tests.dataset_fixtures import NOW, REPORT, Ground, at_once, picture
from worker.canary import Watch


@pytest.fixture
def ground(database: Database, tmp_path: Path) -> Ground:
    return dataset_fixtures.on(database, tmp_path)


@pytest.fixture
def here(container: Container, tmp_path: Path) -> Ground:
    """The same on SQLite only, for tests that do not depend on the kind of database."""
    return dataset_fixtures.on(container.database, tmp_path)


def three(ground: Ground, **about: Any) -> list[ModelVersion]:
    return [ground.version("fruits", number, **about) for number in "123"]


def compared(ground: Ground, candidate: ModelVersion, baseline: ModelVersion) -> None:
    comparison = Comparison(f"{candidate.id}{baseline.id}"[:40], "anna", "fruits", candidate.id, baseline.id, 1, 1,
                                 Status.DONE, NOW, report=REPORT)  # fmt: skip
    with ground.container.database.write() as uow:
        uow.comparisons.add(comparison)


def defaults(ground: Ground) -> list[str]:
    return [number for number, version in ground.versions("fruits").items() if version.is_default]


# promoting and rolling back


def test_only_what_was_compared_with_the_default_is_promoted(here: Ground) -> None:
    first, second, _ = three(here, requires_deployment=True)
    compared(here, first, second)  # the other way round says nothing
    for number, why in (("2", "has not been compared with version 1"), ("1", "is the default")):
        with pytest.raises(errors.Conflict, match=why):
            promotions.promote(here.container, "anna", "fruits", number)
    compared(here, second, first)
    promoted = promotions.promote(here.container, "anna", "fruits", "2")
    assert (promoted.is_default, promoted.requires_deployment, defaults(here)) == (True, False, ["2"])
    assert models.get_ready_version(here.container, "anna", "fruits").id == second.id


def test_several_promotions_are_undone_in_turn(ground: Ground) -> None:
    first, second, third = three(ground)
    for candidate, baseline in ((second, first), (third, second)):
        compared(ground, candidate, baseline)
        promotions.promote(ground.container, "anna", "fruits", candidate.version)
    promotions.set_canary(ground.container, "anna", "fruits", "1", 0.5)
    assert promotions.find_earlier(ground.container, "anna") == {"fruits": "2"}
    assert promotions.find_earlier(ground.container, "bert") == {}
    assert promotions.rollback(ground.container, "anna", "fruits").version == "2"
    assert promotions.find_earlier(ground.container, "anna") == {"fruits": "1"}
    with pytest.raises(errors.NotFound, match="no canary"):
        promotions.canary(ground.container, "anna", "fruits")
    assert promotions.rollback(ground.container, "anna", "fruits").version == "1"
    assert promotions.find_earlier(ground.container, "anna") == {}
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotions.rollback(ground.container, "anna", "fruits")
    assert defaults(ground) == ["1"]


def test_a_rollback_leads_to_nothing_that_cannot_answer(here: Ground) -> None:
    first, second, _ = three(here)
    compared(here, second, first)
    promotions.promote(here.container, "anna", "fruits", "2")
    with here.container.database.write() as uow:
        uow.model_versions.save(replace(first, state=ModelState.REFUSED))
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotions.rollback(here.container, "anna", "fruits")
    assert defaults(here) == ["2"]


def test_two_promotions_at_once_are_one_after_the_other(ground: Ground) -> None:
    first, second, third = three(ground)
    compared(ground, second, first)
    compared(ground, third, first)
    outcomes = at_once(
        lambda: promotions.promote(ground.container, "anna", "fruits", "2"),
        lambda: promotions.promote(ground.container, "anna", "fruits", "3"),
    )
    # The later one is not compared with what has just become the default.
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, ModelVersion)]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "ModelVersion"]
    assert defaults(ground) == [won.version]
    assert promotions.rollback(ground.container, "anna", "fruits").version == "1"


def test_a_check_that_ends_meanwhile_does_not_change_which_version_answers(here: Ground) -> None:
    first, second = (here.version("fruits", number, requires_deployment=True) for number in "12")
    third = here.version("fruits", "3")
    compared(here, second, first)
    promotions.promote(here.container, "anna", "fruits", "2")
    promotions.set_canary(here.container, "anna", "fruits", "3", 0.5)
    with here.container.database.write() as uow:
        for stale in (first, second, third):
            uow.model_versions.save(replace(stale, reason="checked"))
    now = here.versions("fruits")
    flags = {number: (each.is_default, each.requires_deployment, each.canary) for number, each in now.items()}
    assert flags == {
        "1": (False, True, 0.0), "2": (True, False, 0.0), "3": (False, False, 0.5),
    }  # fmt: skip
    assert now["1"].reason == "checked"


def test_the_catalogue_and_the_models_of_others_stay_as_they_are(here: Ground) -> None:
    three(here)
    for act in (
        lambda name, tenant: promotions.promote(here.container, tenant, name, "1"),
        lambda name, tenant: promotions.rollback(here.container, tenant, name),
        lambda name, tenant: promotions.set_canary(here.container, tenant, name, "1", 0.5),
        lambda name, tenant: promotions.clear_canary(here.container, tenant, name),
        lambda name, tenant: promotions.deploy(here.container, tenant, name, "1"),
    ):
        with pytest.raises(errors.Forbidden, match="catalogue"):
            act("digits", "anna")
        with pytest.raises(errors.NotFound, match="no model"):
            act("fruits", "bert")


# canaries


@pytest.mark.parametrize("share", [0.0, -0.1, 1.1, float("nan")])
def test_a_share_is_above_0_and_at_most_1(here: Ground, share: float) -> None:
    three(here)
    with pytest.raises(errors.BadOption, match="share"):
        promotions.set_canary(here.container, "anna", "fruits", "2", share)


def test_a_canary_gets_its_share_and_only_of_requests_that_name_no_version(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    promotions.set_canary(here.container, "anna", "fruits", "2", 0.3)
    monkeypatch.setattr(random, "random", random.Random(7).random)
    answers = Counter(models.get_ready_version(here.container, "anna", "fruits").version for _ in range(300))
    assert 70 <= answers["2"] <= 110  # 90 expected; three standard deviations are 24
    assert answers["1"] + answers["2"] == 300
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert models.get_ready_version(here.container, "anna", "fruits").version == "2"
    assert models.get_ready_version(here.container, "anna", "fruits", "1").version == "1"
    assert models.get_version(here.container, "anna", "fruits").version == "1"  # who only looks sees the default
    with here.container.database.write() as uow:
        uow.model_versions.save(replace(here.versions("fruits")["2"], state=ModelState.REFUSED))
    assert models.get_ready_version(here.container, "anna", "fruits").version == "1"


def test_there_is_one_canary_and_another_begins_to_count_anew(ground: Ground) -> None:
    _, second, third = three(ground)
    with pytest.raises(errors.Conflict, match="is the default"):
        promotions.set_canary(ground.container, "anna", "fruits", "1", 0.5)
    canary = promotions.set_canary(ground.container, "anna", "fruits", "2", 0.5)
    with ground.container.database.write() as uow:
        uow.promotions.count(second.id, 10, 9)
        uow.promotions.count(second.id, 1, 0)
    counted = promotions.canary(ground.container, "anna", "fruits")
    assert counted == replace(canary, compared=11, agreed=9)
    at_once(*[partial(promotions.set_canary, ground.container, "anna", "fruits", number, 0.2) for number in "32"])
    shares = [version.canary for version in ground.versions("fruits").values()]
    assert sorted(shares) == [0.0, 0.0, 0.2]
    assert promotions.canary(ground.container, "anna", "fruits").compared == 0
    with ground.container.database.read() as uow:
        assert [uow.promotions.is_canary(version.id) for version in (second, third)].count(True) == 1


def test_a_canary_is_returned_as_it_was_set_even_if_it_is_taken_away_meanwhile(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _ = three(here)
    monkeypatch.setattr(promotions, "canary", None)  # nothing is read again
    canary = promotions.set_canary(here.container, "anna", "fruits", "2", 0.5)
    assert (canary.version_id, canary.share, canary.compared, canary.agreed) == (second.id, 0.5, 0, 0)
    with here.container.database.read() as uow:
        assert uow.promotions.find_canary(here.versions("fruits")["2"]) == canary


def test_a_version_that_is_not_deployed_is_no_canary(here: Ground) -> None:
    here.version("fruits")
    here.version("fruits", "2", requires_deployment=True)
    with pytest.raises(errors.Conflict, match="not deployed: deploy it, or promote it"):
        promotions.set_canary(here.container, "anna", "fruits", "2", 0.5)


def test_a_default_is_not_removed_while_another_version_could_take_its_place(ground: Ground) -> None:
    first, second, _ = three(ground)
    with pytest.raises(errors.Conflict, match="promote another one first"):
        models.remove(ground.container, "anna", "fruits", "1")
    compared(ground, second, first)
    promotions.promote(ground.container, "anna", "fruits", "2")
    for number in "13":
        models.remove(ground.container, "anna", "fruits", number)
    ground.version("fruits", "4", state=ModelState.REFUSED)
    models.remove(ground.container, "anna", "fruits", "2")  # no other one could answer in its place
    assert defaults(ground) == ["4"]


def test_a_refused_default_may_go_and_another_takes_its_place(here: Ground) -> None:
    here.version("fruits", state=ModelState.REFUSED)
    here.version("fruits", "2")
    models.remove(here.container, "anna", "fruits", "1")
    assert defaults(here) == ["2"]


def test_a_canary_that_is_promoted_or_removed_is_none_any_more(here: Ground) -> None:
    first, second, third = three(here)
    promotions.set_canary(here.container, "anna", "fruits", "2", 1.0)
    compared(here, second, first)
    assert promotions.promote(here.container, "anna", "fruits", "2").canary == 0.0
    promotions.set_canary(here.container, "anna", "fruits", "3", 1.0)
    models.remove(here.container, "anna", "fruits", "3")
    for ask in (promotions.canary, promotions.clear_canary):
        with pytest.raises(errors.NotFound, match="no canary"):
            ask(here.container, "anna", "fruits")
    with here.container.database.read() as uow:
        assert not uow.promotions.is_canary(third.id)
    assert models.get_ready_version(here.container, "anna", "fruits").id == second.id


def test_a_request_that_is_repeated_is_the_same_whichever_version_would_answer_it_now(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    request = Submission([picture(1)], model="fruits", idempotency_key="once")
    monkeypatch.setattr(random, "random", lambda: 0.9)
    job, _ = run(jobs.submit(here.container, "anna", request))
    promotions.set_canary(here.container, "anna", "fruits", "2", 1.0)
    assert run(jobs.submit(here.container, "anna", request)) == (replace(job, items=None), False)


class Network:
    """A model whose answer for a picture is the label with the number in its bytes."""

    def prepare(self, data: bytes, *, exif: bool) -> int:
        return int(data)

    def forward(self, inputs: list[int]) -> torch.Tensor:
        return torch.eye(2)[inputs]


def test_the_default_is_shown_what_a_canary_answered_and_agreement_is_counted(ground: Ground) -> None:
    first, second, _ = three(ground)
    loaded: list[str] = []

    def load(version: ModelVersion) -> Network:
        loaded.append(version.id)
        return Network()

    engine = SimpleNamespace(load=load)
    worker: Any = SimpleNamespace(container=ground.container, engine=engine)
    ground.container.storage.write("job", b"0110")
    entries = [StreamEntry("j", number, "job", number, 1, "classify", 1, "softmax", True) for number in range(3)]
    entries.append(StreamEntry("j", 3, "job", 3, 1, "features", 1, "softmax", True))
    outcomes = [
        Outcome("j", 0, [["pear", 0.9], ["plum", 0.1]]),
        Outcome("j", 1, [["pear", 0.9]]),
        Outcome("j", 2, error_code="broken_picture", error="It is damaged."),
        Outcome("j", 3, [0.5, 0.25]),
    ]
    Watch(worker, second).compare(entries, outcomes)
    assert loaded == []  # it is no canary

    promotions.set_canary(ground.container, "anna", "fruits", "2", 0.5)
    watch = Watch(worker, second)
    watch.compare(entries, outcomes)
    watch.compare(entries[3:], outcomes[3:])
    canary = promotions.canary(ground.container, "anna", "fruits")
    assert (canary.compared, canary.agreed, loaded) == (2, 1, [first.id])

    watch.compare(entries[:1], [Outcome("j", 0, [])])
    canary = promotions.canary(ground.container, "anna", "fruits")
    assert (canary.compared, canary.agreed) == (3, 1)  # no label is another answer than a label

    ground.container.storage.delete("job")
    watch.compare(entries, outcomes)  # a failure is logged, and the answers are kept
    assert promotions.canary(ground.container, "anna", "fruits") == canary


def test_a_canary_agrees_with_a_default_whose_answer_is_empty_as_well(ground: Ground) -> None:
    ground.version("fruits", problem_type=ProblemType.MULTI_LABEL, thresholds=(0.9,))
    second = ground.version("fruits", "2", problem_type=ProblemType.MULTI_LABEL, thresholds=(0.9,))
    worker: Any = SimpleNamespace(container=ground.container, engine=SimpleNamespace(load=lambda version: Network()))
    ground.container.storage.write("job", b"0")
    entry = StreamEntry("j", 0, "job", 0, 1, "classify", 5, "sigmoid", True, with_thresholds=True)
    promotions.set_canary(ground.container, "anna", "fruits", "2", 0.5)
    watch = Watch(worker, second)

    watch.compare([entry], [Outcome("j", 0, [])])  # the logits of the default are 1 and 0
    watch.compare([replace(entry, with_thresholds=False)], [Outcome("j", 0, [["pear", 0.7]])])

    canary = promotions.canary(ground.container, "anna", "fruits")
    assert (canary.compared, canary.agreed) == (2, 2)


def test_a_multi_label_canary_agrees_if_all_labels_are_the_same_in_any_order(ground: Ground) -> None:
    ground.version("fruits", problem_type=ProblemType.MULTI_LABEL, thresholds=(0.3,))
    second = ground.version("fruits", "2", problem_type=ProblemType.MULTI_LABEL, thresholds=(0.3,))
    worker: Any = SimpleNamespace(container=ground.container, engine=SimpleNamespace(load=lambda version: Network()))
    ground.container.storage.write("job", b"0")
    entry = StreamEntry("j", 0, "job", 0, 1, "classify", 5, "sigmoid", True, with_thresholds=True)
    promotions.set_canary(ground.container, "anna", "fruits", "2", 0.5)
    watch = Watch(worker, second)

    both = [["plum", 0.8], ["pear", 0.7]]  # the logits of the default are 1 for the pear and 0 for the plum
    for answer, agreed in ((both, 1), (both[1:], 1), (both[:1], 1), (both, 2)):
        watch.compare([entry], [Outcome("j", 0, answer)])
        assert promotions.canary(ground.container, "anna", "fruits").agreed == agreed


# comparing


def test_a_comparison_is_asked_for_in_words_that_make_sense(here: Ground) -> None:
    container, dataset = here.container, here.dataset()
    first, second = here.trained(dataset), here.trained(dataset)
    here.version("fruits", "3", state=ModelState.CHECKING)
    here.version("fruits", "4")
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.NotFound, "no model", lambda: comparisons.request(container, "bert", "fruits", "2")),
        (errors.Forbidden, "catalogue", lambda: comparisons.request(container, "anna", "digits", "1")),
        (errors.NotFound, "no version '9'", lambda: comparisons.request(container, "anna", "fruits", "9")),
        (errors.BadOption, "with itself", lambda: comparisons.request(container, "anna", "fruits", "1")),
        (errors.Conflict, "is checking", lambda: comparisons.request(container, "anna", "fruits", "3")),
        (errors.BadOption, "name a dataset", lambda: comparisons.request(container, "anna", "fruits", "4")),
        (errors.NotFound, "no dataset 5", lambda: comparisons.request(container, "anna", "fruits", "2", dataset_id=5)),
    ]
    for error, match, ask in refusals:
        with pytest.raises(error, match=match):
            ask()
    datasets.remove_example(container, "anna", dataset.id, 1)
    here.sent.clear()
    comparison = comparisons.request(container, "anna", "fruits", "2")
    assert (comparison.candidate_id, comparison.baseline_id, comparison.dataset_version) == (second.id, first.id, 2)
    assert here.sent == [("load",)]
    assert comparisons.get(container, "anna", comparison.id) == comparison
    assert here.again(dataset).sealed
    assert comparisons.request(container, "anna", "fruits", "4", dataset_id=dataset.id).dataset_version == 2


def test_pictures_that_either_version_or_its_base_has_learned_from_are_left_out(here: Ground) -> None:
    container, dataset = here.container, here.dataset({"pear": 12, "plum": 12})
    first = here.trained(dataset, parameters=TrainingParameters(seed=1, train_split_ratio=0.3))
    child = here.trained(dataset, base="fruits", parameters=TrainingParameters(seed=2, train_split_ratio=0.3))
    other = here.version("fruits", "3")
    older, newer = (
        training_runs.get_splits(container, trainings.get(container, "anna", version.training_id))
        for version in (first, child)
    )
    fair = [example for example in newer.test if example in older.test]
    with container.database.read() as uow:
        examples, left_out = comparison_runs.pictures(uow, child, other, "anna", dataset.id, 1)
    assert examples == fair
    assert left_out == len(newer.test) - len(fair) > 0
    datasets.add_example(container, "anna", dataset.id, [1], picture(1), split=Split.TEST)
    with container.database.read() as uow:
        examples, _ = comparison_runs.pictures(uow, other, child, "anna", dataset.id, 2)
    assert [example.id for example in examples] == [25]


def test_a_model_of_the_catalogue_is_no_canary_of_its_own(here: Ground) -> None:
    digits = models.get_version(here.container, "anna", "digits")
    assert digits.tenant == ALL_TENANTS
    worker: Any = SimpleNamespace(container=None, engine=None)  # is not used
    Watch(worker, digits).compare([], [])
