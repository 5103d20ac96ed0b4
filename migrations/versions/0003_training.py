"""Training: datasets with labels and examples, trainings, comparisons, promotions, canaries; callbacks of trainings"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "canaries",
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("compared", sa.BigInteger(), nullable=False),
        sa.Column("agreed", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("version_id", name=op.f("pk_canaries")),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("candidate_id", sa.String(length=40), nullable=False),
        sa.Column("baseline_id", sa.String(length=40), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("dataset_version", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("report", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
    )
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.create_index("ix_comparisons_status", ["status"], unique=False)
        batch_op.create_index("ix_comparisons_tenant_name", ["tenant", "name"], unique=False)

    op.create_table(
        "datasets",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("state", sa.String(length=12), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Boolean(), nullable=False),
        sa.Column("duplicates", sa.Integer(), nullable=False),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("adding", sa.Boolean(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("last_label", sa.Integer(), nullable=False),
        sa.Column("last_example", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
    )
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.create_index(
            "ix_datasets_moving",
            ["state"],
            unique=False,
            sqlite_where=sa.text("state IN ('LOADING', 'DELETING')"),
            postgresql_where=sa.text("state IN ('LOADING', 'DELETING')"),
        )
        batch_op.create_index("ix_datasets_tenant_id", ["tenant", "id"], unique=False)

    op.create_table(
        "promotions",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("previous_id", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_promotions")),
    )
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.create_index("ix_promotions_tenant_name", ["tenant", "name"], unique=False)

    op.create_table(
        "trainings",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("wire", sa.String(length=40), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("title", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=12), nullable=False),
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("dataset_version", sa.Integer(), nullable=False),
        sa.Column("base", sa.String(length=255), nullable=False),
        sa.Column("base_id", sa.String(length=40), nullable=False),
        sa.Column("parameters", sa.JSON(), nullable=False),
        sa.Column("promote", sa.Boolean(), nullable=False),
        sa.Column("withheld", sa.Boolean(), nullable=False),
        sa.Column("progress", sa.Double(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("curve", sa.JSON(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("version_id", sa.String(length=40), nullable=False),
        sa.Column("version", sa.String(length=255), nullable=False),
        sa.Column("error_code", sa.String(length=80), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("evidence", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("webhook", sa.Text(), nullable=False),
        sa.Column("webhook_secret", sa.Text(), nullable=False),
        sa.Column("metadata", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("updated_at", sa.Double(), nullable=False),
        sa.Column("started_at", sa.Double(), nullable=True),
        sa.Column("finished_at", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_trainings")),
    )
    with op.batch_alter_table("trainings", schema=None) as batch_op:
        batch_op.create_index("ix_trainings_dataset_id", ["dataset_id"], unique=False)
        batch_op.create_index("ix_trainings_tenant_id", ["tenant", "id"], unique=False)
        batch_op.create_index("ix_trainings_tenant_started_at", ["tenant", "started_at"], unique=False)
        batch_op.create_index(
            "uq_trainings_tenant_name",
            ["tenant", "name"],
            unique=True,
            sqlite_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
            postgresql_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
        )

    op.create_table(
        "dataset_labels",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(
            ["dataset_id"], ["datasets.id"], name=op.f("fk_dataset_labels_datasets"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("dataset_id", "id", name=op.f("pk_dataset_labels")),
        sa.UniqueConstraint("dataset_id", "name", name=op.f("uq_dataset_labels_dataset_id_name")),
    )
    op.create_table(
        "examples",
        sa.Column("dataset_id", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("split", sa.String(length=12), nullable=False),
        sa.Column("source", sa.String(length=8), nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("blob", sa.Text(), nullable=False),
        sa.Column("offset", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("since", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer(), nullable=True),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["dataset_id"], ["datasets.id"], name=op.f("fk_examples_datasets"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("dataset_id", "id", name=op.f("pk_examples")),
    )
    with op.batch_alter_table("examples", schema=None) as batch_op:
        batch_op.create_index("ix_examples_dataset_id_label_id", ["dataset_id", "label_id"], unique=False)
        batch_op.create_index(
            "uq_examples_dataset_id_sha256",
            ["dataset_id", "sha256"],
            unique=True,
            sqlite_where=sa.text("until IS NULL"),
            postgresql_where=sa.text("until IS NULL"),
        )

    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.add_column(sa.Column("kind", sa.String(length=8), server_default="job", nullable=False))
        batch_op.drop_constraint(batch_op.f("fk_deliveries_jobs"), type_="foreignkey")

    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.add_column(
            sa.Column("training_id", sa.String(length=40), server_default=sa.text("''"), nullable=False)
        )
        batch_op.add_column(sa.Column("withheld", sa.Boolean(), server_default=sa.false(), nullable=False))
        batch_op.add_column(sa.Column("canary", sa.Double(), server_default=sa.text("0"), nullable=False))


def downgrade() -> None:
    op.execute("DELETE FROM deliveries WHERE kind <> 'job' OR job_id NOT IN (SELECT id FROM jobs)")
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_column("canary")
        batch_op.drop_column("withheld")
        batch_op.drop_column("training_id")

    with op.batch_alter_table("deliveries", schema=None) as batch_op:
        batch_op.create_foreign_key(batch_op.f("fk_deliveries_jobs"), "jobs", ["job_id"], ["id"], ondelete="CASCADE")
        batch_op.drop_column("kind")

    with op.batch_alter_table("examples", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_examples_dataset_id_sha256",
            sqlite_where=sa.text("until IS NULL"),
            postgresql_where=sa.text("until IS NULL"),
        )
        batch_op.drop_index("ix_examples_dataset_id_label_id")

    op.drop_table("examples")
    op.drop_table("dataset_labels")
    with op.batch_alter_table("trainings", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_trainings_tenant_name",
            sqlite_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
            postgresql_where=sa.text("status IN ('QUEUED', 'RUNNING')"),
        )
        batch_op.drop_index("ix_trainings_tenant_started_at")
        batch_op.drop_index("ix_trainings_tenant_id")
        batch_op.drop_index("ix_trainings_dataset_id")

    op.drop_table("trainings")
    with op.batch_alter_table("promotions", schema=None) as batch_op:
        batch_op.drop_index("ix_promotions_tenant_name")

    op.drop_table("promotions")
    with op.batch_alter_table("datasets", schema=None) as batch_op:
        batch_op.drop_index("ix_datasets_tenant_id")
        batch_op.drop_index(
            "ix_datasets_moving",
            sqlite_where=sa.text("state IN ('LOADING', 'DELETING')"),
            postgresql_where=sa.text("state IN ('LOADING', 'DELETING')"),
        )

    op.drop_table("datasets")
    with op.batch_alter_table("comparisons", schema=None) as batch_op:
        batch_op.drop_index("ix_comparisons_tenant_name")
        batch_op.drop_index("ix_comparisons_status")

    op.drop_table("comparisons")
    op.drop_table("canaries")
