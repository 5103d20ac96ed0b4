"""Answers: the outcomes of a batch, from the rows of numbers that the network has given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

from torch import Tensor

from shared.domain.jobs import Outcome
from shared.domain.models import ModelVersion
from shared.domain.scores import lowest_logits
from shared.domain.stream_entry import StreamEntry
from worker.batch import answer_options
from worker.engine import top_k
from worker.judging import Judge


def outcomes(
    version: ModelVersion, task: str, entries: Sequence[StreamEntry], rows: Tensor, judge: Judge | None = None
) -> list[Outcome]:
    """Return the outcomes of pictures of one task, from rows of features or logits, or of what `judge` has measured."""
    if len(rows) != len(entries):
        raise RuntimeError(f"the model gave {len(rows)} answers for {len(entries)} pictures")
    if task == "features":
        return [Outcome(e.job_id, e.position, row) for e, row in zip(entries, rows.tolist(), strict=True)]
    verdicts = judge.verdicts(rows) if judge else [None] * len(rows)
    logits = rows[:, : len(version.labels)]
    found: list[Outcome] = []
    start = 0
    for (k, function, with_thresholds), run in groupby(entries, key=answer_options):
        same = list(run)
        end = start + len(same)
        lowest = lowest_logits(version, with_thresholds=with_thresholds)
        ranked = top_k(logits[start:end], version.labels, k, function, lowest)
        found += [
            Outcome(entry.job_id, entry.position, result, verdict=verdict)
            for entry, result, verdict in zip(same, ranked, verdicts[start:end], strict=True)
        ]
        start = end
    return found
