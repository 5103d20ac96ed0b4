"""The diagnosis of a running service: what its parts tell of themselves, the rules that judge it, and the cures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from shared.domain.counted import counted, verb
from shared.domain.history import MINUTE, Point, merged
from shared.domain.keys import ApiKey
from shared.domain.sizes import in_units
from shared.domain.webhooks import DELAYS, FailingReceiver

CLOCK = 2.0
"""Seconds by which two clocks may differ."""
SLOW_ANSWER = 0.1
"""Seconds in which the database and Redis answer the smallest question, over a network as well."""
SLOW_QUERY = 10.0
"""Seconds that a query may take; those of inferq take milliseconds."""
FULL = 0.9
"""Share of its memory that Redis may use before it is said to be nearly full."""
LEAST_FREE = 2 * 1024**3
"""Free bytes of a disk below which weights and pictures soon find no room."""
LONG_WAIT = 60.0
"""Seconds for which the oldest picture may wait before the queue is said to be slow."""
GROWN = 10
"""Pictures by which a queue must have grown in the last minutes."""
WATCHED = 10
"""Minutes for which a worker is missed that no longer runs."""
SILENT_MINUTES = 3
"""Minutes without a sample after which maintenance is taken to be down."""
KEYS_AHEAD = 7 * 86_400.0
"""Seconds before a key that is in use expires from which on it is said; it is in use if it was used that long ago."""
MOST_COUNTED = 100
"""Dead letters that are counted, and callbacks that were given up."""
MOST_CALLBACKS = 1000
"""Callbacks that are counted, of all that wait."""
MORE_MEMORY = "let the workers run what waits, or give Redis more memory (`maxmemory`)"
"""The cure of a Redis that is full."""


class Verdict(StrEnum):
    """Whether a part is well."""

    OK = "ok"
    WARNING = "warning"
    """It may soon keep pictures from being answered, or has done so."""
    FAILED = "failed"
    """It keeps pictures from being answered."""


@dataclass(frozen=True)
class PartCheck:
    """What was found out about one part."""

    part: str
    verdict: Verdict
    found: str
    """What is the case, as part of a sentence."""
    cure: str = ""
    """What to do, with commands in backticks; empty if all is well."""


@dataclass(frozen=True)
class RedisFacts:
    """What Redis, or Valkey, tells of itself."""

    version: str
    policy: str
    """What it does when its memory is full, its `maxmemory_policy`."""
    used: int
    limit: int
    """Bytes; 0 is no limit."""
    is_persistent: bool
    """True if it writes an append-only file."""
    seconds: float
    """For the answer to a ping."""


@dataclass(frozen=True)
class DatabaseFacts:
    """What the database tells of itself."""

    version: str
    """With its name."""
    seconds: float
    """For the answer to the smallest question."""
    slowest: float
    """For how many seconds the oldest query of the service runs; 0 for SQLite, which does not tell."""
    ahead: float
    """Seconds by which its clock is ahead of the shared one; 0 for SQLite, which has none."""
    free: int | None = None
    """Bytes left on the disk of SQLite's file; None for a server, whose disk is not seen from here."""


def milliseconds(seconds: float) -> str:
    """Return a short time: `250 ms`, `1.5 ms`, `0.04 ms`."""
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1 if seconds >= 0.001 else 2}f} ms"


def judge_redis(facts: RedisFacts) -> list[PartCheck]:
    """Return what is wrong with Redis, or that nothing is."""
    part, found = "redis", []
    if facts.policy != "noeviction":
        found.append(
            PartCheck(part, Verdict.FAILED,
                    f"its maxmemory-policy is {facts.policy}, by which it forgets accepted work",
                    "set maxmemory-policy to noeviction")
        )  # fmt: skip
    if facts.limit and facts.used > FULL * facts.limit:
        found.append(
            PartCheck(part, Verdict.WARNING, f"it uses {in_units(facts.used)} of {in_units(facts.limit)}",
                    "raise its maxmemory; at the limit new pictures are refused")
        )  # fmt: skip
    if not facts.is_persistent:
        found.append(
            PartCheck(part, Verdict.WARNING,
                    "it keeps nothing when it restarts; the queue is then filled again from SQL",
                    "set appendonly to yes, if that takes too long")
        )  # fmt: skip
    if facts.seconds > SLOW_ANSWER:
        found.append(
            PartCheck(part, Verdict.WARNING, f"it takes {milliseconds(facts.seconds)} to answer a ping",
                    "run it nearer to the API and the workers, or on a machine with less load")
        )  # fmt: skip
    limit = f" of {in_units(facts.limit)}" if facts.limit else ", without a limit"
    well = (
        f"{facts.version}, {facts.policy}, uses {in_units(facts.used)}{limit}, answers in {milliseconds(facts.seconds)}"
    )
    return found or [PartCheck(part, Verdict.OK, well)]


def judge_database(facts: DatabaseFacts) -> list[PartCheck]:
    """Return what is wrong with the database, or that nothing is."""
    part, found = "database", []
    if facts.slowest > SLOW_QUERY:
        found.append(
            PartCheck(part, Verdict.WARNING, f"a query has been running for {facts.slowest:.0f} s",
                    "look at pg_stat_activity; VACUUM (ANALYZE) if its plan is bad, or stop what holds a lock")
        )  # fmt: skip
    if facts.seconds > SLOW_ANSWER:
        found.append(
            PartCheck(part, Verdict.WARNING, f"it takes {milliseconds(facts.seconds)} to answer the smallest question",
                    "run it nearer to the API, or on a machine with less load")
        )  # fmt: skip
    if facts.free is not None and facts.free < LEAST_FREE:
        found.append(
            PartCheck(part, Verdict.WARNING, f"its disk has {in_units(facts.free)} left",
                    "make room, or keep jobs for a shorter time (INFERQ_KEEP_JOBS): on a full disk nothing is accepted")
        )  # fmt: skip
    return found or [PartCheck(part, Verdict.OK, f"{facts.version}, answers in {milliseconds(facts.seconds)}")]


def judge_clocks(ahead: dict[str, float]) -> list[PartCheck]:
    """Return which clocks are wrong, or that none is, by the seconds that each is ahead of that of Redis."""
    wrong = {name: seconds for name, seconds in ahead.items() if abs(seconds) > CLOCK}
    if not wrong:
        return [PartCheck("clocks", Verdict.OK, f"{' and '.join(ahead)} agree with Redis to {CLOCK:g} s")]
    return [
        PartCheck("clocks", Verdict.WARNING,
                f"{name} is {abs(seconds):.0f} s {'ahead of' if seconds > 0 else 'behind'} Redis, whose time counts",
                "have its clock set by NTP; signatures and expiry times of other services go by it")
        for name, seconds in wrong.items()
    ]  # fmt: skip


def judge_disk(free: int | None) -> list[PartCheck]:
    """Return whether the storage has room; `free` is None where nothing tells, as for an object store."""
    if free is None:
        return [PartCheck("disk", Verdict.OK, "the storage is no folder, so that its provider counts its room")]
    if free < LEAST_FREE:
        return [
            PartCheck("disk", Verdict.WARNING, f"the storage has {in_units(free)} left",
                    "make room, keep jobs for a shorter time (INFERQ_KEEP_JOBS), or limit what tenants keep")
        ]  # fmt: skip
    return [PartCheck("disk", Verdict.OK, f"the storage has {in_units(free)} left")]


def judge_storage(seconds: float, missing: int, since: str) -> list[PartCheck]:
    """Return whether the storage has all that was stored, by its time for an answer, and the blobs that nobody removed
    and one worker or trainer does not find there, with the time since when, in words."""
    if not missing:
        return [PartCheck("storage", Verdict.OK, f"answers in {milliseconds(seconds)}")]
    needs = "it" if missing == 1 else "them"
    return [
        PartCheck("storage", Verdict.FAILED,
                  f"it answers and lacks {counted(missing, 'blob')} that nobody removed, since {since}; what needs "
                  f"{needs} waits",
                  "see whether a part of it is away, such as a mount below it; bring back from the backup what is lost "
                  "(the log of the worker or trainer names it). Pictures are given up after a day, archives, trainings "
                  "and imported models after ten minutes")
    ]  # fmt: skip


def judge_queue(waiting: int, running: int, oldest: float, recent: Sequence[Point]) -> list[PartCheck]:
    """Return whether pictures wait for long, or ever more do.

    `oldest` is the age of the oldest unfinished one in seconds; `recent` are the last minutes, of which each must be
    sampled to say something.
    """
    part, found = "queue", []
    state = (
        f"{counted(waiting, 'picture')} {verb(waiting, 'wait')} and {running:,} {verb(running, 'run')}, "
        f"the oldest for {oldest:.0f} s"
    )
    if waiting and oldest > LONG_WAIT:
        found.append(PartCheck(part, Verdict.WARNING, state, _MORE_WORKERS))
    depths = [point.waiting for point in recent if point.waiting is not None]
    grows = len(depths) == len(recent) and all(later > earlier for earlier, later in pairwise(depths))
    if grows and depths and depths[-1] - depths[0] >= GROWN:
        total = merged(recent)
        arrive, leave = (count / (total.minutes * MINUTE) for count in (total.arrived, total.answered))
        found.append(
            PartCheck(part, Verdict.WARNING,
                      f"it has grown for {counted(len(recent), 'minute')}, to {counted(depths[-1], 'picture')}: "
                      f"{arrive:.1f} arrive in a second, and {leave:.1f} are answered",
                      _MORE_WORKERS)
        )  # fmt: skip
    return found or [PartCheck(part, Verdict.OK, state if waiting or running else "it is empty")]


_MORE_WORKERS = (
    "start more workers, `inferq up --workers N` or `docker compose up -d --scale worker=N`, or see why these are slow"
)


def judge_workers(
    devices: Sequence[str],
    *,
    waits_for: Sequence[str] = (),
    silent: Sequence[str] = (),
    refusal: str = "",
    most: int = 0,
    unknown: str = "",
    lost: Sequence[float] = (),
) -> list[PartCheck]:
    """Return whether workers do their work.

    `devices` are those of the running ones, `waits_for` the reasons of those that run nothing, `silent` the ids of
    those that claim nothing, `refusal` why none of all takes work, and `most` how many ran within WATCHED minutes;
    `unknown` is why others may run as well. `lost` are the seconds since when those answer no more that were not
    stopped.
    """
    part, found = "workers", []
    if not devices and unknown:
        return [PartCheck(part, Verdict.WARNING, unknown.rstrip("."), MORE_MEMORY)]
    if not devices and lost:
        return [
            PartCheck(part, Verdict.FAILED,
                    f"none answers: pictures are accepted and wait; {counted(len(lost), 'worker')} fell silent without "
                    f"being stopped, the last {min(lost):.0f} s ago",
                    "see whether their processes are there: kill one that hangs, and start another (`inferq up` and "
                    "Docker Compose do by themselves)")
        ]  # fmt: skip
    if not devices:
        return [
            PartCheck(part, Verdict.FAILED, "none is running: pictures are accepted and wait",
                      "start one: `inferq up`, or `docker compose up -d worker`")
        ]  # fmt: skip
    restart = "read its log, then restart it; what it holds runs again on another"
    if waits_for:
        wait = f"{len(waits_for)} of {len(devices)} {verb(len(waits_for), 'wait')}"
        found.append(
            PartCheck(part, Verdict.FAILED, f"{wait}: {waits_for[0].rstrip('.')}",
                      "bring back what they wait for; they go on by themselves")
        )  # fmt: skip
    if refusal:
        found.append(PartCheck(part, Verdict.FAILED, refusal.rstrip("."), restart))
    elif silent:
        names = " and ".join(silent)
        found.append(
            PartCheck(part, Verdict.WARNING, f"pictures wait, and {names} claimed none for a long time", restart)
        )
    if most > len(devices) and unknown:
        found.append(PartCheck(part, Verdict.WARNING, unknown.rstrip("."), MORE_MEMORY))
    elif most > len(devices):
        run = f"{len(devices)} of {most} {verb(len(devices), 'run')}"
        found.append(
            PartCheck(part, Verdict.WARNING, f"{run} that ran in the last {WATCHED} minutes",
                      "if you did not stop it, read its log; `inferq up` and Docker Compose restart what crashed")
        )  # fmt: skip
    counts = [f"{devices.count(device)} on {device}" for device in dict.fromkeys(devices)]
    return found or [PartCheck(part, Verdict.OK, ", ".join(counts))]


def judge_maintenance(*, is_sampled: bool) -> list[PartCheck]:
    """Return whether maintenance runs, by whether it sampled the queue in the last SILENT_MINUTES."""
    part = "maintenance"
    if is_sampled:
        return [PartCheck(part, Verdict.OK, "it samples the queue")]
    return [
        PartCheck(part, Verdict.WARNING, f"it has not sampled the queue for {SILENT_MINUTES} minutes",
                  "start it: `inferq up`, or `docker compose up -d keeper`; without it lost work is not repaired, "
                  "callbacks are not sent, and no history is kept")
    ]  # fmt: skip


def judge_keys(expiring: Sequence[ApiKey], when: str) -> list[PartCheck]:
    """Return whether keys that are in use expire within KEYS_AHEAD; `when` is the time of the first one, in words."""
    part = "keys"
    if not expiring:
        return [PartCheck(part, Verdict.OK, f"no key in use expires within {KEYS_AHEAD / 86_400:.0f} days")]
    first = expiring[0]
    if first.account:
        named = f"the public key of {first.account}"
        cure = (
            "revoke it and register it anew, or another one: `inferq keys create --public-key FILE --account EMAIL "
            f"--tenant {first.tenant}`"
        )
    else:
        named = f"{f'the key {first.name!r}' if first.name else 'a key without a name'} ({first.prefix}…)"
        cure = (
            f"make another one, `inferq keys create --tenant {first.tenant}`, and give it to those who use this one "
            "before then"
        )
    others = f"; {len(expiring) - 1} more in use soon after it" if len(expiring) > 1 else ""
    return [
        PartCheck(part, Verdict.WARNING,
                  f"{named} of the tenant {first.tenant} is in use and expires at {when}{others}",
                  f"{cure}; `inferq keys list` shows all")
    ]  # fmt: skip


def judge_webhooks(
    failing: Sequence[FailingReceiver], when: str, *, given_up: Sequence[str] = (), is_all: bool
) -> list[PartCheck]:
    """Return whether callbacks wait since their receivers do not take them, and whether some were given up.

    `failing` are those receivers, the worst first, `when` is the time since when the first has failed, in words, and
    `is_all` whether all that wait were counted. `given_up` are the tenants of the callbacks of the last day that are
    sent no more, MOST_COUNTED at the most.
    """
    part, found = "webhooks", []
    if failing:
        found.append(_keeps_waiting(failing, when, is_all=is_all))
    elif not is_all:
        found.append(
            PartCheck(part, Verdict.WARNING,
                      f"at least {counted(MOST_CALLBACKS, 'callback')} wait, of which only so many were looked at; "
                      "none of these has failed",
                      "see whether they become fewer, and whether one has failed: `inferq webhooks list --status "
                      "waiting`; maintenance sends them")
        )  # fmt: skip
    if given_up:
        found.append(_were_given_up(given_up))
    return found or [PartCheck(part, Verdict.OK, "no callback has to be sent again")]


def _keeps_waiting(failing: Sequence[FailingReceiver], when: str, *, is_all: bool) -> PartCheck:
    first, others = failing[0], failing[1:]
    callbacks = f"{'' if is_all else 'at least '}{counted(first.waiting, 'callback')}"
    answers = "has not answered" if first.status is None else f"has answered {first.status}"
    rest = sum(receiver.waiting for receiver in others)
    more = f"; {rest:,} more {verb(rest, 'wait')} for {counted(len(others), 'other receiver')}" if others else ""
    return PartCheck(
        "webhooks", Verdict.WARNING,
        f"{callbacks} of the tenant {first.tenant} {verb(first.waiting, 'wait')} for {first.origin}, which {answers} "
        f"since {when} or longer{more}",
        "see why, with a key of that tenant: `inferq webhooks list`; once the receiver is mended, "
        "`inferq webhooks ping URL`. By itself each callback is tried "
        f"{len(DELAYS) + 1} times in all, in about an hour and three quarters; those given up by then are FAILED in "
        "the list: `inferq webhooks resend ID`, or `--failed` for all",
    )  # fmt: skip


def _were_given_up(tenants: Sequence[str]) -> PartCheck:
    least = "at least " if len(tenants) >= MOST_COUNTED else ""
    (first, _), *others = Counter(tenants).most_common()
    more = f" and {counted(len(others), 'other')}" if others else ""
    were = f"{'was' if len(tenants) == 1 else 'were'} given up"
    return PartCheck(
        "webhooks", Verdict.WARNING,
        f"{least}{counted(len(tenants), 'callback')} of the last day {were}, of the tenant {first}{more}",
        "see why, with a key of that tenant: `inferq webhooks list --status failed`; once the receiver is mended, "
        "`inferq webhooks resend --failed` sends all that have failed again",
    )  # fmt: skip


def judge_dead_letters(count: int) -> list[PartCheck]:
    """Return whether pictures of one tenant's jobs of the last day got no answer; MOST_COUNTED are the most counted."""
    part = "dead letters"
    if not count:
        return [PartCheck(part, Verdict.OK, "every picture of this tenant's jobs of the last day got its answer")]
    least = "at least " if count >= MOST_COUNTED else ""
    return [
        PartCheck(part, Verdict.WARNING,
                  f"{least}{counted(count, 'picture')} of this tenant's jobs of the last day got no answer",
                  "see why: `inferq jobs dead-letters`; when the reason has passed, `inferq jobs replay`")
    ]  # fmt: skip
