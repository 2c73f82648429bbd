"""Imports in progress, pushed batches and side columns of datasets; keys of rows sort by their bytes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    if op.get_context().dialect.name == "postgresql":
        op.execute('ALTER TABLE dataset_members ALTER COLUMN key TYPE varchar(256) COLLATE "C"')
    op.create_table(
        "dataset_imports",
        sa.Column("id", sa.String(160), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("began_at", sa.BigInteger, nullable=False),
        sa.Column("beat_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("id", name="pk_dataset_imports"),
    )
    op.create_index("ix_dataset_imports_project", "dataset_imports", ["project"])
    op.create_table(
        "dataset_pushes",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("idempotency_key", sa.String(128), nullable=False),
        sa.Column("request", sa.String(71), nullable=False),
        sa.Column("semver", sa.String(64), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "name", "idempotency_key", name="pk_dataset_pushes"),
    )
    op.create_table(
        "dataset_columns",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("row_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("column", sa.String(63), nullable=False),
        sa.Column("value", sa.Text, nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "row_digest", "column", name="pk_dataset_columns"),
    )
