"""What batches that their providers do hold of budgets and spent of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "batch_budgets",
        sa.Column("batch", sa.String(64), primary_key=True),
        sa.Column("rule", sa.String(64), primary_key=True),
        sa.Column("instance", sa.String(300), primary_key=True),
        sa.Column("held", sa.Text, nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.Column("unknown", sa.BigInteger, nullable=False),
    )
