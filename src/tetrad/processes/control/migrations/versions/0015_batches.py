"""Files that clients upload, batches of calls, and conversations that clients name."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "stored_files",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("purpose", sa.String(32), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.String(80), nullable=False),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("expires_s", sa.BigInteger, nullable=True),
        sa.Column("key_id", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_stored_files"),
    )
    op.create_index("ix_stored_files_project_id", "stored_files", ["project", "id"])
    op.create_index("ix_stored_files_expires_s", "stored_files", ["expires_s"])
    op.create_table(
        "batches",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("key_id", sa.String(128), nullable=False),
        sa.Column("protocol", sa.String(16), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("input_file", sa.String(64), nullable=False),
        sa.Column("input_digest", sa.String(80), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_s", sa.BigInteger, nullable=False),
        sa.Column("expires_s", sa.BigInteger, nullable=False),
        sa.Column("ended_s", sa.BigInteger, nullable=True),
        sa.Column("window", sa.String(8), nullable=False),
        sa.Column("metadata", sa.Text, nullable=True),
        sa.Column("errors", sa.Text, nullable=False),
        sa.Column("output_file", sa.String(64), nullable=False),
        sa.Column("error_file", sa.String(64), nullable=False),
        sa.Column("output_keep_s", sa.BigInteger, nullable=True),
        sa.Column("times", sa.Text, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("completed", sa.BigInteger, nullable=False),
        sa.Column("failed", sa.BigInteger, nullable=False),
        sa.Column("answer_bytes", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_batches"),
    )
    op.create_index("ix_batches_project_id", "batches", ["project", "id"])
    op.create_index("ix_batches_status", "batches", ["status"])
    op.create_table(
        "batch_lines",
        sa.Column("batch", sa.String(64), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("custom_id", sa.Text, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("length", sa.BigInteger, nullable=False),
        sa.Column("answered", sa.Boolean, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=True),
        sa.PrimaryKeyConstraint("batch", "number", name="pk_batch_lines"),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name="fk_batch_lines_batch_batches", ondelete="CASCADE"),
    )
    op.create_table(
        "kept_conversations",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("metadata", sa.Text, nullable=False),
        sa.Column("next_place", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_kept_conversations"),
    )
    op.create_index("ix_kept_conversations_expires_at", "kept_conversations", ["expires_at"])
    op.create_table(
        "conversation_items",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("conversation", sa.String(128), nullable=False),
        sa.Column("place", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("source", sa.String(128), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("item", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project", "conversation", "place", name="pk_conversation_items"),
        sa.ForeignKeyConstraint(
            ["project", "conversation"],
            ["kept_conversations.project", "kept_conversations.id"],
            name="fk_conversation_items_project_conversation_kept_conversations",
            ondelete="CASCADE",
        ),
    )
