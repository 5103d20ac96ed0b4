"""Keys: when they expire, and when they were last used"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"


def upgrade() -> None:
    op.add_column("keys", sa.Column("expires_at", sa.Double(), nullable=True))
    op.add_column("keys", sa.Column("last_used_at", sa.Double(), nullable=True))


def downgrade() -> None:
    # Older processes know no expiry: they would accept keys again that have one.
    op.execute("UPDATE keys SET revoked_at = expires_at WHERE expires_at IS NOT NULL AND revoked_at IS NULL")
    # Not as a batch: on SQLite that would copy the table and drop it.
    op.drop_column("keys", "last_used_at")
    op.drop_column("keys", "expires_at")
