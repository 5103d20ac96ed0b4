"""Datasets: how many labels their pictures have; the labels of the examples of multi-label datasets"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    single = sa.text("'single_label_classification'")
    op.add_column("datasets", sa.Column("problem_type", sa.Text(), nullable=False, server_default=single))
    op.create_table(
        "example_labels",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("example_id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("dataset_id", "example_id", "label_id", name="pk_example_labels"),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name="fk_example_labels_datasets", ondelete="CASCADE"),
    )
    op.create_index("ix_example_labels_dataset_id_label_id", "example_labels", ["dataset_id", "label_id"])


def downgrade() -> None:
    op.drop_index("ix_example_labels_dataset_id_label_id", "example_labels")
    op.drop_table("example_labels")
    # Not as a batch: on SQLite that would copy the table and drop it, and its labels and examples with it.
    op.drop_column("datasets", "problem_type")
