"""The models that a batch's lines ask for, by which it is found, and its order by age."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("models", sa.Text, nullable=False, server_default="[]"))
    op.create_index("ix_batches_project_created_s_id", "batches", ["project", "created_s", "id"])
