"""Items: a small picture is kept in its row. Going back loses those of jobs that have not ended"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("items", sa.Column("picture", sa.LargeBinary(), nullable=True))


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the table and drop it.
    op.drop_column("items", "picture")
