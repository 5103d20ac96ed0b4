"""Which version a name stands for: aliases, defaults, and patience with a model that is loading."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shared import errors, models
from shared.models import EVERYBODY, State, Version
from shared.records import Records
from shared.tenants import DEFAULT
from shared.tools import Tools
from shared.waiting import Ticket

VIT = "google/vit-base-patch16-224"


def change(tools: Tools, name: str, state: State, reason: str = "") -> Version:
    """As a worker would, with the announcement."""
    with tools.records.write() as r:
        (version,) = r.versions.named(EVERYBODY, name)
        r.versions.save(replace(version, state=state, reason=reason))
    tools.queue.announce([version.id])
    return version


def added(tools: Tools, tenant: str, name: str) -> Version:
    version = Version(f"{tenant}-{name}", tenant, name, "1", "", "resnet18", State.READY, tools.now(), is_default=True)
    with tools.records.write() as r:
        r.versions.add(version)
    return version


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Do something once, when somebody waits for a model."""

    def arrange(what: Callable[[], object]) -> None:
        waits = iter([what])
        monkeypatch.setattr(Ticket, "wait", lambda self, seconds: next(waits)())

    return arrange


def test_an_alias_stands_for_a_model(tools: Tools) -> None:
    models.alias(tools, "anna", VIT, "digits")
    assert models.servable(tools, "anna", VIT).name == "digits"


def test_an_alias_can_be_moved_and_taken_away(tools: Tools) -> None:
    added(tools, "anna", "birds")
    models.alias(tools, "anna", VIT, "digits")
    models.alias(tools, "anna", VIT, "birds")
    assert models.servable(tools, "anna", VIT).name == "birds"

    models.unalias(tools, "anna", VIT)
    with pytest.raises(errors.NotFound, match="no model"):
        models.servable(tools, "anna", VIT)
    with pytest.raises(errors.NotFound, match="no alias"):
        models.unalias(tools, "anna", VIT)


def test_an_alias_can_be_set_by_many_at_once(records: Records) -> None:
    def put(number: int) -> None:
        with records.write() as r:
            r.aliases.set(models.Alias("anna", VIT, f"model-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(40)))
    with records.read() as r:
        assert len(r.aliases.all("anna")) == 1


def test_an_alias_is_its_tenants_own(tools: Tools) -> None:
    models.alias(tools, "anna", VIT, "digits")
    with pytest.raises(errors.NotFound):
        models.servable(tools, "bert", VIT)
    with tools.records.read() as r:
        assert r.aliases.all("bert") == []


def test_an_alias_of_an_alias_stands_for_the_model_itself(tools: Tools) -> None:
    models.alias(tools, "anna", VIT, "digits")
    assert models.alias(tools, "anna", "vit", VIT).name == "digits"


def test_an_alias_for_nothing_is_refused(tools: Tools) -> None:
    with pytest.raises(errors.NotFound):
        models.alias(tools, "anna", VIT, "nothing")


def test_an_alias_that_is_a_models_name_is_refused(tools: Tools) -> None:
    with pytest.raises(errors.Conflict):
        models.alias(tools, "anna", "resnet50", "digits")


def test_a_model_that_would_hide_an_alias_is_refused(tools: Tools) -> None:
    models.alias(tools, "anna", "vit", "digits")
    with pytest.raises(errors.Conflict, match="alias"):
        models.add(tools, "anna", "vit", architecture="vit_b_16")


def test_the_default_model_may_be_named_by_an_alias(tools: Tools) -> None:
    models.alias(tools, DEFAULT, VIT, "digits")
    chosen = replace(tools, settings=replace(tools.settings, default_model=VIT))
    assert models.decide_default(chosen)[0] == "digits"
    assert models.servable(chosen, DEFAULT).name == "digits"


def set_to(tools: Tools, default_model: str) -> Tools:
    return replace(tools, settings=replace(tools.settings, default_model=default_model))


def test_where_nothing_is_chosen_the_standard_model_answers_everybody(tools: Tools) -> None:
    plain = set_to(tools, "")
    assert models.decide_default(plain) == (models.STANDARD, "its weights come with inferq")
    assert models.find(plain, "anna").name == models.find(plain, DEFAULT).name == models.STANDARD
    assert models.chosen_default(plain, "anna") == ""


def test_the_standard_models_weights_are_checked_as_soon_as_it_is_the_default(tools: Tools) -> None:
    assert models.find(tools, "anna", models.STANDARD).state is State.ABSENT
    models.decide_default(set_to(tools, ""))
    assert models.find(tools, "anna", models.STANDARD).state is State.CHECKING
    assert models.find(tools, "anna", "resnet50").state is State.ABSENT


def test_a_setting_without_a_model_is_refused(tools: Tools) -> None:
    with pytest.raises(errors.NotFound, match="no model 'nowhere'"):
        models.decide_default(set_to(tools, "nowhere"))


def test_a_setting_that_names_one_tenants_model_leaves_the_others_the_standard_one(tools: Tools) -> None:
    added(tools, DEFAULT, "birds")
    chosen = set_to(tools, "birds")
    name, why = models.decide_default(chosen)
    assert (name, models.STANDARD in why) == ("birds", True)
    assert models.find(chosen, DEFAULT).name == "birds"
    assert models.find(chosen, "anna").name == models.STANDARD


def test_a_tenants_own_choice_comes_before_the_setting(tools: Tools) -> None:
    added(tools, "anna", "birds")
    models.alias(tools, "anna", VIT, "birds")
    assert models.choose_default(tools, "anna", VIT) == "birds"
    assert models.find(tools, "anna").name == models.chosen_default(tools, "anna") == "birds"
    assert models.find(tools, "bert").name == "digits"

    models.reset_default(tools, "anna")
    models.reset_default(tools, "anna")
    assert models.find(tools, "anna").name == "digits"


def test_a_model_of_another_tenant_cannot_be_chosen(tools: Tools) -> None:
    added(tools, "bert", "birds")
    with pytest.raises(errors.NotFound):
        models.choose_default(tools, "anna", "birds")


def test_a_chosen_default_is_not_removed_under_the_requests_that_rely_on_it(tools: Tools) -> None:
    added(tools, "anna", "birds")
    models.choose_default(tools, "anna", "birds")
    with pytest.raises(errors.Conflict, match="your default"):
        models.remove(tools, "anna", "birds")
    models.reset_default(tools, "anna")
    models.remove(tools, "anna", "birds")


def test_a_model_of_the_catalogue_is_fetched_for_all_and_not_added_twice(tools: Tools) -> None:
    found = models.add(tools, "anna", "resnet50")
    assert (found.tenant, found.state) == (EVERYBODY, State.CHECKING)
    assert models.add(tools, "bert", "resnet50", architecture="resnet50").id == found.id
    with tools.records.read() as r:
        assert len(r.versions.visible("anna")) == len(models.CATALOGUE)


def test_weights_of_ones_own_under_a_name_of_the_catalogue_are_ones_own(tools: Tools) -> None:
    assert models.add(tools, "anna", "resnet50", source="uploads/1").tenant == "anna"
    assert models.add(tools, "bert", "resnet50", architecture="resnet18").tenant == "bert"


@pytest.mark.parametrize("alias", ["", "/x", "x/", "a/b/c", "a b", "a" * 201])
def test_an_alias_that_no_client_could_ask_for_is_refused(tools: Tools, alias: str) -> None:
    with pytest.raises(errors.BadOption):
        models.alias(tools, "anna", alias, "digits")


def test_with_the_model_go_its_aliases(tools: Tools) -> None:
    """Else they would stand for everybody's model of the same name, with other weights."""
    added(tools, "anna", "digits")
    models.alias(tools, "anna", VIT, "digits")
    models.remove(tools, "anna", "digits")
    with pytest.raises(errors.NotFound):
        models.servable(tools, "anna", VIT)


def test_without_patience_a_loading_model_is_refused_with_the_time_that_loading_took_last(tools: Tools) -> None:
    change(tools, "digits", State.CHECKING)
    with tools.records.write() as r:
        r.facts.set(models.CHECK_SECONDS, "7.5")
    with pytest.raises(errors.ModelNotReady) as refused:
        models.servable(tools, "anna", "digits")
    assert refused.value.retry_after == 7.5


def test_patience_waits_for_a_model_that_is_loading(tools: Tools, meanwhile: Callable[..., None]) -> None:
    change(tools, "digits", State.CHECKING)
    meanwhile(lambda: change(tools, "digits", State.READY))
    assert models.servable(tools, "anna", "digits", patience=30.0).state is State.READY


def test_patience_ends(tools: Tools) -> None:
    change(tools, "digits", State.CHECKING)
    with pytest.raises(errors.ModelNotReady):
        models.servable(tools, "anna", "digits", patience=0.1)


def test_patience_with_weights_that_cannot_be_had_ends(tools: Tools, meanwhile: Callable[..., None]) -> None:
    meanwhile(lambda: change(tools, "resnet50", State.ABSENT, "the server does not answer"))
    with pytest.raises(errors.ModelRefused, match="the server does not answer"):
        models.servable(tools, "anna", "resnet50", patience=30.0)


def test_a_refused_model_stays_refused_however_patient_the_caller(tools: Tools) -> None:
    change(tools, "digits", State.REFUSED, "it is broken")
    with pytest.raises(errors.ModelRefused, match="it is broken"):
        models.servable(tools, "anna", "digits", patience=30.0)
