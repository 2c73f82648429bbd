"""How each batch is done: as calls, or by its provider's own batch API."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("batches", sa.Column("carriage", sa.Text, nullable=False, server_default="{}"))
