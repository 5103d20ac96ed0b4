"""Alembic runs this file to connect to the database and to run the steps."""

from __future__ import annotations

from alembic import context

from shared.adapters.database.learning_tables import metadata  # and with it those of tables.py
from shared.adapters.database.unit_of_work import Database

database = Database(context.config.attributes["url"])
with database.engine.connect() as connection:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most things in place; Alembic then copies the table.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
    )
    with context.begin_transaction():
        # Of two replicas that start together the second waits, and finds nothing to do. 127977 is an arbitrary number.
        is_server = connection.dialect.name == "postgresql"
        if is_server:
            connection.exec_driver_sql("SET LOCAL lock_timeout = 0")  # a step on a large table may take minutes
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(127977)" if is_server else "BEGIN IMMEDIATE")
        context.run_migrations()
    connection.commit()
database.close()
