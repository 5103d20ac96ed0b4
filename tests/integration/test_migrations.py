"""The migrations: they lead to exactly the tables that the queries use, and back again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from migrations.__main__ import configuration, upgrade
from shared.adapters.database import unit_of_work
from shared.adapters.database.learning_tables import metadata  # and with it those of tables.py
from shared.adapters.database.unit_of_work import Database
from shared.domain.jobs import AnswerOptions, Item, Job, Outcome, Status
from shared.domain.rejection import RejectionRule, Verdict
from shared.domain.searches import SearchScope
from tests import dataset_fixtures
from tests.stacks import until

STEPS = Path(__file__).resolve().parents[2] / "migrations" / "versions"
ON_A_SERVER = pytest.mark.parametrize(
    "database", [pytest.param("postgres", marks=pytest.mark.postgres)], indirect=True
)  # fmt: skip


def tables(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names()) - {"alembic_version"}


def test_the_migrations_lead_to_exactly_the_tables(database: Database) -> None:
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []
    assert tables(database) == set(metadata.tables)


def test_a_table_that_the_migrations_forgot_would_be_noticed(database: Database) -> None:
    wider = sa.MetaData(naming_convention=metadata.naming_convention)
    for table in metadata.tables.values():
        table.to_metadata(wider)
    wider.tables["jobs"].append_column(sa.Column("forgotten", sa.Text))
    with database.engine.connect() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), wider)
    assert [(step[0], step[3].name) for step in differences] == [("add_column", "forgotten")]


def test_the_indexes_on_live_jobs_are_partial_on_both_servers(database: Database) -> None:
    (index,) = [index for index in sa.inspect(database.engine).get_indexes("jobs") if index["name"] == "ix_jobs_live"]
    condition = str(index["dialect_options"][f"{database.engine.dialect.name}_where"])
    assert "QUEUED" in condition
    assert "RUNNING" in condition
    assert "DONE" not in condition


def test_every_step_can_be_taken_back_and_taken_again(database: Database) -> None:
    command.downgrade(configuration(database.url), "base")
    assert tables(database) == set()

    upgrade(database.url)

    assert tables(database) == set(metadata.tables)
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


@ON_A_SERVER
def test_an_upgrade_waits_for_another_however_long_it_takes(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "LOCK_TIMEOUT", 0.1)
    with database.engine.connect() as other, ThreadPoolExecutor(1) as pool:
        other.exec_driver_sql("SELECT pg_advisory_xact_lock(127977)")
        second = pool.submit(upgrade, database.url)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        other.rollback()
        second.result(60)


@pytest.fixture
def session_settings() -> Iterator[list[str]]:
    """After each transaction give another connection for the next, as a pooler may: one of which another client has
    limited the wait for locks. Yield what is set for a session from then on."""
    said = list[str]()

    def change(connection: sa.Connection) -> None:
        connection.exec_driver_sql("SET lock_timeout = '100ms'")

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith(("SET lock_timeout = 0", "RESET")):
            said.append(statement)

    sa.event.listen(sa.Engine, "commit", change)
    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    yield said
    sa.event.remove(sa.Engine, "commit", change)
    sa.event.remove(sa.Engine, "before_cursor_execute", note)


@ON_A_SERVER
def test_behind_a_pooler_steps_wait_for_locks_and_leave_no_setting(
    database: Database, session_settings: list[str]
) -> None:
    command.downgrade(configuration(database.url), "0009")
    session_settings.clear()
    with database.engine.connect() as reader, ThreadPoolExecutor(1) as pool:
        reader.exec_driver_sql("LOCK TABLE jobs, datasets IN ACCESS SHARE MODE")
        running = pool.submit(upgrade, database.url)
        with pytest.raises(TimeoutError):
            running.result(0.5)
        reader.rollback()
        running.result(60)
    assert session_settings == ["SET lock_timeout = 0", "RESET lock_timeout"] * (len(session_settings) // 2)
    assert session_settings


@ON_A_SERVER
def test_behind_a_pooler_indexes_wait_for_older_queries_and_leave_no_setting(
    database: Database, session_settings: list[str]
) -> None:
    command.downgrade(configuration(database.url), "0008")
    session_settings.clear()
    with upgrading_beside_an_old_query(database) as (running, _), pytest.raises(TimeoutError):
        running.result(0.5)
    running.result(60)
    assert session_settings == ["SET lock_timeout = 0", "RESET lock_timeout"] * (len(session_settings) // 2)
    assert session_settings
    assert_complete(database)


BUILDS_INDEXES = pytest.mark.parametrize("before", ["0007", "0008"])
"""The revisions before the steps that build indexes on tables which may have a million rows."""
_ADD_JOB = """
INSERT INTO jobs (id, tenant, wire, status, model, version, version_id, options, priority, total, done, failed,
                  created_at, error_code, error, metadata, fingerprint, webhook, webhook_secret, blob)
VALUES (:id, 'anna', 'native', 'DONE', 'm', '1', 'v', '{}', 'normal', 1, 0, 1, 0, '', '', '{}', '', '', '', '')
"""
_ADD_ITEM = """
INSERT INTO items (job_id, position, name, blob, "offset", size, status, error_code, error)
VALUES (:id, 0, 'a.png', '', 0, 1, 'FAILED', 'poison', '')
"""
_ADD_DELIVERY = "INSERT INTO deliveries (job_id, kind, attempts, error) VALUES (:id, 'job', 1, '')"


def write(database: Database, job_id: str) -> None:
    """Store a job with an item and a delivery, as a process of a version before does; wait for no lock."""
    with database.engine.begin() as connection:
        connection.exec_driver_sql("SET LOCAL lock_timeout = '2s'")
        for statement in (_ADD_JOB, _ADD_ITEM, _ADD_DELIVERY):
            connection.execute(sa.text(statement), {"id": job_id})


@contextmanager
def upgrading_beside_an_old_query(database: Database) -> Iterator[tuple[Future[None], int]]:
    """Upgrade until the first index is built and waits for a query that is older; yield the upgrade, and the process of
    the server that runs it. The old query ends with the block."""
    snapshot = database.engine.connect().execution_options(isolation_level="REPEATABLE READ")
    building = sa.text(
        "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'virtualxid' "
        "AND query LIKE 'CREATE INDEX CONCURRENTLY%'"
    )
    with ThreadPoolExecutor(1) as pool, snapshot as old, database.engine.connect() as looking:
        old.execute(sa.text("SELECT 1"))
        upgrade_ = pool.submit(upgrade, database.url)
        pids = list[int]()

        def is_building() -> bool:
            pids[:] = looking.execute(building).scalars()
            looking.rollback()
            return bool(pids) or upgrade_.done()

        until(is_building, 30)
        assert pids, "the upgrade built no index beside writers"
        yield upgrade_, pids[0]


@ON_A_SERVER
@BUILDS_INDEXES
def test_jobs_are_written_while_the_indexes_of_an_upgrade_are_built(database: Database, before: str) -> None:
    command.downgrade(configuration(database.url), before)
    write(database, "before")
    with upgrading_beside_an_old_query(database) as (running, _):
        write(database, "meanwhile")
        assert not running.done()
    running.result(60)
    with database.read() as uow:
        assert uow.jobs.known(["before", "meanwhile"]) == {"before", "meanwhile"}
        assert all(uow.webhook_deliveries.find("anna", job_id) for job_id in ("before", "meanwhile"))
    assert_complete(database)


@ON_A_SERVER
@BUILDS_INDEXES
def test_an_upgrade_that_was_interrupted_goes_on_and_leaves_no_index_that_is_never_read(
    database: Database, before: str
) -> None:
    command.downgrade(configuration(database.url), before)
    write(database, "before")
    with upgrading_beside_an_old_query(database) as (running, pid):
        with database.engine.connect() as connection:
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
        with pytest.raises(sa.exc.SQLAlchemyError):
            running.result(60)
    assert len(invalid_indexes(database)) == 1
    upgrade(database.url)
    assert_complete(database)


@ON_A_SERVER
def test_an_upgrade_ends_a_process_of_an_older_release_that_waits_for_it_with_a_snapshot(database: Database) -> None:
    command.downgrade(configuration(database.url), "0008")
    waiting = sa.text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND objid = 127977 AND NOT granted"
    )

    def start_an_old_process() -> None:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SET LOCAL lock_timeout = '20s'")  # it waited for ever; this test does not
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(127977)")

    def is_waiting() -> bool:
        with database.engine.connect() as connection:
            return bool(connection.execute(waiting).scalar_one())

    with ThreadPoolExecutor(1) as pool:
        with upgrading_beside_an_old_query(database) as (running, _):
            old = pool.submit(start_an_old_process)
            until(is_waiting, 10)
        running.result(60)
        with pytest.raises(sa.exc.OperationalError, match="terminating connection"):
            old.result(60)
    assert_complete(database)


@pytest.mark.parametrize("step", sorted(STEPS.glob("*.py")), ids=lambda step: step.stem)
def test_no_step_since_the_first_release_builds_an_index_in_its_transaction_on_a_table_that_has_rows(
    step: Path,
) -> None:
    source = step.read_text().partition("def downgrade")[0]
    indexed = re.findall(r"op\.create_index\(\s*\"[^\"]+\",\s*\"([^\"]+)\"", source)
    new = re.findall(r"op\.create_table\(\s*\"([^\"]+)\"", source)
    assert step.stem < "0004" or set(indexed) <= set(new)


def invalid_indexes(database: Database) -> list[str]:
    with database.engine.connect() as connection:
        query = sa.text("SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid")
        return list(connection.execute(query).scalars())


def assert_complete(database: Database) -> None:
    """Assert that the schema is the newest, and that all its indexes are used."""
    assert invalid_indexes(database) == []
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []


def test_what_was_stored_before_the_wires_came_is_live_and_stays(database: Database) -> None:
    command.downgrade(configuration(database.url), "0001")
    with database.engine.begin() as connection:
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
    upgrade(database.url)
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT stage FROM images")).scalar_one() == "live"
        key = connection.execute(sa.text("SELECT stage, account, public_key FROM keys")).one()
    assert tuple(key) == ("live", "", "")


def test_taking_back_the_trainings_keeps_versions_and_jobs_with_their_callbacks(
    database: Database, tmp_path: Path
) -> None:
    ground = dataset_fixtures.on(database, tmp_path)
    version = ground.trained(ground.dataset(), webhook="https://example.org", requires_deployment=True)
    job = Job("job", "anna", "native", Status.QUEUED, "fruits", "1", version.id, AnswerOptions(), "normal", 0.0, 0,
              webhook="https://example.org")  # fmt: skip
    with database.write() as uow:
        uow.jobs.add([(job, [])])
        uow.jobs.end(["job"], Status.CANCELLED, 1.0)
    ask = "SELECT job_id FROM deliveries ORDER BY job_id"
    orphan = "INSERT INTO deliveries (job_id, kind, attempts, due_at, error) VALUES ('gone', 'job', 0, 1, '')"
    with database.engine.begin() as connection:
        connection.execute(sa.text(orphan))
        assert len(connection.execute(sa.text(ask)).all()) == 3

    command.downgrade(configuration(database.url), "0002")

    with database.engine.begin() as connection:
        assert connection.execute(sa.text(ask)).scalars().all() == ["job"]
        assert connection.execute(sa.text("SELECT id FROM versions")).scalars().all() == [version.id]
    (key,) = sa.inspect(database.engine).get_foreign_keys("deliveries")
    assert (key["referred_table"], key["options"]["ondelete"]) == ("jobs", "CASCADE")

    upgrade(database.url)

    with database.read() as uow:
        assert [(due.job_id, due.kind) for due in uow.webhook_deliveries.due(2.0)] == [("job", "job")]
        assert uow.model_versions.find(version.id) == replace(
            version, training_id="", requires_deployment=False, canary=0.0
        )
        assert uow.jobs.find("anna", "job") is not None
    assert sa.inspect(database.engine).get_foreign_keys("deliveries") == []


def test_the_deliveries_from_before_the_ledger_get_their_tenants(database: Database, tmp_path: Path) -> None:
    ground = dataset_fixtures.on(database, tmp_path)
    version = ground.trained(ground.dataset(), webhook="https://example.org")
    job = Job("job", "bert", "native", Status.QUEUED, "fruits", "1", version.id, AnswerOptions(), "normal", 0.0, 0,
              webhook="https://example.org")  # fmt: skip
    with database.write() as uow:
        uow.jobs.add([(job, [])])
        uow.jobs.end(["job"], Status.CANCELLED, 1.0)
    command.downgrade(configuration(database.url), "0007")
    assert "webhook_secrets" not in tables(database)

    upgrade(database.url)

    with database.read() as uow:
        listed = {tenant: [each.id for each in uow.webhook_deliveries.page(tenant)] for tenant in ("anna", "bert")}
    assert listed == {"anna": [version.training_id], "bert": ["job"]}


def test_a_model_of_one_label_that_was_imported_before_answers_with_sigmoid(database: Database, tmp_path: Path) -> None:
    ground = dataset_fixtures.on(database, tmp_path)
    one, two = ground.version("one", labels=("defect",)), ground.version("two")
    job = Job("job", "anna", "native", Status.QUEUED, "two", "1", two.id, AnswerOptions(), "normal", 0.0, 1)
    with database.write() as uow:
        uow.jobs.add([(job, [Item("job", 0, "a.png", "blob", 0, 1)])])
    command.downgrade(configuration(database.url), "0005")
    with database.engine.connect() as connection:
        assert connection.execute(sa.text("SELECT count(*) FROM items")).scalar_one() == 1

    upgrade(database.url)

    with database.read() as uow:
        assert uow.jobs.find("anna", "job") == job
        stored = [uow.model_versions.find(version.id) for version in (one, two)]
    assert [version.problem_type for version in stored if version] == ["multi_label_classification", two.problem_type]


def test_taking_back_the_rejection_rules_keeps_versions_and_answers(database: Database, tmp_path: Path) -> None:
    ground = dataset_fixtures.on(database, tmp_path)
    version = ground.version("one", rejection=RejectionRule(0.95, 0.6, 1.1, "rejection/1/2", "unknown"))
    job = Job("job", "anna", "native", Status.QUEUED, "one", "1", version.id, AnswerOptions(), "normal", 0.0, 1)
    with database.write() as uow:
        uow.jobs.add([(job, [Item("job", 0, "a.png", "blob", 0, 1)])])
        uow.jobs.record([Outcome("job", 0, [["apple", 0.5]], verdict=Verdict("low_score", "unknown", 0.5))], 1.0)
    with database.read() as uow:
        (before,) = uow.jobs.items("job")
        assert uow.model_versions.find(version.id) == version
        assert before.verdict == Verdict("low_score", "unknown", 0.5)

    command.downgrade(configuration(database.url), "0012")
    upgrade(database.url)

    with database.read() as uow:
        assert uow.model_versions.find(version.id) == replace(version, rejection=None)
        assert uow.jobs.items("job") == [replace(before, verdict=None)]


def test_taking_back_the_searches_keeps_their_jobs_with_their_items(database: Database, tmp_path: Path) -> None:
    version = dataset_fixtures.on(database, tmp_path).version("fruits")
    scope = SearchScope(5, datasets=[7]).to_json()
    job = Job("job", "anna", "native", Status.QUEUED, "fruits", "1", version.id, AnswerOptions(task="features"),
              "normal", 0.0, 1, search=scope)  # fmt: skip
    with database.write() as uow:
        uow.jobs.add([(job, [Item("job", 0, "a.png", "blob", 0, 1)])])
        assert uow.jobs.find("anna", "job") == job
    command.downgrade(configuration(database.url), "0013")
    assert "search_indexes" not in tables(database)

    upgrade(database.url)

    with database.read() as uow:
        assert uow.jobs.find("anna", "job") == replace(job, search=None)
        assert len(uow.jobs.items("job")) == 1


def test_jobs_from_before_explanations_have_none_and_stay(database: Database, tmp_path: Path) -> None:
    version = dataset_fixtures.on(database, tmp_path).version("one")
    plain, explained = (
        Job(name, "anna", "native", Status.QUEUED, "one", "1", version.id, AnswerOptions(), "normal", 0.0, 1,
            explain=label) for name, label in (("plain", None), ("explained", ""))
    )  # fmt: skip
    with database.write() as uow:
        uow.jobs.add([(job, [Item(job.id, 0, "a.png", "blob", 0, 1)]) for job in (plain, explained)])
        assert uow.jobs.explained(["plain", "explained"]) == [("explained", 1)]

    command.downgrade(configuration(database.url), "0014")
    upgrade(database.url)

    with database.read() as uow:
        assert [uow.jobs.find("anna", name) for name in ("plain", "explained")] == [
            plain, replace(explained, explain=None),
        ]  # fmt: skip
        assert len(uow.jobs.items("explained")) == 1


def test_upgrading_twice_costs_nothing_and_keeps_what_is_there(database: Database) -> None:
    with database.write() as uow:
        uow.key_values.set("default_model", "digits")
    upgrade(database.url)
    with database.read() as uow:
        assert uow.key_values.get("default_model") == "digits"
