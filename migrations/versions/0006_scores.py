"""Jobs: whether thresholds apply to their answer; models of one label: sigmoid, for softmax gives 1"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("with_thresholds", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE versions SET problem_type = 'multi_label_classification' "
        "WHERE problem_type = 'single_label_classification' AND json_array_length(labels) = 1"
    )


def downgrade() -> None:
    # Not as a batch: on SQLite that would copy the table and drop it, and its items with it.
    op.drop_column("jobs", "with_thresholds")
