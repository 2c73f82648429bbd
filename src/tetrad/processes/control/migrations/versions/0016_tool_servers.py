"""MCP servers and the definitions of their tools, approved and seen."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "tool_servers",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("spec", sa.Text, nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name="pk_tool_servers"),
    )
    op.create_table(
        "tool_definitions",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("server", sa.String(63), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("pinned_digest", sa.String(71), nullable=False),
        sa.Column("pinned", sa.Text, nullable=False),
        sa.Column("approved_at", sa.BigInteger, nullable=True),
        sa.Column("approved_by", sa.String(64), nullable=False),
        sa.Column("seen_digest", sa.String(71), nullable=False),
        sa.Column("seen", sa.Text, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=True),
        sa.PrimaryKeyConstraint("project", "server", "name", name="pk_tool_definitions"),
    )
