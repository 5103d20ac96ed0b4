"""What lets a service write while the schema of its PostgreSQL database is brought up to date.

A step that builds an index inside its transaction keeps all writers of the table waiting, for half a minute where it
has a million rows. So each step has a transaction of its own, and what takes long is done before it, outside of any.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import sqlalchemy as sa
from alembic import op
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

LOCK = 127977
"""The number of the advisory lock of upgrades; an arbitrary one."""
POLL = 0.2
"""Seconds between two looks whether the upgrade of another process is over."""
_IS_LEFT_OVER = sa.text("SELECT count(*) FROM pg_index WHERE indexrelid = to_regclass(:name) AND NOT indisvalid")
_END_BLOCKING = sa.text(
    "SELECT pg_terminate_backend(waiting.pid) FROM pg_locks waiting "
    "JOIN pg_stat_activity building ON building.datid = waiting.database "
    "WHERE waiting.locktype = 'advisory' AND waiting.objid = :lock AND NOT waiting.granted "
    "AND building.datname = current_database() AND building.query LIKE 'CREATE INDEX CONCURRENTLY%' "
    "AND waiting.pid = ANY (pg_blocking_pids(building.pid))"
)


@contextmanager
def alone(engine: Engine) -> Iterator[None]:
    """Run the block while no other process upgrades this database: of two replicas that start together the second
    waits, and finds nothing to do.

    It asks again and again. Who waited inside a query would hold a snapshot, and `CREATE INDEX CONCURRENTLY` of the
    first waits for every older one: both would wait for ever. For the same reason the lock belongs to a transaction
    that only holds locks, on a connection of its own. A lock of the session was rejected: behind a connection pooler
    it may stay when the process is gone.
    """
    with engine.connect().execution_options(isolation_level="READ COMMITTED") as holder:
        while not holder.execute(sa.select(sa.func.pg_try_advisory_xact_lock(LOCK))).scalar_one():
            holder.rollback()
            time.sleep(POLL)
        holder.exec_driver_sql("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def wait_for_locks(connection: Connection) -> None:
    """Let all transactions of the connection wait for locks as long as it takes: a step waits for those that are older.

    Each says so itself. Behind a connection pooler a setting of the session may reach another connection than the
    steps do, and stays with it for whoever gets that next.
    """

    @sa.event.listens_for(connection, "begin")
    def _begin(begun: Connection) -> None:
        if begun.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            begun.exec_driver_sql("SET LOCAL lock_timeout = 0")


@contextmanager
def committed() -> Iterator[None]:
    """Commit what the step has done so far, and each statement of the block by itself; on SQLite, whose file has a
    single writer, the block is part of the transaction.

    An upgrade that is interrupted begins the step again, so whatever comes before or in the block must bear that.
    """
    if not is_server():
        yield
        return
    with op.get_context().autocommit_block():
        connection = op.get_bind()
        # There is no transaction to which this could belong; a pooler's connection must not keep it.
        connection.exec_driver_sql("SET lock_timeout = 0")
        try:
            yield
        finally:
            with suppress(SQLAlchemyError):  # the connection may be gone
                connection.exec_driver_sql("RESET lock_timeout")


def is_server() -> bool:
    """Return True on PostgreSQL."""
    return op.get_context().dialect.name == "postgresql"


def create_index(name: str, table: str, columns: Sequence[str], *, where: str | None = None) -> None:
    """Create an index, at the beginning of a step; on PostgreSQL the table is written to meanwhile.

    An index whose build was interrupted stays, is written to and never read: it is dropped and built again. One that
    was finished before the interruption is left as it is.
    """
    condition = None if where is None else sa.text(where)
    if not is_server():
        op.create_index(name, table, list(columns), sqlite_where=condition)
        return
    with committed(), _ending_old_upgrades(op.get_bind().engine):
        if op.get_bind().execute(_IS_LEFT_OVER, {"name": name}).scalar_one():
            op.drop_index(name, table, postgresql_concurrently=True, if_exists=True)
        op.create_index(
            name, table, list(columns), postgresql_concurrently=True, if_not_exists=True, postgresql_where=condition
        )


@contextmanager
def _ending_old_upgrades(engine: Engine) -> Iterator[None]:
    """End upgrades by processes of older releases for which the index of the block waits.

    Those wait for the lock inside a query, so their snapshot ends with this upgrade and this upgrade with their
    snapshot; the server sees no deadlock in that. Such a process ends with an error, and whatever supervises it starts
    it again. It may start at any moment of the build, so that one look before it would not do.
    """
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(POLL):
            with suppress(SQLAlchemyError), engine.begin() as connection:
                connection.execute(_END_BLOCKING, {"lock": LOCK})

    looking = threading.Thread(target=look, name="ending-old-upgrades", daemon=True)
    looking.start()
    try:
        yield
    finally:
        is_over.set()
        looking.join()
