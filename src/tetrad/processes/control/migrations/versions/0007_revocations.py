"""Revocations of artifacts; when an artifact was last kept, and why its content went."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("erased_by", sa.String(128)))
    op.add_column("artifacts", sa.Column("erased_because", sa.Text))
    op.add_column("artifacts", sa.Column("kept_at", sa.BigInteger))
    op.execute("UPDATE artifacts SET kept_at = created_at")
    op.create_table(
        "revocations",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("revoked_at", sa.BigInteger, nullable=False),
        sa.Column("revoked_by", sa.String(128), nullable=False),
        sa.Column("revoked_by_name", sa.String(256), nullable=False),
        sa.Column("evidence", sa.String(71), nullable=False),
        sa.Column("reinstated_at", sa.BigInteger),
        sa.Column("reinstated_by", sa.String(128), nullable=False),
        sa.Column("reinstated_by_name", sa.String(256), nullable=False),
        sa.Column("reinstated_because", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_revocations"),
        sa.ForeignKeyConstraint(
            ["project", "digest"],
            ["artifacts.project", "artifacts.digest"],
            name="fk_revocations_project_digest_artifacts",
        ),
    )
    op.create_index("ix_revocations_project_digest", "revocations", ["project", "digest"])
