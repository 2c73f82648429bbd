"""What models cost by pictures, sound, characters, requests and in batches, in the local price table."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_prices", sa.Column("units", sa.Text, nullable=False, server_default="{}"))
    op.add_column("model_prices", sa.Column("batch", sa.String(32)))
