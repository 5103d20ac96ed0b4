"""The migrations: they lead to exactly the tables that the queries use, and back again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migrations.__main__ import configuration, upgrade
from shared.jobs import Job, Options, Status
from shared.records import Records
from shared.tables import metadata
from tests import grounds


def tables(records: Records) -> set[str]:
    return set(sa.inspect(records.engine).get_table_names()) - {"alembic_version"}


def test_the_migrations_lead_to_exactly_the_tables(records: Records) -> None:
    with records.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    assert tables(records) == set(metadata.tables)


def test_a_table_that_the_migrations_forgot_would_be_noticed(records: Records) -> None:
    wider = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(wider)
    wider.tables["jobs"].append_column(sa.Column("forgotten", sa.Text))
    with records.engine.connect() as connection:
        found = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), wider)
    assert [(step[0], step[3].name) for step in found] == [("add_column", "forgotten")]


def test_the_indexes_on_live_jobs_are_partial_on_both_servers(records: Records) -> None:
    (index,) = [found for found in sa.inspect(records.engine).get_indexes("jobs") if found["name"] == "ix_jobs_live"]
    condition = str(index["dialect_options"][f"{records.engine.dialect.name}_where"])
    assert "QUEUED" in condition
    assert "RUNNING" in condition
    assert "DONE" not in condition


def test_every_step_can_be_taken_back_and_taken_again(records: Records) -> None:
    command.downgrade(configuration(records.url), "base")
    assert tables(records) == set()

    upgrade(records.url)

    assert tables(records) == set(metadata.tables)
    with records.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_what_was_stored_before_the_wires_came_is_live_and_stays(records: Records) -> None:
    command.downgrade(configuration(records.url), "0001")
    with records.engine.begin() as connection:
        connection.execute(
            sa.text(
                "INSERT INTO images (id, tenant, name, blob, format, width, height, size, created_at) "
                "VALUES ('image_1', 'anna', 'duck', 'images/1', 'PNG', 1, 1, 1, 0)"
            )
        )
        connection.execute(
            sa.text(
                "INSERT INTO keys (id, tenant, name, prefix, hash, scopes, created_at) "
                "VALUES ('1', 'anna', 'app', 'iq_', 'h', '[]', 0)"
            )
        )
    upgrade(records.url)
    with records.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT stage FROM images")).scalar_one() == "live"
        key = connection.execute(sa.text("SELECT stage, account, public_key FROM keys")).one()
    assert tuple(key) == ("live", "", "")


def test_taking_back_the_trainings_keeps_versions_and_jobs_with_their_callbacks(
    records: Records, tmp_path: Path
) -> None:
    ground = grounds.on(records, tmp_path)
    version = ground.trained(ground.dataset(), webhook="https://example.org", withheld=True)
    job = Job("job", "anna", "native", Status.QUEUED, "fruits", "1", version.id, Options(), "normal", 0.0, 0,
              webhook="https://example.org")  # fmt: skip
    with records.write() as r:
        r.jobs.add(job, [])
        r.jobs.end(["job"], Status.CANCELLED, 1.0)
    ask = "SELECT job_id FROM deliveries ORDER BY job_id"
    orphan = "INSERT INTO deliveries (job_id, kind, attempts, due_at, error) VALUES ('gone', 'job', 0, 1, '')"
    with records.engine.begin() as connection:
        connection.execute(sa.text(orphan))
        assert len(connection.execute(sa.text(ask)).all()) == 3

    command.downgrade(configuration(records.url), "0002")

    with records.engine.begin() as connection:
        assert connection.execute(sa.text(ask)).scalars().all() == ["job"]
        assert connection.execute(sa.text("SELECT id FROM versions")).scalars().all() == [version.id]
    (key,) = sa.inspect(records.engine).get_foreign_keys("deliveries")
    assert (key["referred_table"], key["options"]["ondelete"]) == ("jobs", "CASCADE")

    upgrade(records.url)

    with records.read() as r:
        assert [(due.job_id, due.kind) for due in r.deliveries.due(2.0)] == [("job", "job")]
        assert r.versions.get(version.id) == replace(version, training_id="", withheld=False, canary=0.0)
        assert r.jobs.get("anna", "job") is not None
    assert sa.inspect(records.engine).get_foreign_keys("deliveries") == []


def test_upgrading_twice_costs_nothing_and_keeps_what_is_there(records: Records) -> None:
    with records.write() as r:
        r.facts.set("default_model", "digits")
    upgrade(records.url)
    with records.read() as r:
        assert r.facts.get("default_model") == "digits"
