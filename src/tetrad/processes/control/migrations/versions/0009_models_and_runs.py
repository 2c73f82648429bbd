"""Runs with their metrics and points; files of models on their way in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runs",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("experiment", sa.String(128), nullable=False),
        sa.Column("name", sa.String(128), nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("error", sa.Text, nullable=False),
        sa.Column("actor_name", sa.String(256), nullable=False),
        sa.Column("heartbeat_at", sa.BigInteger, nullable=False),
        sa.Column("idempotency_key", sa.String(128)),
        sa.Column("request", sa.String(71), nullable=False),
        sa.PrimaryKeyConstraint("project", "id", name="pk_runs"),
        sa.UniqueConstraint("project", "idempotency_key", name="uq_runs_project_idempotency_key"),
        sa.ForeignKeyConstraint(
            ["project", "id"], ["activities.project", "activities.id"], name="fk_runs_project_id_activities"
        ),
    )
    op.create_index("ix_runs_project_experiment_id", "runs", ["project", "experiment", "id"])
    op.create_table(
        "run_metrics",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("metric", sa.String(250), nullable=False),
        sa.Column("points", sa.Integer, nullable=False),
        sa.Column("first_step", sa.BigInteger, nullable=False),
        sa.Column("last_step", sa.BigInteger, nullable=False),
        sa.Column("last_at", sa.BigInteger, nullable=False),
        sa.Column("last", sa.Float(53)),
        sa.Column("least", sa.Float(53)),
        sa.Column("most", sa.Float(53)),
        sa.PrimaryKeyConstraint("project", "run", "metric", name="pk_run_metrics"),
        sa.ForeignKeyConstraint(
            ["project", "run"], ["runs.project", "runs.id"], name="fk_run_metrics_project_run_runs"
        ),
    )
    op.create_table(
        "run_points",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("run", sa.String(64), nullable=False),
        sa.Column("metric", sa.String(250), nullable=False),
        sa.Column("step", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("value", sa.Float(53)),
        sa.PrimaryKeyConstraint("project", "run", "metric", "step", "at", name="pk_run_points"),
        sa.ForeignKeyConstraint(["project", "run"], ["runs.project", "runs.id"], name="fk_run_points_project_run_runs"),
    )
    op.create_table(
        "model_uploads",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("digest", sa.String(71), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("by", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("project", "digest", name="pk_model_uploads"),
    )
