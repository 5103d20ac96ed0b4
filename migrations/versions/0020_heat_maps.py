"""Items: how many bytes the heat map of an explained answer has, which its tenant keeps"""

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    column = sa.Column("explanation_size", sa.Integer(), nullable=False, server_default=sa.text("0"))
    op.add_column("items", column)


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the table and drop it.
    op.drop_column("items", "explanation_size")
