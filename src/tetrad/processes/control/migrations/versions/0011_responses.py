"""Responses that clients come back to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "kept_responses",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("previous", sa.String(128), nullable=False),
        sa.Column("lineage", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(128), nullable=False),
        sa.Column("upstream", sa.String(63), nullable=False),
        sa.Column("native", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("input", sa.LargeBinary, nullable=False),
        sa.Column("response", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_kept_responses"),
    )
    op.create_index("ix_kept_responses_expires_at", "kept_responses", ["expires_at"])
