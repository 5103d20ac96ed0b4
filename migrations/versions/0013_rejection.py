"""Models: the rule by which a version does not believe an answer; items: what the rule has said"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("versions", sa.Column("rejection", sa.JSON(), nullable=True))
    op.add_column("items", sa.Column("verdict", sa.JSON(), nullable=True))


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the tables and drop them.
    op.drop_column("items", "verdict")
    op.drop_column("versions", "rejection")
