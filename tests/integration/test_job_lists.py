"""Lists of jobs: all combinations of filters read from an index what they show and no more; pages leave none out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
import uuid6

from shared.adapters.database.unit_of_work import Database
from shared.domain.jobs import AnswerOptions, Job, Status, job_created_at
from tests.query_plans import conditions, plan, reads_more_than_it_shows

NOW = 1_700_000_000.0
FILTERS: dict[str, Any] = {"status": "DONE", "model": "m", "since": NOW, "until": NOW + 50}
COMBINATIONS = [
    {name: FILTERS[name] for name in names}
    for count in range(len(FILTERS) + 1)
    for names in itertools.combinations(FILTERS, count)
]


def a_job(number: int, **about: Any) -> Job:
    fields: dict[str, Any] = {"tenant": "anna", "status": Status.DONE, "model": "m"} | about
    return Job(id=str(uuid6.uuid7()), wire="native", version="1", version_id="v1", options=AnswerOptions(),
               priority="normal", created_at=NOW + number, total=1, **fields)  # fmt: skip


def stored(database: Database, *jobs: Job) -> list[Job]:
    with database.write() as uow:
        uow.jobs.add([(job, []) for job in jobs])
    return list(jobs)


@pytest.mark.parametrize("before", [False, True], ids=["first", "next"])
@pytest.mark.parametrize("filters", COMBINATIONS, ids=lambda filters: "-".join(filters) or "all")
def test_a_list_finds_its_jobs_in_an_index_by_all_of_its_filters(
    database: Database, filters: dict[str, Any], before: bool
) -> None:
    (last,) = stored(database, a_job(20))
    lines = plan(database, lambda uow: uow.jobs.page("anna", before=last.id if before else "", **filters))

    found = conditions(database, lines)
    assert len(found) == (1 if "status" in filters else len(Status))
    columns = {"tenant", "status", *filters, *(["before"] if before else [])}
    words = dict.fromkeys(("since", "until", "before"), "created_at")
    for name in columns:
        assert all(words.get(name, name) in condition for condition in found), (name, lines)
    assert not any(map(reads_more_than_it_shows, lines)), lines


def test_pages_by_any_filters_are_newest_first_and_leave_none_out(database: Database) -> None:
    some = [
        a_job(number // 2, status=status, model=model)  # two of each time
        for number, (status, model) in enumerate(itertools.product([*Status, *Status], ["m", "other"]))
    ]
    stored(database, *some, a_job(3, tenant="bert"))
    for filters in [*COMBINATIONS, {"since": NOW + 2, "until": NOW + 7}]:
        wanted = [
            job.id
            for job in sorted(some, key=lambda job: (job.created_at, job.id), reverse=True)
            if filters.get("status", job.status) == job.status
            and filters.get("model", job.model) == job.model
            and filters.get("since", 0) <= job.created_at < filters.get("until", NOW * 2)
        ]
        seen: list[str] = []
        with database.read() as uow:
            while page := uow.jobs.page("anna", before=seen[-1] if seen else "", limit=3, **filters):
                seen += [job.id for job in page]
        assert seen == wanted, filters


def test_a_list_continues_after_a_job_that_was_deleted_meanwhile(database: Database) -> None:
    made = [a_job(0) for _ in range(9)]
    made = [replace(job, created_at=job_created_at(job.id) + 0.0004) for job in made]
    stored(database, *made)
    seen: list[str] = []
    with database.write() as uow:
        while page := uow.jobs.page("anna", before=seen[-1] if seen else "", limit=2):
            seen += [job.id for job in page]
            uow.jobs.delete([job.id for job in page])
    assert seen == [job.id for job in reversed(made)]
