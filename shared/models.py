"""Models and their versions: what travels with the weights, and what may be done with it (rules and use-cases)."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import uuid6

from shared import errors
from shared.preprocessing import Preprocessing, PreprocessingRequest, Preset
from shared.tenants import DEFAULT

if TYPE_CHECKING:
    from shared.records import Unit
    from shared.tools import Tools

EVERYBODY = "*"
"""The tenant of the catalogue."""
PRETRAINED = "pretrained"
"""The source of weights that the family itself knows where to get."""
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ALIAS_PATTERN = re.compile(rf"(?:{NAME_PATTERN.pattern}/)?{NAME_PATTERN.pattern}")
CHECK_SECONDS = "check_seconds"
"""The fact that tells how long the last check took that ended well."""


class State(StrEnum):
    """Where a version stands. Only READY serves; there is no fallback to other weights, ever.

    ABSENT ──> CHECKING ──> READY
       ▲           └──────> REFUSED   (with the reason)
       └── in the catalogue, weights not fetched yet; a failed fetch leads back here, with the reason
    """

    ABSENT = "absent"
    CHECKING = "checking"
    READY = "ready"
    REFUSED = "refused"



@dataclass(frozen=True)
class CatalogueModel:
    """A model that every installation has from the start, for all tenants."""

    name: str
    architecture: str
    bundled: bool
    """True if the weights are installed with inferq; else they are fetched when the model is first used or added."""


CATALOGUE = (
    CatalogueModel("efficientnet_lite0", "tf_efficientnet_lite0", bundled=True),
    CatalogueModel("digits", "digits", bundled=True),
    CatalogueModel("resnet50", "resnet50", bundled=False),
)
STANDARD = CATALOGUE[0].name
"""Answers requests that name no model where neither the tenant nor the setting has chosen one."""
_DEFAULT = "default_model"
"""The fact that names the default of all tenants; with a colon and the tenant, the one that the tenant has chosen."""


@dataclass(frozen=True)
class Example:
    """One picture and the answer that a worker must reproduce before the version is served."""

    blob: str
    logits: tuple[float, ...]
    """The first ten logits, in label order, of the plain float32 model."""


@dataclass(frozen=True)
class Version:
    """One servable set of weights and everything that belongs to it."""

    id: str
    tenant: str
    """Whose it is; EVERYBODY's is the catalogue."""
    name: str
    version: str
    """`1` is the first."""
    family: str
    """The file in worker/families that builds it, or empty until a worker has found it by the architecture."""
    architecture: str
    state: State
    created_at: float
    """Unix seconds."""
    is_default: bool = False
    """Answers requests that name the model but no version."""
    labels: tuple[str, ...] = ()
    """In the order of the logits. Empty until the weights are known."""
    preprocessing: Preprocessing | None = None
    """None until the weights are known."""
    source: str = PRETRAINED
    """Where the weights come from: PRETRAINED, or the key of the uploaded file."""
    weights: str = ""
    """Key of the safetensors blob; empty until checked."""
    checksum: str = ""
    """SHA-256 of that blob, hex."""
    example: Example | None = None
    reason: str = ""
    """Why it is not READY, or how far it is, for people."""
    max_batch: int = 0
    """Pictures in one batch; 0 is the setting."""
    max_delay_ms: int = 0
    """How long an unfilled batch may wait for more; 0 is never."""
    metrics: dict[str, object] = field(default_factory=dict)
    attempts: int = 0
    """How often a worker has begun to check it; one that kills its workers is refused."""
    training_id: str = ""
    """The training that made it, with its evidence; empty for one that was brought or is the catalogue's."""
    withheld: bool = False
    """Trained for a wire on which it does not answer before it is deployed there; the others do not ask."""
    canary: float = 0.0
    """Share of the requests naming no version that it answers, though it is not the default; 0 to 1."""
    preset: Preset | None = None
    """Where `preprocessing` is known from; None until a worker has checked an import."""
    wanted_preprocessing: PreprocessingRequest | None = None
    """What the import asked for; None where it said nothing."""


@dataclass(frozen=True)
class Alias:
    """Another name for a model, such as `google/vit-base-patch16-224`."""

    tenant: str
    alias: str
    name: str
    """Of the model, whose default version answers."""


def servable(tools: Tools, tenant: str, name: str = "", version: str = "", patience: float = 0.0) -> Version:
    """The READY version behind a name or alias; raises NotFound, ModelRefused, or ModelNotReady with what to do.

    The first use of a model of the catalogue fetches its weights. The request that causes it is refused with a time
    after which to come again, rather than kept: whether the weights can be had at all is not known yet. A caller with
    `patience` is kept for up to so many seconds, until that is known.
    """
    found = find(tools, tenant, name, version, chance=random.random())  # noqa: S311 - decides who answers, no secret
    state, said = found.state, found.reason
    if state is State.ABSENT:
        found = _fetch(tools, found)
    if patience and found.state is State.CHECKING:
        found = until_checked(tools, found, patience)
        state, said = found.state, found.reason
    if found.state is State.READY:
        return found
    where = f"model {found.name} version {found.version}"
    if found.state is State.REFUSED:
        raise errors.ModelRefused(f"The {where} was refused: {said}")
    if found.state is State.ABSENT:
        raise errors.ModelRefused(f"The {where} is not at hand: {said}")
    with tools.records.read() as r:
        expected = float(r.facts.get(CHECK_SECONDS) or 0) or None
    if state is State.CHECKING:
        text = f"The {where} is being checked: {said or 'a worker is loading it'}."
    elif said:
        text = f"The {where} is not at hand; the last try said: {said}"
    else:
        text = f"The {where} is not at hand yet: its weights are being fetched now. Come again."
    raise errors.ModelNotReady(text, retry_after=expected)


def find(tools: Tools, tenant: str, name: str = "", version: str = "", chance: float = 1.0) -> Version:
    """The version behind a name or alias in whatever state; no name is the default model. Raises NotFound.

    Where no version is named, a canary takes the default's place if `chance`, from 0 to 1, is below its share.
    """
    with tools.records.read() as r:
        name = name or default_name(tools, r, tenant)
        versions = _behind(r, tenant, name)
        known = [] if versions else sorted({seen.name for seen in r.versions.visible(tenant)})
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}; there are: {', '.join(known[:20])}.")
    canary = next((known for known in versions if chance < known.canary and known.state is State.READY), None)
    return canary if canary and not version else pick(versions, name, version)


def _behind(r: Unit, tenant: str, name: str) -> list[Version]:
    """The versions behind a name or alias, oldest first; none where there is no such model."""
    versions = r.versions.named(tenant, name)
    if not versions and (alias := r.aliases.get(tenant, name)):
        versions = r.versions.named(tenant, alias.name)
    return versions


def default_name(tools: Tools, r: Unit, tenant: str) -> str:
    """The model that answers a tenant's requests that name none.

    It is the one that the tenant has chosen; else that of the setting, if the tenant may use it; else the service's.
    A setting that names one tenant's model must not make the others' requests fail.
    """
    chosen = r.facts.get_all([_own(tenant), _DEFAULT])
    if own := chosen.get(_own(tenant)):
        return own
    setting = tools.settings.default_model
    return setting if setting and _behind(r, tenant, setting) else chosen.get(_DEFAULT, STANDARD)


def chosen_default(tools: Tools, tenant: str) -> str:
    """The model that the tenant, or else the setting, has chosen to be the tenant's default; empty for neither."""
    with tools.records.read() as r:
        if own := r.facts.get(_own(tenant)):
            return own
        setting = tools.settings.default_model
        return setting if setting and _behind(r, tenant, setting) else ""


def choose_default(tools: Tools, tenant: str, name: str) -> str:
    """Let a model answer the tenant's requests that name none; its name. Raises NotFound."""
    name = find(tools, tenant, name).name
    with tools.records.write() as r:
        r.facts.set(_own(tenant), name)
    return name


def reset_default(tools: Tools, tenant: str) -> None:
    """Take back the tenant's choice of a default, if there is one; the service's default answers again."""
    with tools.records.write() as r:
        r.facts.delete(_own(tenant))


def _own(tenant: str) -> str:
    return f"{_DEFAULT}:{tenant}"


def alias(tools: Tools, tenant: str, alias: str, name: str) -> Alias:
    """Let `alias` stand for a model from now on, on every wire; raises NotFound, BadOption, Conflict."""
    if not ALIAS_PATTERN.fullmatch(alias):
        raise errors.BadOption("an alias is a name or OWNER/NAME of letters, digits, '.', '_' and '-', 100 each")
    made = Alias(tenant, alias, find(tools, tenant, name).name)
    with tools.records.write() as r:
        if r.versions.named(tenant, alias):
            raise errors.Conflict(f"There is a model {alias!r}; an alias would never be looked at.")
        if busy := r.trainings.live_of(tenant, alias):
            raise errors.Conflict(f"The training {busy.id} makes a model {alias!r}; an alias would never be looked at.")
        r.aliases.set(made)
    return made


def unalias(tools: Tools, tenant: str, alias: str) -> None:
    """Raises NotFound when there is no such alias."""
    with tools.records.write() as r:
        if not r.aliases.delete(tenant, alias):
            raise errors.NotFound(f"There is no alias {alias!r}.")


def pick(versions: Sequence[Version], name: str, version: str = "") -> Version:
    """The version asked for, or the default one; raises NotFound naming what there is."""
    if not versions:
        raise errors.NotFound(f"There is no model {name!r}.")
    if not version:
        return next((candidate for candidate in versions if candidate.is_default), versions[-1])
    for candidate in versions:
        if candidate.version == version:
            return candidate
    known = ", ".join(candidate.version for candidate in versions)
    raise errors.NotFound(f"Model {name!r} has no version {version!r}; it has: {known}.")


def add(tools: Tools, tenant: str, name: str, *, architecture: str = "", version: str = "", source: str = PRETRAINED,
        labels: Sequence[str] = (), preprocessing: PreprocessingRequest | None = None) -> Version:  # fmt: skip
    """Register a version and have a worker check it; raises BadOption, Conflict.

    `source` is PRETRAINED or the key of an uploaded weights file. Empty labels are those of the pretrained weights.
    A model of the catalogue by its own name is fetched for all tenants, not registered a second time.
    """
    if not NAME_PATTERN.fullmatch(name) or (version and not NAME_PATTERN.fullmatch(version)):
        raise errors.BadOption("names and versions are made of letters, digits, '.', '_' and '-', 100 at most")
    plain = source == PRETRAINED and not (version or labels or preprocessing)
    if plain and (listed := _in_catalogue(tools, tenant, name, architecture)):
        return _fetch(tools, listed)
    with tools.records.read() as r:
        known_before = r.versions.named(tenant, name)
    forget(tools, [known for known in known_before if known.tenant == tenant and known.state is State.REFUSED])
    with tools.records.write() as r:
        if r.aliases.get(tenant, name):
            raise errors.Conflict(f"{name!r} is an alias, and would no longer be looked at; remove that first.")
        versions = [known for known in r.versions.named(tenant, name) if known.tenant == tenant]
        version = version or next_version(versions)
        if any(known.version == version for known in versions):
            raise errors.Conflict(f"Model {name!r} has a version {version!r} already; take another or remove it first.")
        added = Version(
            id=str(uuid6.uuid7()),
            tenant=tenant,
            name=name,
            version=version,
            family="",
            architecture=architecture or name,
            state=State.CHECKING,
            created_at=tools.now(),
            is_default=not versions,
            labels=tuple(labels),
            source=source,
            reason="waiting for a worker",
            wanted_preprocessing=preprocessing,
        )
        r.versions.add(added)
    tools.queue.call("check", added.id)
    return added


def _in_catalogue(tools: Tools, tenant: str, name: str, architecture: str) -> Version | None:
    """The catalogue's version of that name and architecture, unless the tenant has a model of its own by that name."""
    if not any(name == known.name and architecture in ("", known.architecture) for known in CATALOGUE):
        return None
    with tools.records.read() as r:
        return next((known for known in r.versions.named(tenant, name) if known.tenant == EVERYBODY), None)


def wait(tools: Tools, version: Version, seconds: float) -> Version:
    """The version when its check has ended, or as it is when the time is over; raises BadWeights when refused.

    A version whose refusal is told here is forgotten: nothing stays half-registered.
    """
    version = until_checked(tools, version, seconds)
    if version.state is State.REFUSED:
        forget(tools, [version])
        raise errors.BadWeights(version.reason)
    return version


def until_checked(tools: Tools, version: Version, seconds: float) -> Version:
    """The version when its check has ended, however it did, or as it is when the time is over."""

    def look() -> Version:
        with tools.records.read() as r:
            return r.versions.get(version.id) or version

    return tools.waiters.until(version.id, look, lambda found: found.state is not State.CHECKING, seconds)


def remove(tools: Tools, tenant: str, name: str, version: str = "") -> None:
    """Remove one version, or all; raises NotFound, Forbidden for the catalogue, Conflict while something needs it.

    The default is needed as long as it answers and another version could take its place: which one that is to be is
    for a promotion to say.
    """
    with tools.records.write() as r:
        versions = r.versions.named(tenant, name)
        chosen = [pick(versions, name, version)] if version else versions
        if not chosen:
            raise errors.NotFound(f"There is no model {name!r}.")
        if any(found.tenant != tenant for found in chosen):
            raise errors.Forbidden(f"Model {name!r} belongs to the catalogue and cannot be removed.")
        if version:
            _must_not_decide(chosen[0], versions)
        # Deleted first: on PostgreSQL that waits for submissions which hold the version, and bars later ones.
        used = _drop_rows(r, chosen)
        _must_be_idle(r, tenant, name, chosen, whole=not version)
        left = [known for known in r.versions.named(tenant, name) if known.tenant == tenant]
        if not left and r.facts.get(_own(tenant)) == name:
            raise errors.Conflict(f"Model {name!r} is your default: choose another one first, or take the choice back.")
        if not version:  # with the model goes what is known of trainings that came to nothing
            r.trainings.delete_of(tenant, name)
        if not left:
            r.aliases.delete_of(tenant, name)  # else they would stand for one of everybody's by the same name
        elif not any(known.is_default for known in left):
            r.versions.make_default([known for known in left if known.state is State.READY or known is left[0]][-1])
    _drop_blobs(tools, chosen, used)


def forget(tools: Tools, chosen: Sequence[Version]) -> None:
    """Delete rows with all that is told of them, and the blobs that no other version refers to."""
    with tools.records.write() as r:
        used = _drop_rows(r, chosen)
    _drop_blobs(tools, chosen, used)


def example_key(version_id: str) -> str:
    """The blob of the picture that a worker must reproduce the answer to."""
    return f"examples/{version_id}.png"


def trained_weights(training_id: str, checksum: str = "") -> str:
    """The blob of the weights that a training makes, or the folder of all that its trainers have made."""
    # With the checksum, so that a trainer which lost its lock cannot overwrite what another one has registered.
    return f"weights/{training_id}/{checksum}.safetensors" if checksum else f"weights/{training_id}"


def drop_made(tools: Tools, training_id: str) -> None:
    """Remove what a training has made, and has not been registered; its version would have the training's id."""
    for blob in (*tools.storage.list(trained_weights(training_id)), example_key(training_id)):
        tools.storage.delete(blob)
    drop_plots(tools, training_id)


def plots(training_id: str) -> str:
    """The folder of the pictures of a training's evidence."""
    return f"plots/{training_id}"


def drop_plots(tools: Tools, training_id: str) -> None:
    """Remove the pictures of a training's evidence."""
    for key in tools.storage.list(plots(training_id)):
        tools.storage.delete(key)


def _must_not_decide(leaving: Version, versions: Sequence[Version]) -> None:
    """Raise Conflict for a default that answers while another version could: nobody has chosen which one."""
    ready = [known for known in versions if known.state is State.READY]
    if leaving.is_default and leaving in ready and len(ready) > 1:
        raise errors.Conflict(
            f"Version {leaving.version} is the default of {leaving.name!r}: promote another one first, or remove the "
            "whole model."
        )


def _must_be_idle(r: Unit, tenant: str, name: str, chosen: Sequence[Version], *, whole: bool) -> None:
    """Raise Conflict while jobs wait for these versions, or a training starts from them or makes another one."""
    busy = r.jobs.left_by_version()
    if waiting := sum(busy.get(found.id, 0) for found in chosen):
        raise errors.Conflict(f"{waiting} pictures wait for model {name!r}; cancel their jobs, or let them finish.")
    training = r.trainings.live_of(tenant, name) if whole else None
    if using := [*([training] if training else []), *r.trainings.live_from([found.id for found in chosen])]:
        raise errors.Conflict(f"The training {using[0].id} needs model {name!r}; cancel it, or let it finish.")


def _drop_rows(r: Unit, chosen: Sequence[Version]) -> set[str]:
    """Delete versions with all that is told of them; the keys of their weights that other versions refer to."""
    ids = [version.id for version in chosen]
    r.versions.delete(ids)
    r.comparisons.delete_of(ids)
    r.promotions.delete_of(ids)
    r.trainings.delete([version.training_id for version in chosen if version.training_id])
    return r.versions.known_weights([version.weights for version in chosen if version.weights])


def _drop_blobs(tools: Tools, chosen: Sequence[Version], used: set[str]) -> None:
    for version in chosen:
        blobs = {version.weights, version.source, version.example.blob if version.example else ""}
        for blob in blobs - used - {"", PRETRAINED}:
            tools.storage.delete(blob)
        if version.training_id:
            drop_plots(tools, version.training_id)


def fill_catalogue(tools: Tools) -> None:
    """Register the catalogue's models that are not there yet; their weights come when they are first used."""
    with tools.records.write() as r:
        for listed in CATALOGUE:
            if not [known for known in r.versions.named(EVERYBODY, listed.name) if known.tenant == EVERYBODY]:
                state = State.CHECKING if listed.name == "digits" else State.ABSENT
                r.versions.add(
                    Version(
                        id=str(uuid6.uuid7()),
                        tenant=EVERYBODY,
                        name=listed.name,
                        version="1",
                        family="",
                        architecture=listed.architecture,
                        state=state,
                        created_at=tools.now(),
                        is_default=True,
                    )
                )


def decide_default(tools: Tools) -> tuple[str, str]:
    """(the default model, why): decided once per start, and said aloud. Raises NotFound for a setting without a model.

    The default of the service is one that all tenants may use; its weights are checked now where they are at hand.
    """
    setting = tools.settings.default_model
    chosen = find(tools, DEFAULT, setting) if setting else None
    with tools.records.write() as r:
        everybodys = chosen.name if chosen and chosen.tenant == EVERYBODY else STANDARD
        r.facts.set(_DEFAULT, everybodys)
        (standard, *_) = r.versions.named(EVERYBODY, everybodys)
    if standard.state is State.ABSENT and any(known.name == everybodys and known.bundled for known in CATALOGUE):
        _fetch(tools, standard)
    if chosen is None:
        return STANDARD, "its weights come with inferq"
    if chosen.tenant == EVERYBODY:
        return chosen.name, "chosen by the setting"
    return chosen.name, f"chosen by the setting; other tenants, who cannot use it, get {STANDARD}"


def _fetch(tools: Tools, version: Version) -> Version:
    """Have a worker fetch and check a version whose weights are not at hand; the version as it is then."""
    with tools.records.write() as r:
        now = r.versions.get(version.id) or version
        if now.state is not State.ABSENT:
            return now  # another request was first
        now = replace(now, state=State.CHECKING, attempts=0, reason="its weights are being fetched")
        r.versions.save(now)
    tools.queue.call("check", version.id)
    return now


def next_version(versions: Sequence[Version]) -> str:
    """The number after the highest of these; versions may have names that are no numbers."""
    numbers = [int(known.version) for known in versions if known.version.isdigit()]
    return str(max(numbers, default=0) + 1)
