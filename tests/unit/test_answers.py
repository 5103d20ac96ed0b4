"""The helper that completes answers, and the declared answers that it completes."""

from __future__ import annotations

import json

import msgspec
import pytest

from shared.schemas import datasets, evidence, jobs, keys, models, promotions, trainings, workers
from shared.schemas.common import Answer
from tests.unit.answers import SOME_TIME, complete

MODULES = (datasets, evidence, jobs, keys, models, promotions, trainings, workers)


DECLARED = [
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and issubclass(kind, Answer) and kind.__module__ == module.__name__
]


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: kind.__name__)
def test_every_declared_answer_is_read_from_the_json_that_it_is_written_as(kind: type[Answer]) -> None:
    written = complete(kind)
    assert msgspec.json.decode(json.dumps(written), type=kind).to_json() == written


def test_what_a_test_leaves_out_is_filled_in_also_within_objects_and_lists() -> None:
    page = complete(jobs.JobPage, jobs=[{"id": "j1", "progress": {"total": 3}}])
    (job,) = page["jobs"]
    assert (page["next"], job["_id"], job["status"], job["created_at"]) == (None, "j1", "QUEUED", SOME_TIME)
    assert job["progress"] == {"total": 3, "done": 0, "failed": 0}
    assert "error" not in job


def test_a_field_that_no_server_writes_is_refused() -> None:
    with pytest.raises(TypeError, match="ModelReference has no field nmae"):
        complete(jobs.JobSummary, model={"nmae": "m"})


def test_a_value_of_another_type_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"\$\.labels"):
        complete(models.Version, labels=["duck", "goose"])
