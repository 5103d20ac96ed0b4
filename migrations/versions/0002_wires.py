"""Every wire: aliases, stages, accounts with public keys and their tokens, usage by month"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stage", sa.String(length=8), server_default="live", nullable=False))
        batch_op.add_column(sa.Column("account", sa.String(length=255), server_default=sa.text("''"), nullable=False))
        batch_op.add_column(sa.Column("public_key", sa.Text(), server_default=sa.text("''"), nullable=False))
        batch_op.create_index(
            "uq_keys_account_public_key",
            ["account", "public_key"],
            unique=True,
            sqlite_where=sa.text("revoked_at IS NULL AND account <> ''"),
            postgresql_where=sa.text("revoked_at IS NULL AND account <> ''"),
        )

    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.add_column(sa.Column("stage", sa.String(length=8), server_default="live", nullable=False))
        batch_op.drop_index("ix_images_tenant_id")
        batch_op.create_index("ix_images_tenant_stage_id", ["tenant", "stage", "id"], unique=False)

    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("key_id", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=8), nullable=False),
        sa.Column("expires_at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["key_id"], ["keys.id"], name=op.f("fk_tokens_keys"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tokens")),
    )
    op.create_index("ix_tokens_expires_at", "tokens", ["expires_at"], unique=False)
    op.create_table(
        "aliases",
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("alias", sa.String(length=255), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "alias", name=op.f("pk_aliases")),
    )
    op.create_table(
        "usage",
        sa.Column("tenant", sa.String(length=255), nullable=False),
        sa.Column("meter", sa.String(length=40), nullable=False),
        sa.Column("month", sa.String(length=7), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", "meter", "month", name=op.f("pk_usage")),
    )


def downgrade() -> None:
    # Without stages, what is of the stage `test` would become visible to all keys of its tenant, and stay for ever.
    op.execute("DELETE FROM images WHERE stage = 'test'")
    op.execute("UPDATE keys SET revoked_at = created_at WHERE stage = 'test' AND revoked_at IS NULL")
    op.drop_table("usage")
    op.drop_table("aliases")
    op.drop_index("ix_tokens_expires_at", table_name="tokens")
    op.drop_table("tokens")
    with op.batch_alter_table("images", schema=None) as batch_op:
        batch_op.drop_index("ix_images_tenant_stage_id")
        batch_op.create_index("ix_images_tenant_id", ["tenant", "id"], unique=False)
        batch_op.drop_column("stage")

    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.drop_index(
            "uq_keys_account_public_key",
            sqlite_where=sa.text("revoked_at IS NULL AND account <> ''"),
            postgresql_where=sa.text("revoked_at IS NULL AND account <> ''"),
        )
        batch_op.drop_column("public_key")
        batch_op.drop_column("account")
        batch_op.drop_column("stage")
