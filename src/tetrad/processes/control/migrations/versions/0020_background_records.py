"""What is known of responses in the background while they are kept, and the events of those that are streamed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "background_records",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(128), nullable=False),
        sa.Column("key_id", sa.String(128), nullable=False),
        sa.Column("app", sa.String(63), nullable=False),
        sa.Column("model", sa.String(300), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger, nullable=True),
        sa.Column("followed", sa.Boolean, nullable=False),
        sa.Column("next_number", sa.BigInteger, nullable=False),
        sa.Column("event_bytes", sa.BigInteger, nullable=False),
        sa.Column("shown_call", sa.Integer, nullable=False),
        sa.Column("call_events", sa.BigInteger, nullable=False),
        sa.Column("events_until", sa.BigInteger, nullable=True),
        sa.Column("idempotency", sa.String(64), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("dropped", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_background_records"),
    )
    op.create_index("ix_background_records_project_created_at", "background_records", ["project", "created_at"])
    op.create_index("ix_background_records_events_until", "background_records", ["events_until"])
    op.create_index(
        "ix_background_records_project_key_id_idempotency",
        "background_records",
        ["project", "key_id", "idempotency"],
        unique=True,
    )
    op.create_table(
        "background_events",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("response", sa.String(128), nullable=False),
        sa.Column("last", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("events", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("project", "response", "last", name="pk_background_events"),
    )
