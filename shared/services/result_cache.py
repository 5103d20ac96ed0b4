"""The result cache stores a model's outputs for a picture, so that the same picture need not run again.

    picture bytes, tenant, version, task, EXIF ──SHA-256──> slot ──> digest and logits, in Redis, for a while

Of a version whose rejection rule looks at distances, the distance is kept after the logits.

Logits are stored instead of answers, so that any `top_k` and function can be served from them. The number of slots is
fixed, and a new entry replaces the entry in its slot: the memory has a limit without any bookkeeping, at the price
that two popular pictures may share a slot and replace each other. The tenant is part of the key, because a hit would
otherwise reveal to a tenant which pictures another tenant has sent.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import math
import struct
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from shared import errors
from shared.container import Container
from shared.domain.drift import bank_name, observe
from shared.domain.jobs import AnswerOptions
from shared.domain.models import ALL_TENANTS, ModelVersion
from shared.domain.rejection import RejectionRule, Verdict, best_score, judge
from shared.domain.scores import choose_scoring, lowest_logits
from shared.services import drift, metrics


class Recalled(NamedTuple):
    """An answer from the cache, like that of an item."""

    result: list[list[object]]
    """`[[label, score], …]`."""
    verdict: Verdict | None
    """As in Item."""


def source(version_id: str, rule: RejectionRule | None) -> str:
    """Return what a version's outputs are kept for: itself, or the training features from which a distance was
    measured, which then follows the logits. So outputs with and without one, or with another, are never mixed."""
    return (rule.bank if rule else "") or version_id


def key(tenant: str, source: str, task: str, exif: bool, picture: bytes) -> str:
    """Return the SHA-256 (hex) of everything that the model's answer depends on."""
    digest = hashlib.sha256(f"{tenant}\0{source}\0{task}\0{exif:d}\0".encode())
    digest.update(picture)
    return digest.hexdigest()


def keep(container: Container, answers: Mapping[str, Sequence[float]]) -> None:
    """Store the model's float32 outputs by their keys; an unreachable cache is not an error."""
    if not container.settings.cache_entries:
        return
    slots = {
        _slot(container, of): _prefix(container, of)
        + base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
        for of, values in answers.items()
    }
    with contextlib.suppress(errors.Unavailable):
        container.queue.result_slots.put(slots, container.settings.cache_seconds)


def recall(
    container: Container, tenant: str, version: ModelVersion, options: AnswerOptions, picture: bytes
) -> Recalled | None:
    """Return the answer to a `classify`, which is counted for drift; None if it is not cached. A rule judges it as it
    is now.

    Raises Unavailable: if the cache is unreachable, so is the queue, and running the picture would fail too.
    """
    if not container.settings.cache_entries:
        return None
    rule = version.rejection
    cache_key = key(tenant, source(version.id, rule), options.task, options.exif, picture)
    stored = container.queue.result_slots.get(_slot(container, cache_key))
    prefix = _prefix(container, cache_key)
    if not stored or not stored.startswith(prefix):
        return None
    data = base64.b64decode(stored[len(prefix) :])
    row = struct.unpack(f"<{len(data) // 4}f", data)
    logits, distance = (row[:-1], row[-1]) if rule and rule.bank else (row, None)
    if version.tenant != ALL_TENANTS:
        bank = bank_name(rule.bank) if rule else ""
        drift.note(container, observe(version, logits, distance, bank))
    metrics.count_cached(container, version)
    scoring = choose_scoring(version, options)
    lowest = lowest_logits(version, with_thresholds=scoring.with_thresholds)
    result = ranked(logits, version.labels, options.top_k, scoring.function_to_apply, lowest)
    return Recalled(result, judge(rule, best_score(logits), distance) if rule else None)


def ranked(
    logits: Sequence[float], labels: Sequence[str], k: int, function_to_apply: str, lowest: Sequence[float] = ()
) -> list[list[object]]:
    """Return the `k` likeliest labels with their scores, highest first, ties in label order.

    Labels with a logit below the one in `lowest`, if given, are left out. The worker ranks a batch in the same way.
    """
    reached = [index for index, logit in enumerate(logits) if not lowest or logit >= lowest[index]]
    order = sorted(reached, key=lambda index: -logits[index])[:k]
    if function_to_apply == "softmax":
        top = max(logits)
        total = math.fsum(math.exp(value - top) for value in logits)
        scores = [math.exp(logits[index] - top) / total for index in order]
    elif function_to_apply == "sigmoid":
        scores = [1 / (1 + math.exp(-logits[index])) if logits[index] > -700 else 0.0 for index in order]
    else:
        scores = [logits[index] for index in order]
    return [[labels[index], score] for index, score in zip(order, scores, strict=True)]


def _prefix(container: Container, of: str) -> str:
    """Return what a slot begins with; an answer of the precision `fast` must not be given where `exact` is set."""
    return f"{of}:{container.settings.precision}:"


def _slot(container: Container, of: str) -> str:
    return str(int(of[:15], 16) % container.settings.cache_entries)
