"""Models: which preset their preprocessing is, and what an import asked for"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("preset", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("wanted_preprocessing", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_column("wanted_preprocessing")
        batch_op.drop_column("preset")
