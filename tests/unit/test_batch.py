"""A batch: its parts, which run one after the other."""

from __future__ import annotations

import torch

from shared.domain.jobs import Outcome
from shared.domain.stream_entry import StreamEntry
from worker.batch import Batch, Input


def prepared(job: str, explain: str | None = None) -> Input:
    entry = StreamEntry(job, 0, "blob", 0, 1, "classify", 5, "softmax", exif=True, explain=explain)
    return Input(entry, torch.zeros(1), "")


def test_what_was_recorded_before_a_batch_ran_is_in_its_first_part_alone() -> None:
    inputs = [prepared("quick"), prepared("explained", explain="")]
    failed, missed = Outcome("broken", 0, error_code="broken"), Outcome("late", 0, error_code="expired")
    batch = Batch(inputs, [failed], [given.entry for given in inputs], [missed])

    quick, explained = batch.parts()

    assert [given.entry.job_id for given in quick.inputs] == ["quick"]
    assert [given.entry.job_id for given in explained.inputs] == ["explained"]
    assert (quick.outcomes, quick.missed, quick.is_second) == ([failed], [missed], False)
    assert (explained.outcomes, explained.missed, explained.is_second) == ([], [], True)
