"""Use-cases of drift compare the answers of each day with a version's reference, and raise an alarm for a finished day.

batch ──counts, in its commit──> days ──┐
training, or a dataset ──> reference ───┴──> report, metrics; maintenance: alarm ──> webhook
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import uuid6

from shared import errors
from shared.container import Container, UnitOfWork
from shared.domain import drift
from shared.domain.drift import Alarm, Comparison, Counted, Reference, Verdict
from shared.domain.models import ALL_TENANTS, ModelState, ModelVersion, pick
from shared.domain.observations import Observation
from shared.domain.webhooks import ModelWebhook

log = logging.getLogger(__name__)

FOLDED, FOLDED_AT_ONCE = 100, 2000
"""Rows of a day that may stay, and that are replaced in one commit."""
SETTLED = 300.0
"""Seconds after midnight (UTC) at which a day is finished: a batch that was answered before is stored by then."""
REMEMBERED = 60.0
"""Seconds for which the comparisons of the last finished day are kept; that day gets no more pictures, but a version
may get another reference."""
JUDGED = "drift_judged"
"""The name of the key-value pair that holds the last day whose alarms were raised."""


@dataclass(frozen=True)
class Report:
    """What is known of the drift of one version."""

    version: ModelVersion
    reference: Reference | None
    days: Sequence[Comparison]
    """The days with pictures, oldest first."""
    recent: Comparison | None
    """The last days together, see `drift.recent`; None without pictures."""
    verdict: Verdict
    webhook: ModelWebhook | None


def get(container: Container, tenant: str, name: str, version: str, days: int) -> Report:
    """Return the drift of a version, by default the default version, over so many days with today; raises NotFound."""
    today = drift.day_of(container.now())
    since, recent_since = (drift.days_before(today, number - 1) for number in (days, drift.RECENT_DAYS))
    with container.database.read() as uow:
        chosen = pick(uow.model_versions.named(tenant, name), name, version)
        reference = uow.drift.find_reference(chosen.id)
        counted = uow.drift.counted(chosen.id, min(since, recent_since))
        webhook = uow.drift.find_webhook(tenant, chosen.name)
    last = drift.recent(counted, today)
    recent = drift.compare(last, reference) if last else None
    if chosen.tenant == ALL_TENANTS:
        verdict = Verdict.NOT_COUNTED
    else:
        verdict = drift.verdict(recent) if reference else Verdict.NO_REFERENCE
    listed = [drift.compare(of_day, reference) for day, of_day in _by_day(counted).items() if day >= since]
    return Report(chosen, reference, listed, recent, verdict, webhook)


def set_webhook(container: Container, tenant: str, name: str, webhook: ModelWebhook) -> None:
    """Have the owner of a model called back when one of its days has drifted; raises NotFound, Forbidden."""
    with container.database.write() as uow:
        own(uow, tenant, name)
        uow.drift.set_webhook(tenant, name, webhook)


def clear_webhook(container: Container, tenant: str, name: str) -> None:
    """Call the owner of a model back no more; raises NotFound, Forbidden."""
    with container.database.write() as uow:
        own(uow, tenant, name)
        uow.drift.delete_webhook(tenant, name)


def own(uow: UnitOfWork, tenant: str, name: str, version: str = "") -> ModelVersion:
    """Return a version of the tenant, by default the default version; raises NotFound, Forbidden for the catalogue."""
    found = pick(uow.model_versions.named(tenant, name), name, version)
    if found.tenant != tenant:
        raise errors.Forbidden(f"Model {name!r} belongs to the catalogue, whose answers are not counted.")
    return found


def note(container: Container, observation: Observation) -> None:
    """Count an answer that no batch records, within some seconds; it is lost if this process is killed before."""
    container.postponed(_count)(observation)


def _count(container: Container, observations: Sequence[Observation]) -> None:
    with container.database.write() as uow:
        uow.drift.count(observations, container.now())


def find_alarm(container: Container, tenant: str, alarm_id: str) -> Alarm | None:
    """Return an alarm of the tenant; None if it was removed with its model, or is too old."""
    with container.database.read() as uow:
        return uow.drift.find_alarm(tenant, alarm_id)


def list_finished(container: Container) -> list[tuple[ModelVersion, Comparison]]:
    """Return the versions of all tenants that have a reference and answered pictures on the last finished day, with
    that day. They are remembered for REMEMBERED seconds, or until a key or a model changes: each scrape of the metrics
    asks for them, and they take two queries and a comparison for each version."""

    def look() -> list[tuple[ModelVersion, Comparison]]:
        with container.database.read() as uow:
            compared = _compared(uow, day)
        return [(version, comparison) for version, _, comparison in compared]

    day = _last_finished(container)
    return container.lookups.get(("drift", day), look, REMEMBERED)


# -- for maintenance


def raise_alarms(container: Container) -> None:
    """Judge the days that have finished since the last time, of a week at most, and raise an alarm for each kind that
    has drifted; their callbacks become due."""
    last = _last_finished(container)
    with container.database.read() as uow:
        judged = uow.key_values.get(JUDGED)
    if judged >= last:
        return
    days = [drift.days_before(last, number) for number in reversed(range(drift.RECENT_DAYS))]
    for day in [day for day in days if day > judged]:
        with container.database.read() as uow:  # apart: on SQLite a transaction that writes keeps all others waiting
            compared = _compared(uow, day)
        with container.database.write() as uow:
            existing = uow.version_locks.keep({version.id for version, _, comparison in compared if comparison.drifted})
            for version, reference, comparison in compared:
                if version.id in existing:
                    _raise_alarms(container, uow, version, reference, comparison)
            uow.key_values.set(JUDGED, day)
    container.queue.notifications.send_task("deliver")


def fold(container: Container) -> None:
    """Replace the many small counts of today and yesterday by their sums."""
    since = drift.days_before(drift.day_of(container.now()), 1)
    with container.database.read() as uow:
        many = uow.drift.unfolded(since, FOLDED)
    for version_id, day in many:
        count = FOLDED_AT_ONCE
        while count >= FOLDED_AT_ONCE:
            with container.database.write() as uow:
                count = uow.drift.fold(version_id, day, FOLDED_AT_ONCE)


def drop_old(container: Container) -> None:
    """Delete the counts and alarms of more than KEPT_DAYS ago."""
    with container.database.write() as uow:
        uow.drift.drop_before(drift.days_before(drift.day_of(container.now()), drift.KEPT_DAYS))


def _last_finished(container: Container) -> str:
    return drift.days_before(drift.day_of(container.now() - SETTLED), 1)


def _compared(uow: UnitOfWork, day: str) -> list[tuple[ModelVersion, Reference, Comparison]]:
    """Return the versions that answered pictures on a day and have a reference, with that and their comparison."""
    found = []
    for version_id, counted in uow.drift.counted_on(day).items():
        reference, version = uow.drift.find_reference(version_id), uow.model_versions.find(version_id)
        if reference and version and version.state is ModelState.READY:
            found.append((version, reference, drift.compare(counted, reference)))
    return found


def _raise_alarms(
    container: Container, uow: UnitOfWork, version: ModelVersion, reference: Reference, comparison: Comparison
) -> None:
    webhook = uow.drift.find_webhook(version.tenant, version.name) or ModelWebhook("", "")
    for kind in comparison.drifted:
        shift = comparison.shifts[kind]
        alarm = Alarm(
            id=str(uuid6.uuid7()),
            tenant=version.tenant,
            version_id=version.id,
            name=version.name,
            version=version.version,
            day=comparison.day,
            kind=kind,
            effect=shift.effect or 0.0,
            p_value=1.0 if shift.p_value is None else shift.p_value,
            pictures=comparison.pictures,
            reference_pictures=reference.profile.of(kind).total(),
            webhook=webhook.url,
            webhook_secret=webhook.secret,
            created_at=container.now(),
        )
        if uow.drift.add_alarm(alarm):
            log.info("%s %s has drifted on %s: %s", version.name, version.version, comparison.day, kind)


def _by_day(counted: Sequence[Counted]) -> dict[str, list[Counted]]:
    days: dict[str, list[Counted]] = {}
    for each in counted:
        days.setdefault(each.day, []).append(each)
    return days
