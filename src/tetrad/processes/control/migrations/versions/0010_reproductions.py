"""Reproductions and recordings of releases that were asked for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "reproductions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("seq", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("release", sa.String(71), nullable=False),
        sa.Column("app", sa.String(63), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("level", sa.String(8), nullable=False),
        sa.Column("recording", sa.String(71), nullable=False),
        sa.Column("inputs", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("created_by_name", sa.String(256), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("ended_at", sa.BigInteger),
        sa.Column("report", sa.String(71), nullable=False),
        sa.Column("evidence", sa.String(71), nullable=False),
        sa.Column("proven", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("hint", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_reproductions"),
        sa.UniqueConstraint("seq", name="uq_reproductions_seq"),
    )
    op.create_index("ix_reproductions_project_release_seq", "reproductions", ["project", "release", "seq"])
