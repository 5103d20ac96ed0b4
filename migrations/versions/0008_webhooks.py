"""Webhooks: deliveries are listed by tenant with the end of their last try, and secrets of tenants rotate"""

import sqlalchemy as sa
from alembic import op

from migrations.online import committed, create_index, is_server

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    # Processes of the version before insert deliveries without these columns, so none of them needs a value.
    for column in (
        sa.Column("tenant", sa.String(255), nullable=True),
        sa.Column("host", sa.Text(), nullable=True),
        sa.Column("tried_at", sa.Double(), nullable=True),
        sa.Column("response_status", sa.Integer(), nullable=True),
        sa.Column("body_sha256", sa.String(64), nullable=False, server_default=sa.text("''")),
    ):
        op.add_column("deliveries", column, if_not_exists=is_server() or None)
    with committed():
        _fill_tenants()
    create_index("ix_deliveries_tenant_job_id", "deliveries", ["tenant", "job_id"])
    op.create_table(
        "webhook_secrets",
        sa.Column("tenant", sa.String(255), nullable=False),
        sa.Column("secret", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("previous_until", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("tenant", name=op.f("pk_webhook_secrets")),
    )


def _fill_tenants() -> None:
    """Fill the tenants of all deliveries, some thousands at once: a deliverer waits for those that it writes itself."""
    connection, last = op.get_bind(), ""
    page = sa.text(
        "SELECT max(job_id) FROM (SELECT job_id FROM deliveries WHERE job_id > :last ORDER BY 1 LIMIT 5000) p"
    )
    fill = sa.text(
        "UPDATE deliveries SET tenant = COALESCE((SELECT tenant FROM jobs WHERE id = job_id), "
        "(SELECT tenant FROM trainings WHERE id = job_id)) "  # no job has the id of a training
        "WHERE tenant IS NULL AND job_id > :last AND job_id <= :end"
    )
    while end := connection.execute(page, {"last": last}).scalar():
        connection.execute(fill, {"last": last, "end": end})
        last = end


def downgrade() -> None:
    op.drop_table("webhook_secrets")
    op.drop_index("ix_deliveries_tenant_job_id", "deliveries")
    for column in ("body_sha256", "response_status", "tried_at", "host", "tenant"):
        op.drop_column("deliveries", column)
