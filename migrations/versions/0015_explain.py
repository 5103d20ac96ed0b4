"""Jobs: which label their answers are explained for"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("explain", sa.Text(), nullable=True))


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the table and drop it, and its items with it.
    op.drop_column("jobs", "explain")
