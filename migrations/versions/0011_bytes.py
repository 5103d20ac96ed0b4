"""Tenants: the bytes that they keep, and a limit of them"""

import sqlalchemy as sa
from alembic import op

from migrations.online import committed, is_server

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    # Processes of the version before insert datasets and versions without these columns: they count nothing then.
    for table, column in (("datasets", "size"), ("datasets", "source_size"), ("versions", "size")):
        added = sa.Column(column, sa.BigInteger(), nullable=False, server_default=sa.text("0"))
        op.add_column(table, added, if_not_exists=is_server() or None)
    with committed():  # it reads all examples
        op.execute(
            "UPDATE datasets SET size = COALESCE((SELECT SUM(size) FROM examples WHERE dataset_id = datasets.id), 0)"
        )
    op.add_column("tenant_limits", sa.Column("max_bytes", sa.BigInteger(), nullable=True))
    # Empty: maintenance counts what is there when it starts, and keeps no other writer waiting for that.
    op.create_table(
        "kept_bytes",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "id", name="pk_kept_bytes"),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("kept_bytes")
    # Not as a batch: on SQLite that would copy the tables and drop them.
    for table, column in (("versions", "size"), ("datasets", "source_size"), ("datasets", "size")):
        op.drop_column(table, column)
    op.drop_column("tenant_limits", "max_bytes")
