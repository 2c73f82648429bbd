"""Change requests: their revisions, reviews, comments and history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "change_heads",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("last", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("project", name="pk_change_heads"),
    )
    op.create_table(
        "change_requests",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("app", sa.String(63), nullable=False),
        sa.Column("ref", sa.String(63), nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("expected_outcome", sa.Text, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("author_name", sa.String(256), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("base", sa.String(71), nullable=False),
        sa.Column("candidate", sa.String(71), nullable=False),
        sa.Column("authors", sa.Text, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("key", sa.String(128)),
        sa.Column("merge", sa.Text),
        sa.Column("closed_reason", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project", "number", name="pk_change_requests"),
        sa.UniqueConstraint("project", "key", name="uq_change_requests_project_key"),
    )
    op.create_index("ix_change_requests_project_state_number", "change_requests", ["project", "state", "number"])
    op.create_table(
        "change_revisions",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("request", sa.Integer, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("base", sa.String(71), nullable=False),
        sa.Column("candidate", sa.String(71), nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("patch", sa.Text, nullable=False),
        sa.Column("changed", sa.Text, nullable=False),
        sa.Column("notes", sa.Text, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(128), nullable=False),
        sa.Column("by_name", sa.String(256), nullable=False),
        sa.Column("note", sa.Text, nullable=False),
        *_of("change_revisions", "number"),
    )
    op.create_table(
        "change_reviews",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("request", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("actor_name", sa.String(256), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("seals", sa.Text, nullable=False),
        sa.Column("parts", sa.Text, nullable=False),
        sa.Column("evidence", sa.String(71), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("own", sa.Boolean(create_constraint=False), nullable=False),
        *_of("change_reviews", "sequence"),
    )
    op.create_table(
        "change_events",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("request", sa.Integer, nullable=False),
        sa.Column("sequence", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("actor_name", sa.String(256), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        *_of("change_events", "sequence"),
    )
    op.create_table(
        "change_comments",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("request", sa.Integer, nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("thread", sa.String(64), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("author_name", sa.String(256), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("anchor", sa.Text),
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("history", sa.Text, nullable=False),
        sa.Column("edited_at", sa.BigInteger),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("resolved_by", sa.String(128), nullable=False),
        sa.Column("resolved_by_name", sa.String(256), nullable=False),
        *_of("change_comments", "id"),
    )


def _of(table: str, last: str) -> tuple[sa.Constraint, sa.Constraint]:
    """Return the keys of a table whose rows belong to change requests."""
    return (
        sa.PrimaryKeyConstraint("project", "request", last, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["project", "request"],
            ["change_requests.project", "change_requests.number"],
            name=f"fk_{table}_project_change_requests",
        ),
    )
