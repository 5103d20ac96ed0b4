"""Seen pictures: the choices of tenants to keep them, and the pictures with their features"""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "seen_choices",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("model", sa.String(255), nullable=False),
        sa.Column("most", sa.Integer(), nullable=False),
        sa.Column("days", sa.Integer(), nullable=False),
        sa.Column("chosen_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_seen_choices"),
        sa.UniqueConstraint("tenant", "model", name="uq_seen_choices_tenant_model"),
    )
    op.create_table(
        "seen_pictures",
        sa.Column("id", sa.String(40), nullable=False),
        sa.Column("choice_id", sa.String(40), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("version_id", sa.String(40), nullable=False),
        sa.Column("job_id", sa.String(40), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("score", sa.Double(), nullable=False),
        sa.Column("uncertainty", sa.Double(), nullable=False),
        sa.Column("is_unlike", sa.Boolean(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("seen_at", sa.Double(), nullable=False),
        sa.Column("fingerprint", sa.BigInteger(), nullable=True),
        sa.Column("settled", sa.String(12), nullable=False),
        sa.Column("image_id", sa.String(40), nullable=False),
        sa.Column("features", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_seen_pictures"),
        sa.UniqueConstraint("choice_id", "sha256", name="uq_seen_pictures_choice_id_sha256"),
        sa.ForeignKeyConstraint(
            ["choice_id"], ["seen_choices.id"], name="fk_seen_pictures_seen_choices", ondelete="CASCADE"
        ),
    )
    op.create_index(
        "ix_seen_pictures_worth",
        "seen_pictures",
        ["choice_id", "settled", "is_unlike", "uncertainty", "seen_at"],
    )
    op.create_index("ix_seen_pictures_job_id", "seen_pictures", ["job_id"])
    op.create_index(
        "ix_seen_pictures_image_id",
        "seen_pictures",
        ["image_id"],
        sqlite_where=sa.text("image_id <> ''"),
        postgresql_where=sa.text("image_id <> ''"),
    )


def downgrade() -> None:
    op.drop_table("seen_pictures")
    op.drop_table("seen_choices")
