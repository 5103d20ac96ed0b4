"""Alembic runs this file to connect to the database and to run the steps."""

from __future__ import annotations

from contextlib import closing, nullcontext

from alembic import context

from migrations import online
from shared.adapters.database.learning_tables import metadata  # and with it those of tables.py
from shared.adapters.database.unit_of_work import Database

with closing(Database(context.config.attributes["url"])) as database, database.engine.connect() as connection:
    is_server = connection.dialect.name == "postgresql"
    context.configure(
        connection=connection,
        target_metadata=metadata,
        # SQLite cannot alter most things in place; Alembic then copies the table.
        render_as_batch=connection.dialect.name == "sqlite",
        compare_type=True,
        # A table that a step alters is locked until its transaction ends: not until all steps are done.
        transaction_per_migration=is_server,
    )
    with online.alone(database.engine) if is_server else nullcontext():
        if is_server:
            online.wait_for_locks(connection)
        with context.begin_transaction():
            if not is_server:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            context.run_migrations()
        connection.commit()
