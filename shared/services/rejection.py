"""Use-cases of rejection rules have a worker fit the rule of a version on a dataset, change its label, or remove it.

    request ──> task `fit_rejection` ──> worker: pictures, scores, distances, rule ──event──> the waiting request

The version keeps its present rule until the new one is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import lock_names
from shared.domain.datasets import DatasetExample
from shared.domain.models import ModelState, ModelVersion, ProblemType, pick
from shared.domain.rejection import FIT_PREFIX, RejectionRequest, RejectionRule, bank_key, check_label, fit_name
from shared.services import comparison_runs
from shared.services.errands import Errand

FIT = Errand("fit_rejection", FIT_PREFIX, lock_names.rejection)
MOST_PICTURES = 2000
"""Pictures that a rule is fitted on: with more it hardly changes, and a processor needs a minute for these."""
_NAMED = 5
"""Labels that an error names."""


@dataclass(frozen=True)
class Fit:
    """Where the rule of a version stands."""

    version: ModelVersion
    """With its present rule."""
    is_running: bool = False
    failure: str = ""
    """Why the last fit has made no rule; empty if it has, or if there was none."""


def get(container: Container, tenant: str, name: str, version: str) -> Fit:
    """Return where the rule of a version stands; raises NotFound."""
    with container.database.read() as uow:
        return _fit(uow, pick(uow.model_versions.named(tenant, name), name, version))


def request(container: Container, tenant: str, name: str, version: str, wanted: RejectionRequest) -> Fit:
    """Have a worker fit a rule for a version of the tenant; raises NotFound, Forbidden, Conflict, BadOption,
    BadDataset."""
    with container.database.read() as uow:
        find_pictures(uow, own_ready(uow, tenant, name, version), wanted)
    with container.database.write() as uow:
        found = own_ready(uow, tenant, name, version)
        FIT.ask(uow, found.id, asdict(wanted))
        fit = _fit(uow, found)
    FIT.call(container, found.id)
    return fit


async def wait(container: Container, fit: Fit, seconds: float) -> Fit:
    """Return where the rule stands when its fit has ended, or after `seconds`."""

    def look() -> Fit:
        with container.database.read() as uow:
            return _fit(uow, uow.model_versions.find(fit.version.id) or fit.version)

    return await container.waiters.until(fit.version.id, look, lambda now: not now.is_running, seconds)


def relabel(container: Container, tenant: str, name: str, version: str, label: str) -> Fit:
    """Change the label of the present rule; raises NotFound, Forbidden, BadOption, Conflict if there is no rule."""
    check_label("unknown_label", label)
    with container.database.write() as uow:
        found = own_ready(uow, tenant, name, version)
        if found.rejection is None:
            raise errors.Conflict(
                f"Model {found.name} version {found.version} has no rejection rule; give a precision and a dataset."
            )
        rule = replace(found.rejection, label=label)
        uow.model_versions.set_rejection(found.id, rule)
        return _fit(uow, replace(found, rejection=rule))


def remove(container: Container, tenant: str, name: str, version: str) -> None:
    """Remove the rule of a version, which believes all answers then; raises NotFound, Forbidden."""
    with container.database.write() as uow:
        found = own_ready(uow, tenant, name, version)
        uow.model_versions.set_rejection(found.id, None)
        uow.key_values.delete(fit_name(found.id))
    _drop_banks(container, found.id, "")


def begin(container: Container, version_id: str) -> tuple[ModelVersion, RejectionRequest] | None:
    """Return what a worker is to fit; None if there is nothing to do any more.

    A fit that has used up its attempts fails here with the reason.
    """
    with container.database.write() as uow:
        version = uow.model_versions.find(version_id)
        if version is None or version.state is not ModelState.READY:
            return None
        begun = FIT.begin(container, uow, version_id)
        if begun is None:
            return None
    request, may_try = begun
    if may_try:
        return version, RejectionRequest(**request)
    FIT.fail(container, version_id, request, f"{container.settings.max_attempts} workers crashed while fitting it")
    return None


def put_back(container: Container, version_id: str) -> None:
    """Leave the fit to another attempt, without counting this one: database or storage did not allow it."""
    FIT.put_back(container, version_id)


def send_again(container: Container) -> None:
    """Have the rules fitted that are asked for, and that no worker is fitting."""
    FIT.call_again(container)


def finish(container: Container, version_id: str, fitted: RejectionRequest, rule: RejectionRule) -> None:
    """Store and announce a rule whose bank is stored, unless it is not asked for any more."""
    with container.database.write() as uow:
        version = uow.model_versions.find(version_id)
        wanted = FIT.stored(uow, version_id).get("request") == asdict(fitted)
        if version and wanted:
            uow.model_versions.set_rejection(version_id, rule)
            uow.key_values.delete(fit_name(version_id))
    kept = version.rejection if version and not wanted else rule if version else None
    _drop_banks(container, version_id, kept.bank if kept else "")
    container.queue.events.publish([version_id])


def fail(container: Container, version_id: str, fitted: RejectionRequest, reason: str) -> None:
    """Store and announce why there is no rule, unless it is not asked for any more; the version keeps the one that it
    has."""
    FIT.fail(container, version_id, asdict(fitted), reason)


def get_pictures(container: Container, version: ModelVersion, wanted: RejectionRequest) -> list[DatasetExample]:
    """Return what `find_pictures` does."""
    with container.database.read() as uow:
        return find_pictures(uow, version, wanted)


def find_pictures(uow: UnitOfWork, version: ModelVersion, wanted: RejectionRequest) -> list[DatasetExample]:
    """Return the pictures of a dataset on which the rule of a version can be fitted, MOST_PICTURES at most.

    Pictures that it has learned from are left out: it would be too sure of them. Raises NotFound; BadOption for a
    multi-label version; BadDataset if no picture is left, or its labels are not those of the version: a label without
    pictures would be unlike all that the rule knows.
    """
    if version.problem_type is ProblemType.MULTI_LABEL:
        raise errors.BadOption(
            f"{version.name} {version.version} is a multi-label model, whose thresholds say which labels are believed; "
            "a rejection rule is for single-label models."
        )
    dataset = uow.datasets.find(version.tenant, wanted.dataset_id)
    if dataset is None:
        raise errors.NotFound(f"There is no dataset {wanted.dataset_id}.")
    if dataset.is_multi_label:
        raise errors.BadOption(
            f"the dataset {dataset.name!r} is multi-label; a rejection rule is fitted on pictures with one label each"
        )
    learned = comparison_runs.learned_pictures(uow, version)
    examples = [example for example in uow.datasets.examples(dataset) if example.sha256 not in learned]
    if not examples:
        raise errors.BadDataset(
            f"The dataset {dataset.name!r} has no picture that {version.name} {version.version} has not learned from."
        )
    labels = {example.label for example in examples}
    if unknown := sorted(labels - set(version.labels)):
        raise errors.BadDataset(
            f"The labels of the dataset {dataset.name!r} are not those of {version.name} {version.version}: the model "
            f"does not know {_listed(unknown)}. Rename or remove them."
        )
    if missing := [label for label in version.labels if label not in labels]:
        raise errors.BadDataset(
            f"The dataset {dataset.name!r} has no new pictures of {_listed(missing)}, which {version.name} "
            f"{version.version} knows; all of them would be rejected. Add some."
        )
    return spread(examples)


def spread(examples: Sequence[DatasetExample]) -> list[DatasetExample]:
    """Return at most MOST_PICTURES, in turn of each label."""
    by_label: dict[int, list[DatasetExample]] = {}
    for example in examples:
        by_label.setdefault(example.label_id, []).append(example)
    turns = ((number, example) for own in by_label.values() for number, example in enumerate(own))
    return [example for _, example in sorted(turns, key=lambda turn: turn[0])][:MOST_PICTURES]


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _NAMED} more" if len(labels) > _NAMED else ""
    return ", ".join(map(repr, labels[:_NAMED])) + more


def own_ready(uow: UnitOfWork, tenant: str, name: str, version: str) -> ModelVersion:
    """Return the READY version of the tenant; raises NotFound, Forbidden, Conflict."""
    found = pick(uow.model_versions.named(tenant, name), name, version)
    if found.tenant != tenant:
        raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and cannot be changed.")
    if found.state is not ModelState.READY:
        raise errors.Conflict(f"Model {name} version {found.version} is {found.state}, not ready. {found.reason}")
    return found


def _fit(uow: UnitOfWork, version: ModelVersion) -> Fit:
    stored = FIT.stored(uow, version.id)
    return Fit(version, "request" in stored, stored.get("failure", ""))


def _drop_banks(container: Container, version_id: str, kept: str) -> None:
    """Remove the training features of a version but those that its rule compares with."""
    for key in container.storage.list(bank_key(version_id)):
        if key != kept:
            container.storage.delete(key)
