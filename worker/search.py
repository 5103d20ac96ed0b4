"""A worker's part of a search: it compares the features of a picture with those of the pictures in the scope."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared import errors
from shared.container import Container
from shared.domain.jobs import Outcome
from shared.domain.models import ModelVersion
from shared.domain.searches import Collection, SearchResult
from shared.domain.stream_entry import StreamEntry
from shared.services import searches
from shared.services.searches import Searched
from shared.similarity import nearest, unit
from worker import feature_store
from worker.batch import Batch
from worker.feature_store import FeatureCache

log = logging.getLogger(__name__)

SPARE = 10
"""Neighbours that are looked for beyond the limit: some may be removed while they are described."""


class Search:
    """Answers the searches of one worker process."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._cache = FeatureCache(container.storage, container.settings.search_memory)

    def answer(self, version: ModelVersion, batch: Batch, retry: Callable[[Callable[[], Outcome]], Outcome]) -> None:
        """Put the neighbours in place of the features among the outcomes of a batch; `retry` repeats a step while
        database or storage are away."""
        asked = {(entry.job_id, entry.position): entry for entry in batch.entries if entry.is_search}
        for number, outcome in enumerate(batch.outcomes) if asked else ():
            entry = asked.get((outcome.job_id, outcome.position))
            if entry and not outcome.error_code:
                batch.outcomes[number] = retry(partial(self._outcome, version, entry, outcome))

    def _outcome(self, version: ModelVersion, entry: StreamEntry, outcome: Outcome) -> Outcome:
        """Return the neighbours in place of the features, or why there are none; raises Unavailable."""
        try:
            found = self._find(version, entry, np.asarray(outcome.result, dtype=np.float32))
        except errors.Unavailable:
            raise
        except Exception as error:
            log.exception("the search of job %s fails", entry.job_id)
            reason = f"The search failed by {type(error).__name__}; the log of the worker says more."
            return replace(outcome, result=None, error_code="search_failed", error=reason, retries=entry.retries)
        return replace(outcome, result=found)

    def _find(self, version: ModelVersion, entry: StreamEntry, features: NDArray[np.float32]) -> dict[str, Any] | None:
        scope = searches.find_scope(self._container, entry.tenant, entry.job_id)
        if scope is None:
            return None  # the job was erased, and its outcome goes nowhere
        query = unit(features[None])
        searched = of = 0
        best: list[tuple[float, Collection, str | int]] = []
        for each in searches.list_searched(self._container, entry.tenant, scope):
            count = 0
            for positions, rows in self._compared(each, version):
                count += len(rows)
                (neighbours,) = nearest(query, rows, scope.limit + SPARE)
                best += [(similarity, each.collection, positions[row]) for row, similarity in neighbours]
            best = heapq.nlargest(scope.limit + SPARE, best, key=lambda neighbour: neighbour[0])
            searched, of = searched + count, of + len(each.members)
            if count < len(each.members):
                searches.want_index(self._container, each.collection, version, len(each.members) - count)
        hits = searches.describe(self._container, best)[: scope.limit]
        return SearchResult(hits, searched, of).to_json()

    def _compared(
        self, each: Searched, version: ModelVersion
    ) -> Iterator[tuple[list[str | int], NDArray[np.floating[Any]]]]:
        """Yield (ids, rows of length one) of the members whose features are known, each member once."""
        left = dict(each.members)
        prefix = each.collection.features_prefix(version.features_checksum)
        for name in feature_store.parts(self._container.storage, prefix) if left else ():
            part = self._cache.get(name)
            if part is None:
                continue
            taken = [(row, left.pop(key)) for row, key in enumerate(part.keys) if key in left]
            if taken:
                positions = [member for _, member in taken]
                is_whole = len(taken) == len(part.keys)
                yield positions, part.features if is_whole else part.features[[row for row, _ in taken]]
