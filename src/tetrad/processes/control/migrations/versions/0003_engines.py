"""Engines that should run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "engines",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("spec_digest", sa.String(71), nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.Column("report", sa.Text, nullable=True),
        sa.Column("reported_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("name", name="pk_engines"),
    )
