"""The registry's tables, for the stores that read and write them."""

from __future__ import annotations

import sqlalchemy as sa

from tetrad.kit.db import JsonText, Timestamp, metadata

artifacts = sa.Table(
    "artifacts",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("media_type", sa.String(128), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("stored", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("erased_at", Timestamp),
    sa.Column("erased_by", sa.String(128)),
    sa.Column("erased_because", sa.Text),
    sa.Column("kept_at", Timestamp),
)
sa.Index(None, artifacts.c.project, artifacts.c.kind, artifacts.c.created_at)

artifact_parts = sa.Table(
    "artifact_parts",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("part", sa.String(71), primary_key=True),
    sa.Column("role", sa.String(64), primary_key=True),
    sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
)
sa.Index(None, artifact_parts.c.project, artifact_parts.c.part)

version_names = sa.Table(
    "version_names",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("kind", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("last_seq", sa.Integer, nullable=False),
)

versions = sa.Table(
    "versions",
    metadata,
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
    sa.Column("meta", JsonText, nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.UniqueConstraint("project", "kind", "name", "semver"),
    sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
)
sa.Index(None, versions.c.project, versions.c.digest)

refs = sa.Table(
    "refs",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(71)),  # NULL: deleted, the name stays reserved
    sa.Column("revision", sa.Integer, nullable=False),
    sa.Column("moved_at", Timestamp, nullable=False),
    sa.Column("moved_by", sa.String(128), nullable=False),
    sa.Column("moved_by_name", sa.String(256), nullable=False),
    sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
)

ref_log_heads = sa.Table(
    "ref_log_heads",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("seq", sa.Integer, nullable=False),
    sa.Column("hash", sa.String(71), nullable=False),
)

ref_log = sa.Table(
    "ref_log",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("seq", sa.Integer, primary_key=True),
    sa.Column("ref", sa.String(128), nullable=False),
    sa.Column("old", sa.String(71)),
    sa.Column("new", sa.String(71)),
    sa.Column("actor", sa.String(128), nullable=False),
    sa.Column("actor_name", sa.String(256), nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("change_request", sa.String(64), nullable=False),
    sa.Column("prev_hash", sa.String(71), nullable=False),
    sa.Column("hash", sa.String(71), nullable=False),
)
sa.Index(None, ref_log.c.project, ref_log.c.ref, ref_log.c.seq)

ref_rules = sa.Table(
    "ref_rules",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("pattern", sa.String(160), primary_key=True),
    sa.Column("gate", sa.String(32), nullable=False),
    sa.Column("policy", sa.String(71)),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
)

revocations = sa.Table(
    "revocations",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("id", sa.String(64), primary_key=True),  # sortable, for pages
    sa.Column("digest", sa.String(71), nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("revoked_at", Timestamp, nullable=False),
    sa.Column("revoked_by", sa.String(128), nullable=False),
    sa.Column("revoked_by_name", sa.String(256), nullable=False),
    sa.Column("evidence", sa.String(71), nullable=False),
    sa.Column("reinstated_at", Timestamp),
    sa.Column("reinstated_by", sa.String(128), nullable=False),
    sa.Column("reinstated_by_name", sa.String(256), nullable=False),
    sa.Column("reinstated_because", sa.Text, nullable=False),
    sa.ForeignKeyConstraint(["project", "digest"], ["artifacts.project", "artifacts.digest"]),
)
sa.Index(None, revocations.c.project, revocations.c.digest)
