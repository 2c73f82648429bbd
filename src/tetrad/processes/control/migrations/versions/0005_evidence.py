"""Evidence, the digests that it is about, and the keys that sign it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "evidence",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("seq", sa.String(64), nullable=False),
        sa.Column("predicate_type", sa.String(128), nullable=False),
        sa.Column("envelope", sa.Text, nullable=False),
        sa.Column("receipt", sa.String(200), nullable=False),
        sa.Column("received_at", sa.BigInteger, nullable=False),
        sa.Column("received_by", sa.String(128), nullable=False),
        sa.Column("received_by_name", sa.String(256), nullable=False),
        sa.Column("expires_at", sa.BigInteger),
        sa.Column("revoked_at", sa.BigInteger),
        sa.Column("revoked_by", sa.String(128), nullable=False),
        sa.Column("revoked_because", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("project", "digest", name="pk_evidence"),
        sa.UniqueConstraint("project", "seq", name="uq_evidence_project_seq"),
    )
    op.create_table(
        "evidence_subjects",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("subject", sa.String(71), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("project", "subject", "digest", name="pk_evidence_subjects"),
        sa.ForeignKeyConstraint(
            ["project", "digest"],
            ["evidence.project", "evidence.digest"],
            name="fk_evidence_subjects_project_digest_evidence",
        ),
    )
    op.create_table(
        "signing_keys",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("sealed", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_signing_keys"),
    )
