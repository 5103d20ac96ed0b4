"""Names of models: aliases, defaults, and waiting for a version that is not ready."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from shared import errors
from shared.adapters.database.unit_of_work import Database
from shared.adapters.pauses import run
from shared.adapters.queue.waiters import Subscription
from shared.container import Container
from shared.domain.keys import DEFAULT_TENANT
from shared.domain.models import (
    ALL_TENANTS,
    CATALOGUE,
    CHECK_SECONDS,
    STANDARD,
    ModelAlias,
    ModelImport,
    ModelState,
    ModelVersion,
)
from shared.services import catalogue, default_models, models
from shared.services.default_models import DefaultModel, Origin

VIT = "google/vit-base-patch16-224"


def change(container: Container, name: str, state: ModelState, reason: str = "") -> ModelVersion:
    """Change the state of a version and announce it, as a worker does."""
    with container.database.write() as uow:
        (version,) = uow.model_versions.named(ALL_TENANTS, name)
        uow.model_versions.save(replace(version, state=state, reason=reason))
    container.queue.events.publish([version.id])
    return version


def added(container: Container, tenant: str, name: str) -> ModelVersion:
    version = ModelVersion(
        f"{tenant}-{name}", tenant, name, "1", "", "resnet18", ModelState.READY, container.now(), is_default=True
    )
    with container.database.write() as uow:
        uow.model_versions.add(version)
    return version


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], object]], None]:
    """Call a function once, when a request begins to wait for a model."""

    def arrange(what: Callable[[], object]) -> None:
        waits = iter([what])

        def start(self: Subscription, seconds: float, resume: Callable[[], None]) -> None:
            next(waits)()
            resume()

        monkeypatch.setattr(Subscription, "start", start)

    return arrange


def test_an_alias_stands_for_a_model(container: Container) -> None:
    models.alias(container, "anna", VIT, "digits")
    assert models.get_ready_version(container, "anna", VIT).name == "digits"


def test_an_alias_can_be_moved_and_taken_away(container: Container) -> None:
    added(container, "anna", "birds")
    models.alias(container, "anna", VIT, "digits")
    models.alias(container, "anna", VIT, "birds")
    assert models.get_ready_version(container, "anna", VIT).name == "birds"

    models.unalias(container, "anna", VIT)
    with pytest.raises(errors.NotFound, match="no model"):
        models.get_ready_version(container, "anna", VIT)
    with pytest.raises(errors.NotFound, match="no alias"):
        models.unalias(container, "anna", VIT)


def test_an_alias_can_be_set_by_many_at_once(database: Database) -> None:
    def put(number: int) -> None:
        with database.write() as uow:
            uow.model_aliases.set(ModelAlias("anna", VIT, f"model-{number}"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(40)))
    with database.read() as uow:
        assert len(uow.model_aliases.all("anna")) == 1


def test_an_alias_is_its_tenants_own(container: Container) -> None:
    models.alias(container, "anna", VIT, "digits")
    with pytest.raises(errors.NotFound):
        models.get_ready_version(container, "bert", VIT)
    with container.database.read() as uow:
        assert uow.model_aliases.all("bert") == []


def test_an_alias_of_an_alias_stands_for_the_model_itself(container: Container) -> None:
    models.alias(container, "anna", VIT, "digits")
    assert models.alias(container, "anna", "vit", VIT).name == "digits"


def test_an_alias_for_nothing_is_refused(container: Container) -> None:
    with pytest.raises(errors.NotFound):
        models.alias(container, "anna", VIT, "nothing")


def test_an_alias_that_is_a_models_name_is_refused(container: Container) -> None:
    with pytest.raises(errors.Conflict):
        models.alias(container, "anna", "resnet50", "digits")


def test_a_model_that_would_hide_an_alias_is_refused(container: Container) -> None:
    models.alias(container, "anna", "vit", "digits")
    with pytest.raises(errors.Conflict, match="alias"):
        models.add(container, "anna", "vit", architecture="vit_b_16")


def test_the_default_model_may_be_named_by_an_alias(container: Container) -> None:
    models.alias(container, DEFAULT_TENANT, VIT, "digits")
    chosen = replace(container, settings=container.settings.changed(default_model=VIT))
    assert catalogue.decide_default(chosen)[0] == "digits"
    assert models.get_ready_version(chosen, DEFAULT_TENANT).name == "digits"


def set_to(container: Container, default_model: str) -> Container:
    return replace(container, settings=container.settings.changed(default_model=default_model))


def test_where_nothing_is_chosen_the_standard_model_answers_all_tenants(container: Container) -> None:
    plain = set_to(container, "")
    assert catalogue.decide_default(plain) == (STANDARD, "its weights come with inferq")
    assert models.get_version(plain, "anna").name == models.get_version(plain, DEFAULT_TENANT).name == STANDARD
    assert default_models.get(plain, "anna").origin == "service"


@pytest.mark.parametrize("state", [ModelState.ABSENT, ModelState.REFUSED])
def test_bundled_weights_that_are_not_ready_are_checked_at_each_start(container: Container, state: ModelState) -> None:
    change(container, STANDARD, state, "a worker of the version before does not know the architecture")
    catalogue.fill(container)
    assert models.get_version(container, "anna", STANDARD).state is ModelState.CHECKING
    assert models.get_version(container, "anna", "resnet50").state is ModelState.ABSENT


def test_a_refused_model_of_the_catalogue_stays_for_the_next_try(container: Container) -> None:
    change(container, STANDARD, ModelState.CHECKING)
    version = models.add(container, "anna", STANDARD)
    change(container, STANDARD, ModelState.REFUSED, "its weights are damaged")
    with pytest.raises(errors.BadWeights, match="damaged"):
        run(models.wait(container, version, 1))
    assert models.add(container, "anna", STANDARD).state is ModelState.CHECKING


def test_a_setting_without_a_model_is_refused(container: Container) -> None:
    with pytest.raises(errors.NotFound, match="no model 'nowhere'"):
        catalogue.decide_default(set_to(container, "nowhere"))


def test_a_setting_that_names_one_tenants_model_leaves_the_others_the_standard_one(container: Container) -> None:
    added(container, DEFAULT_TENANT, "birds")
    chosen = set_to(container, "birds")
    name, why = catalogue.decide_default(chosen)
    assert (name, STANDARD in why) == ("birds", True)
    assert models.get_version(chosen, DEFAULT_TENANT).name == "birds"
    assert models.get_version(chosen, "anna").name == STANDARD


def test_a_setting_that_the_catalogue_has_too_is_every_tenants(container: Container) -> None:
    added(container, DEFAULT_TENANT, "resnet50")
    chosen = set_to(container, "resnet50")
    assert catalogue.decide_default(chosen) == ("resnet50", "chosen by the setting")
    assert models.get_version(chosen, DEFAULT_TENANT).tenant == DEFAULT_TENANT
    assert models.get_version(chosen, "anna").tenant == ALL_TENANTS


def test_a_tenants_model_of_the_settings_name_is_not_its_default_by_chance(container: Container) -> None:
    added(container, DEFAULT_TENANT, "birds")
    added(container, "anna", "birds")
    chosen = set_to(container, "birds")
    catalogue.decide_default(chosen)
    assert default_models.get(chosen, "anna") == DefaultModel(STANDARD, Origin.SERVICE)


def test_a_setting_that_is_an_alias_is_known_by_the_models_own_name(container: Container) -> None:
    models.alias(container, DEFAULT_TENANT, VIT, "digits")
    chosen = set_to(container, VIT)
    catalogue.decide_default(chosen)
    for tenant in (DEFAULT_TENANT, "anna"):
        assert default_models.get(chosen, tenant) == DefaultModel("digits", Origin.SETTING)


def test_a_choice_whose_model_is_gone_is_passed_over(container: Container) -> None:
    version = added(container, "anna", "birds")
    default_models.choose(container, "anna", "birds")
    models.forget(container, [version])  # as when its check refused it
    assert default_models.get(container, "anna").name == "digits"


def test_a_tenants_own_choice_comes_before_the_setting(container: Container) -> None:
    added(container, "anna", "birds")
    models.alias(container, "anna", VIT, "birds")
    assert default_models.choose(container, "anna", VIT) == DefaultModel("birds", Origin.TENANT)
    assert models.get_version(container, "anna").name == default_models.get(container, "anna").name == "birds"
    assert models.get_version(container, "bert").name == "digits"

    default_models.reset(container, "anna")
    default_models.reset(container, "anna")
    assert models.get_version(container, "anna").name == "digits"


def test_a_model_of_another_tenant_cannot_be_chosen(container: Container) -> None:
    added(container, "bert", "birds")
    with pytest.raises(errors.NotFound):
        default_models.choose(container, "anna", "birds")


def test_a_chosen_default_is_not_removed_under_the_requests_that_rely_on_it(container: Container) -> None:
    added(container, "anna", "birds")
    default_models.choose(container, "anna", "birds")
    with pytest.raises(errors.Conflict, match="your default"):
        models.remove(container, "anna", "birds")
    default_models.reset(container, "anna")
    models.remove(container, "anna", "birds")


def test_a_model_of_the_catalogue_is_fetched_for_all_and_not_added_twice(container: Container) -> None:
    added = models.add(container, "anna", "resnet50")
    assert (added.tenant, added.state) == (ALL_TENANTS, ModelState.CHECKING)
    assert models.add(container, "bert", "resnet50", architecture="resnet50").id == added.id
    with container.database.read() as uow:
        assert len(uow.model_versions.visible("anna")) == len(CATALOGUE)


def test_weights_of_ones_own_under_a_name_of_the_catalogue_are_ones_own(container: Container) -> None:
    assert models.add(container, "anna", "resnet50", imported=ModelImport("uploads/1")).tenant == "anna"
    assert models.add(container, "bert", "resnet50", architecture="resnet18").tenant == "bert"


@pytest.mark.parametrize("alias", ["", "/x", "x/", "a/b/c", "a b", "a" * 201])
def test_an_alias_that_no_client_could_ask_for_is_refused(container: Container, alias: str) -> None:
    with pytest.raises(errors.BadOption):
        models.alias(container, "anna", alias, "digits")


def test_with_the_model_go_its_aliases(container: Container) -> None:
    """Otherwise they would stand for the catalogue's model of the same name, which has other weights."""
    added(container, "anna", "digits")
    models.alias(container, "anna", VIT, "digits")
    models.remove(container, "anna", "digits")
    with pytest.raises(errors.NotFound):
        models.get_ready_version(container, "anna", VIT)


def test_without_patience_a_loading_model_is_refused_with_the_time_that_loading_took_last(container: Container) -> None:
    change(container, "digits", ModelState.CHECKING)
    with container.database.write() as uow:
        uow.key_values.set(CHECK_SECONDS, "7.5")
    with pytest.raises(errors.ModelNotReady) as refused:
        models.get_ready_version(container, "anna", "digits")
    assert refused.value.retry_after == 7.5


def test_patience_waits_for_a_model_that_is_loading(container: Container, meanwhile: Callable[..., None]) -> None:
    change(container, "digits", ModelState.CHECKING)
    meanwhile(lambda: change(container, "digits", ModelState.READY))
    assert run(models.until_ready(container, "anna", "digits", 30.0)).state is ModelState.READY


def test_patience_ends(container: Container) -> None:
    change(container, "digits", ModelState.CHECKING)
    with pytest.raises(errors.ModelNotReady):
        run(models.until_ready(container, "anna", "digits", 0.1))


def test_patience_with_weights_that_cannot_be_had_ends(container: Container, meanwhile: Callable[..., None]) -> None:
    meanwhile(lambda: change(container, "resnet50", ModelState.ABSENT, "the server does not answer"))
    with pytest.raises(errors.ModelRefused, match="the server does not answer"):
        run(models.until_ready(container, "anna", "resnet50", 30.0))


def test_a_refused_model_stays_refused_however_patient_the_caller(container: Container) -> None:
    change(container, "digits", ModelState.REFUSED, "it is broken")
    with pytest.raises(errors.ModelRefused, match="it is broken"):
        run(models.until_ready(container, "anna", "digits", 30.0))
