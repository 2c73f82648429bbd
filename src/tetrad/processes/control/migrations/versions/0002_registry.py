"""Artifacts, versions, refs and lineage; datasets, models and their prices; apps."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _registry()
    _datasets()
    _models()
    _releases()


def _registry() -> None:
    op.create_table(
        "artifacts",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("media_type", sa.String(128), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("stored", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
        sa.Column("erased_at", sa.BigInteger),
    )
    op.create_index("ix_artifacts_project_kind_created_at", "artifacts", ["project", "kind", "created_at"])
    op.create_table(
        "artifact_parts",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("part", sa.String(71), primary_key=True),
        sa.Column("role", sa.String(64), primary_key=True),
        sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
    )
    op.create_index("ix_artifact_parts_project_part", "artifact_parts", ["project", "part"])
    op.create_table(
        "version_names",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("last_seq", sa.Integer, nullable=False),
    )
    op.create_table(
        "versions",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("kind", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("semver", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("parent", sa.String(71)),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("author_name", sa.String(256), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("expected_outcome", sa.Text, nullable=False),
        sa.Column("meta", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
        sa.UniqueConstraint("project", "kind", "name", "semver"),
    )
    op.create_index("ix_versions_project_digest", "versions", ["project", "digest"])
    op.create_table(
        "refs",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("digest", sa.String(71)),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("moved_at", sa.BigInteger, nullable=False),
        sa.Column("moved_by", sa.String(128), nullable=False),
        sa.Column("moved_by_name", sa.String(256), nullable=False),
        sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
    )
    op.create_table(
        "ref_log_heads",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(71), nullable=False),
    )
    op.create_table(
        "ref_log",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("ref", sa.String(128), nullable=False),
        sa.Column("old", sa.String(71)),
        sa.Column("new", sa.String(71)),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("actor_name", sa.String(256), nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("change_request", sa.String(64), nullable=False),
        sa.Column("prev_hash", sa.String(71), nullable=False),
        sa.Column("hash", sa.String(71), nullable=False),
    )
    op.create_index("ix_ref_log_project_ref_seq", "ref_log", ["project", "ref", "seq"])
    op.create_table(
        "ref_rules",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("pattern", sa.String(160), primary_key=True),
        sa.Column("gate", sa.String(32), nullable=False),
        sa.Column("policy", sa.String(71)),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_table(
        "activities",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("params", sa.Text, nullable=False),
        sa.Column("environment", sa.Text, nullable=False),
        sa.Column("started_at", sa.BigInteger, nullable=False),
        sa.Column("ended_at", sa.BigInteger),
    )
    op.create_table(
        "lineage_edges",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("activity", sa.String(64), primary_key=True),
        sa.Column("direction", sa.String(3), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("role", sa.String(64), primary_key=True),
        sa.Column("policy", sa.String(16), nullable=False),
        sa.ForeignKeyConstraint(["project", "activity"], ["activities.project", "activities.id"]),
    )
    op.create_index("ix_lineage_edges_project_digest_direction", "lineage_edges", ["project", "digest", "direction"])


def _datasets() -> None:
    op.create_table(
        "datasets",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("last_seq", sa.Integer, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("project", "name"),
    )
    op.create_table(
        "dataset_versions",
        sa.Column("dataset", sa.String(64), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("row_order", sa.String(71), nullable=False),
        sa.Column("row_schema", sa.Text, nullable=False),
        sa.Column("schema_digest", sa.String(71), nullable=False),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("dataset", "digest", "row_order"),
    )
    op.create_index("ix_dataset_versions_digest", "dataset_versions", ["digest"])
    op.create_table(
        "dataset_rows",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("codec", sa.SmallInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "dataset_members",
        sa.Column("dataset", sa.String(64), sa.ForeignKey("datasets.id"), primary_key=True),
        sa.Column("key", sa.String(256), primary_key=True),
        sa.Column("valid_from", sa.Integer, primary_key=True),
        sa.Column("valid_to", sa.Integer),
        sa.Column("row_digest", sa.LargeBinary(32), nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
    )
    op.create_index("ix_dataset_members_dataset_position", "dataset_members", ["dataset", "position"])
    op.create_index("ix_dataset_members_dataset_valid_from", "dataset_members", ["dataset", "valid_from"])
    op.create_index("ix_dataset_members_dataset_valid_to", "dataset_members", ["dataset", "valid_to"])


def _models() -> None:
    op.create_table(
        "models",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("digest", sa.String(71), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("files", sa.Text, nullable=False),
        sa.Column("facts", sa.Text, nullable=False),
        sa.Column("base", sa.String(71)),
        sa.Column("derivation", sa.String(16), nullable=False),
        sa.Column("provider", sa.String(64), nullable=False),
        sa.Column("provider_model", sa.String(256), nullable=False),
        sa.Column("snapshot", sa.String(64), nullable=False),
        sa.Column("immutable", sa.Boolean(create_constraint=False), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_table(
        "model_prices",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("input", sa.String(32), nullable=False),
        sa.Column("output", sa.String(32), nullable=False),
        sa.Column("cache_read", sa.String(32)),
        sa.Column("cache_write", sa.String(32)),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("tiers", sa.Text, nullable=False),
        sa.Column("source", sa.String(64), nullable=False),
        sa.Column("valid_from", sa.BigInteger),
        sa.Column("valid_to", sa.BigInteger),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
    op.create_index("ix_model_prices_project_model", "model_prices", ["project", "model"])


def _releases() -> None:
    op.create_table(
        "apps",
        sa.Column("project", sa.String(63), primary_key=True),
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("default_ref", sa.String(63), nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(128), nullable=False),
    )
