"""Lists of jobs: all combinations of filters read from an index what they show and no more; pages leave none out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uuid6

from shared.adapters.database.unit_of_work import Database
from shared.domain.jobs import AnswerOptions, Item, Job, Status, job_created_at
from shared.services import job_lists
from shared.services.job_lists import WantedJobs
from tests.conftest import container_in
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


def named(database: Database, number: int, wire: str, name: str) -> Job:
    """Store a job with one picture of that name."""
    job = replace(a_job(number), wire=wire)
    with database.write() as uow:
        uow.jobs.add([(job, [Item(job.id, 0, name, "blob", 0, 1)])])
    return job


def test_jobs_are_found_by_wire_and_by_part_of_a_name_or_id_over_pages_that_may_be_empty(
    database: Database, tmp_path: Path, empty_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "container").mkdir()
    monkeypatch.setattr(job_lists, "READ_AT_ONCE", 3)
    monkeypatch.setattr(job_lists, "MOST_LOOKED_AT", 6)
    some = [named(database, n, ("native", "sap")[n % 10 == 0], f"Photo {n}.PNG") for n in range(25)]

    def found(**wanted: Any) -> tuple[list[str], list[int]]:
        """Return the ids of all pages, and the number of jobs on each."""
        ids: list[str] = []
        sizes, before = list[int](), ""
        while before or not sizes:
            page, before = job_lists.page(service, "anna", WantedJobs(**wanted), before=before, limit=2)
            ids += [job.id for job in page]
            sizes.append(len(page))
        return ids, sizes

    with container_in(tmp_path / "container", empty_file) as made:
        service = replace(made, database=database)
        ids, sizes = found(wire="sap")
        assert ids == [some[n].id for n in (20, 10, 0)]
        assert 0 in sizes
        assert found(text="photo 1")[0] == [some[n].id for n in (*range(19, 9, -1), 1)]
        assert found(text=some[7].id[-12:].upper())[0] == [some[7].id]
        assert found(text="photo 2", wire="native")[0] == [some[n].id for n in (24, 23, 22, 21, 2)]
        assert found(text="nothing") == ([], [0] * len(found(text="nothing")[1]))
        assert found()[0] == [job.id for job in reversed(some)]


@pytest.mark.parametrize("ask", ["first", "first_names"])
def test_first_pictures_are_found_by_their_key(database: Database, ask: str) -> None:
    job = named(database, 0, "native", "a.png")
    lines = plan(database, lambda uow: getattr(uow.items, ask)([job.id]))
    assert not any(map(reads_more_than_it_shows, lines)), lines


def test_to_find_the_failed_pictures_of_a_job_only_its_own_are_read(database: Database) -> None:
    job = named(database, 0, "native", "a.png")
    lines = plan(database, lambda uow: uow.items.failed(job.id, 5, 10))
    (found,) = [line for line in lines if "job_id" in line]
    assert "position" in found
    assert found.startswith(("SEARCH items", "Index Cond:"))
