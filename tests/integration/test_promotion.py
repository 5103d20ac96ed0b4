"""Which version answers: nothing is promoted unseen, everything can be undone, and a canary gets its share."""

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

from shared import comparisons, datasets, errors, jobs, models, promotion, trainers, trainings
from shared.datasets import Split
from shared.jobs import Outcome, Status, Submission
from shared.models import EVERYBODY, State, Version
from shared.queue import Entry
from shared.records import Records
from shared.tools import Tools
from shared.trainings import Parameters
from tests import grounds
from tests.grounds import NOW, REPORT, Ground, at_once, picture
from worker.canary import Watch


@pytest.fixture
def ground(records: Records, tmp_path: Path) -> Ground:
    return grounds.on(records, tmp_path)


@pytest.fixture
def here(tools: Tools, tmp_path: Path) -> Ground:
    """On SQLite only, for what is no matter of the database."""
    return grounds.on(tools.records, tmp_path)


def three(ground: Ground, **about: Any) -> list[Version]:
    return [ground.version("fruits", number, **about) for number in "123"]


def compared(ground: Ground, candidate: Version, baseline: Version) -> None:
    one = comparisons.Comparison(f"{candidate.id}{baseline.id}"[:40], "anna", "fruits", candidate.id, baseline.id, 1, 1,
                                 Status.DONE, NOW, report=REPORT)  # fmt: skip
    with ground.tools.records.write() as r:
        r.comparisons.add(one)


def defaults(ground: Ground) -> list[str]:
    return [number for number, known in ground.versions("fruits").items() if known.is_default]


# promoting and rolling back


def test_only_what_was_compared_with_the_default_is_promoted(here: Ground) -> None:
    first, second, _ = three(here, withheld=True)
    compared(here, first, second)  # the other way round says nothing
    for number, why in (("2", "has not been compared with version 1"), ("1", "is the default")):
        with pytest.raises(errors.Conflict, match=why):
            promotion.promote(here.tools, "anna", "fruits", number)
    compared(here, second, first)
    promoted = promotion.promote(here.tools, "anna", "fruits", "2")
    assert (promoted.is_default, promoted.withheld, defaults(here)) == (True, False, ["2"])
    assert models.servable(here.tools, "anna", "fruits").id == second.id


def test_several_promotions_are_undone_in_turn(ground: Ground) -> None:
    first, second, third = three(ground)
    for candidate, baseline in ((second, first), (third, second)):
        compared(ground, candidate, baseline)
        promotion.promote(ground.tools, "anna", "fruits", candidate.version)
    promotion.set_canary(ground.tools, "anna", "fruits", "1", 0.5)
    assert promotion.rollback(ground.tools, "anna", "fruits").version == "2"
    with pytest.raises(errors.NotFound, match="no canary"):
        promotion.canary(ground.tools, "anna", "fruits")
    assert promotion.rollback(ground.tools, "anna", "fruits").version == "1"
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotion.rollback(ground.tools, "anna", "fruits")
    assert defaults(ground) == ["1"]


def test_a_rollback_leads_to_nothing_that_cannot_answer(here: Ground) -> None:
    first, second, _ = three(here)
    compared(here, second, first)
    promotion.promote(here.tools, "anna", "fruits", "2")
    with here.tools.records.write() as r:
        r.versions.save(replace(first, state=State.REFUSED))
    with pytest.raises(errors.Conflict, match="No promotion"):
        promotion.rollback(here.tools, "anna", "fruits")
    assert defaults(here) == ["2"]


def test_two_promotions_at_once_are_one_after_the_other(ground: Ground) -> None:
    first, second, third = three(ground)
    compared(ground, second, first)
    compared(ground, third, first)
    outcomes = at_once(
        lambda: promotion.promote(ground.tools, "anna", "fruits", "2"),
        lambda: promotion.promote(ground.tools, "anna", "fruits", "3"),
    )
    # The later one is not compared with what has just become the default.
    (won,) = [outcome for outcome in outcomes if isinstance(outcome, Version)]
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict", "Version"]
    assert defaults(ground) == [won.version]
    assert promotion.rollback(ground.tools, "anna", "fruits").version == "1"


def test_a_check_that_ends_meanwhile_changes_nothing_of_who_answers(here: Ground) -> None:
    first, second = (here.version("fruits", number, withheld=True) for number in "12")
    third = here.version("fruits", "3")
    compared(here, second, first)
    promotion.promote(here.tools, "anna", "fruits", "2")
    promotion.set_canary(here.tools, "anna", "fruits", "3", 0.5)
    with here.tools.records.write() as r:
        for stale in (first, second, third):
            r.versions.save(replace(stale, reason="checked"))
    now = here.versions("fruits")
    assert {number: (known.is_default, known.withheld, known.canary) for number, known in now.items()} == {
        "1": (False, True, 0.0), "2": (True, False, 0.0), "3": (False, False, 0.5),
    }  # fmt: skip
    assert now["1"].reason == "checked"


def test_the_catalogue_and_the_models_of_others_stay_as_they_are(here: Ground) -> None:
    three(here)
    for act in (
        lambda name, tenant: promotion.promote(here.tools, tenant, name, "1"),
        lambda name, tenant: promotion.rollback(here.tools, tenant, name),
        lambda name, tenant: promotion.set_canary(here.tools, tenant, name, "1", 0.5),
        lambda name, tenant: promotion.clear_canary(here.tools, tenant, name),
        lambda name, tenant: promotion.deploy(here.tools, tenant, name, "1"),
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
        promotion.set_canary(here.tools, "anna", "fruits", "2", share)


def test_a_canary_gets_its_share_and_only_of_those_who_name_no_version(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    promotion.set_canary(here.tools, "anna", "fruits", "2", 0.3)
    monkeypatch.setattr(random, "random", random.Random(7).random)
    said = Counter(models.servable(here.tools, "anna", "fruits").version for _ in range(300))
    assert 70 <= said["2"] <= 110  # 90 expected; three standard deviations are 24
    assert said["1"] + said["2"] == 300
    monkeypatch.setattr(random, "random", lambda: 0.0)
    assert models.servable(here.tools, "anna", "fruits").version == "2"
    assert models.servable(here.tools, "anna", "fruits", "1").version == "1"
    assert models.find(here.tools, "anna", "fruits").version == "1"  # who only looks sees the default
    with here.tools.records.write() as r:
        r.versions.save(replace(here.versions("fruits")["2"], state=State.REFUSED))
    assert models.servable(here.tools, "anna", "fruits").version == "1"


def test_there_is_one_canary_and_another_begins_to_count_anew(ground: Ground) -> None:
    _, second, third = three(ground)
    with pytest.raises(errors.Conflict, match="is the default"):
        promotion.set_canary(ground.tools, "anna", "fruits", "1", 0.5)
    made = promotion.set_canary(ground.tools, "anna", "fruits", "2", 0.5)
    with ground.tools.records.write() as r:
        r.promotions.count(second.id, 10, 9)
        r.promotions.count(second.id, 1, 0)
    found = promotion.canary(ground.tools, "anna", "fruits")
    assert found == replace(made, compared=11, agreed=9)
    at_once(*[partial(promotion.set_canary, ground.tools, "anna", "fruits", number, 0.2) for number in "32"])
    shares = [known.canary for known in ground.versions("fruits").values()]
    assert sorted(shares) == [0.0, 0.0, 0.2]
    assert promotion.canary(ground.tools, "anna", "fruits").compared == 0
    with ground.tools.records.read() as r:
        assert [r.promotions.is_canary(one.id) for one in (second, third)].count(True) == 1


def test_a_canary_is_told_as_it_was_set_whoever_takes_it_away_meanwhile(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, second, _ = three(here)
    monkeypatch.setattr(promotion, "canary", None)  # nothing is read again
    made = promotion.set_canary(here.tools, "anna", "fruits", "2", 0.5)
    assert (made.version_id, made.share, made.compared, made.agreed) == (second.id, 0.5, 0, 0)
    with here.tools.records.read() as r:
        assert r.promotions.canary(here.versions("fruits")["2"]) == made


def test_a_version_that_is_withheld_is_no_canary(here: Ground) -> None:
    here.version("fruits")
    here.version("fruits", "2", withheld=True)
    with pytest.raises(errors.Conflict, match="withheld: deploy it, or promote it"):
        promotion.set_canary(here.tools, "anna", "fruits", "2", 0.5)


def test_a_default_is_not_removed_while_another_version_could_take_its_place(ground: Ground) -> None:
    first, second, _ = three(ground)
    with pytest.raises(errors.Conflict, match="promote another one first"):
        models.remove(ground.tools, "anna", "fruits", "1")
    compared(ground, second, first)
    promotion.promote(ground.tools, "anna", "fruits", "2")
    for number in "13":
        models.remove(ground.tools, "anna", "fruits", number)
    ground.version("fruits", "4", state=State.REFUSED)
    models.remove(ground.tools, "anna", "fruits", "2")  # no other one could answer in its place
    assert defaults(ground) == ["4"]


def test_a_refused_default_may_go_and_another_takes_its_place(here: Ground) -> None:
    here.version("fruits", state=State.REFUSED)
    here.version("fruits", "2")
    models.remove(here.tools, "anna", "fruits", "1")
    assert defaults(here) == ["2"]


def test_a_canary_that_is_promoted_or_removed_is_none_any_more(here: Ground) -> None:
    first, second, third = three(here)
    promotion.set_canary(here.tools, "anna", "fruits", "2", 1.0)
    compared(here, second, first)
    assert promotion.promote(here.tools, "anna", "fruits", "2").canary == 0.0
    promotion.set_canary(here.tools, "anna", "fruits", "3", 1.0)
    models.remove(here.tools, "anna", "fruits", "3")
    for ask in (promotion.canary, promotion.clear_canary):
        with pytest.raises(errors.NotFound, match="no canary"):
            ask(here.tools, "anna", "fruits")
    with here.tools.records.read() as r:
        assert not r.promotions.is_canary(third.id)
    assert models.servable(here.tools, "anna", "fruits").id == second.id


def test_a_request_that_is_repeated_is_the_same_whoever_would_answer_it_now(
    here: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(here)
    asked = Submission([picture(1)], model="fruits", idempotency_key="once")
    monkeypatch.setattr(random, "random", lambda: 0.9)
    job, _ = jobs.submit(here.tools, "anna", asked)
    promotion.set_canary(here.tools, "anna", "fruits", "2", 1.0)
    assert jobs.submit(here.tools, "anna", asked) == (job, False)


class Network:
    """Says of a picture what its bytes are: the number of a label."""

    def prepare(self, data: bytes, *, exif: bool) -> int:
        return int(data)

    def forward(self, inputs: list[int]) -> torch.Tensor:
        return torch.eye(2)[inputs]


def test_the_default_is_shown_what_a_canary_answered_and_agreement_is_counted(ground: Ground) -> None:
    first, second, _ = three(ground)
    loaded: list[str] = []

    def load(version: Version) -> Network:
        loaded.append(version.id)
        return Network()

    engine = SimpleNamespace(load=load)
    runner: Any = SimpleNamespace(tools=ground.tools, engine=engine)
    ground.tools.storage.write("job", b"0110")
    entries = [Entry("j", number, "job", number, 1, "classify", 1, "softmax", True) for number in range(3)]
    entries.append(Entry("j", 3, "job", 3, 1, "features", 1, "softmax", True))
    outcomes = [
        Outcome("j", 0, [["pear", 0.9], ["plum", 0.1]]),
        Outcome("j", 1, [["pear", 0.9]]),
        Outcome("j", 2, error_code="broken_picture", error="It is damaged."),
        Outcome("j", 3, [0.5, 0.25]),
    ]
    Watch(runner, second).compare(entries, outcomes)
    assert loaded == []  # it is no canary

    promotion.set_canary(ground.tools, "anna", "fruits", "2", 0.5)
    watch = Watch(runner, second)
    watch.compare(entries, outcomes)
    watch.compare(entries[3:], outcomes[3:])
    found = promotion.canary(ground.tools, "anna", "fruits")
    assert (found.compared, found.agreed, loaded) == (2, 1, [first.id])

    ground.tools.storage.delete("job")
    watch.compare(entries, outcomes)  # is logged, and costs nobody his answer
    assert promotion.canary(ground.tools, "anna", "fruits") == found


# comparing


def test_a_comparison_is_asked_for_in_words_that_make_sense(here: Ground) -> None:
    tools, made = here.tools, here.dataset()
    first, second = here.trained(made), here.trained(made)
    here.version("fruits", "3", state=State.CHECKING)
    here.version("fruits", "4")
    refusals: list[tuple[type[Exception], str, Callable[[], object]]] = [
        (errors.NotFound, "no model", lambda: comparisons.request(tools, "bert", "fruits", "2")),
        (errors.Forbidden, "catalogue", lambda: comparisons.request(tools, "anna", "digits", "1")),
        (errors.NotFound, "no version '9'", lambda: comparisons.request(tools, "anna", "fruits", "9")),
        (errors.BadOption, "with itself", lambda: comparisons.request(tools, "anna", "fruits", "1")),
        (errors.Conflict, "is checking", lambda: comparisons.request(tools, "anna", "fruits", "3")),
        (errors.BadOption, "name a dataset", lambda: comparisons.request(tools, "anna", "fruits", "4")),
        (errors.NotFound, "no dataset 5", lambda: comparisons.request(tools, "anna", "fruits", "2", dataset_id=5)),
    ]
    for error, match, ask in refusals:
        with pytest.raises(error, match=match):
            ask()
    datasets.remove_example(tools, "anna", made.id, 1)
    here.sent.clear()
    asked = comparisons.request(tools, "anna", "fruits", "2")
    assert (asked.candidate_id, asked.baseline_id, asked.dataset_version) == (second.id, first.id, 2)
    assert here.sent == [("load",)]
    assert comparisons.get(tools, "anna", asked.id) == asked
    assert here.again(made).sealed
    assert comparisons.request(tools, "anna", "fruits", "4", dataset_id=made.id).dataset_version == 2


def test_pictures_that_either_version_or_its_base_has_learned_from_are_left_out(here: Ground) -> None:
    tools, made = here.tools, here.dataset({"pear": 12, "plum": 12})
    first = here.trained(made, parameters=Parameters(seed=1, train_split_ratio=0.3))
    child = here.trained(made, base="fruits", parameters=Parameters(seed=2, train_split_ratio=0.3))
    other = here.version("fruits", "3")
    older, newer = (trainers.dealt(tools, trainings.get(tools, "anna", one.training_id)) for one in (first, child))
    fair = [one for one in newer.test if one in older.test]
    with tools.records.read() as r:
        found, left_out = comparisons.pictures(r, child, other, "anna", made.id, 1)
    assert found == fair
    assert left_out == len(newer.test) - len(fair) > 0
    datasets.add_example(tools, "anna", made.id, 1, picture(1), split=Split.TEST)
    with tools.records.read() as r:
        found, _ = comparisons.pictures(r, other, child, "anna", made.id, 2)
    assert [one.id for one in found] == [25]


def test_a_model_of_everybody_is_no_canary_of_its_own(here: Ground) -> None:
    digits = models.find(here.tools, "anna", "digits")
    assert digits.tenant == EVERYBODY
    runner: Any = SimpleNamespace(tools=None, engine=None)  # is not even asked
    Watch(runner, digits).compare([], [])
