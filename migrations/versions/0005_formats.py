"""Models: what an import asked for, what the family builds from, and answers of several labels"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("import_options", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(sa.Column("config", sa.JSON(none_as_null=True), nullable=True))
        batch_op.add_column(
            sa.Column("problem_type", sa.Text(), nullable=False, server_default="single_label_classification")
        )
        batch_op.add_column(sa.Column("thresholds", sa.JSON(none_as_null=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_column("thresholds")
        batch_op.drop_column("problem_type")
        batch_op.drop_column("config")
        batch_op.drop_column("import_options")
