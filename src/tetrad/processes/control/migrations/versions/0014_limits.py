"""Limits and budgets with their accounts and leases; teams; what keys may call and how they are labelled."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("team", sa.String(63), nullable=False, server_default=sa.text("''")))
    op.add_column("api_keys", sa.Column("models", sa.Text, nullable=False, server_default="[]"))
    op.add_column("api_keys", sa.Column("labels", sa.Text, nullable=False, server_default="{}"))
    op.create_table(
        "teams",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("title", sa.String(100), nullable=False),
        sa.Column("models", sa.Text, nullable=False),
        sa.Column("labels", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("project", "name", name="pk_teams"),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_teams_project_projects"),
    )
    op.create_table(
        "team_members",
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("team", sa.String(63), nullable=False),
        sa.Column("person_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("project", "team", "person_id", name="pk_team_members"),
        sa.ForeignKeyConstraint(["person_id"], ["people.id"], name="fk_team_members_person_id_people"),
        sa.ForeignKeyConstraint(
            ["project", "team"], ["teams.project", "teams.name"], name="fk_team_members_project_teams"
        ),
    )
    op.create_table(
        "limit_rules",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("project", sa.String(63), nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("created_by", sa.String(64), nullable=False),
        sa.Column("changed_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_limit_rules"),
        sa.ForeignKeyConstraint(["project"], ["projects.name"], name="fk_limit_rules_project_projects"),
    )
    op.create_index("ix_limit_rules_project_id", "limit_rules", ["project", "id"])
    op.create_table(
        "limit_accounts",
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("instance", sa.String(300), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.Column("uncertain", sa.Text, nullable=False),
        sa.Column("unknown", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("rule", "instance", "period", name="pk_limit_accounts"),
    )
    op.create_table(
        "limit_slots",
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("seen_at", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("slot", name="pk_limit_slots"),
    )
    op.create_table(
        "limit_leases",
        sa.Column("slot", sa.String(64), nullable=False),
        sa.Column("lease", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("instance", sa.String(300), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("granted", sa.Text, nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.Column("reserved", sa.Text, nullable=False),
        sa.Column("unknown", sa.BigInteger, nullable=False),
        sa.Column("closed", sa.Boolean(create_constraint=False), nullable=False),
        sa.PrimaryKeyConstraint("slot", "lease", name="pk_limit_leases"),
    )
    op.create_index("ix_limit_leases_rule_instance_period", "limit_leases", ["rule", "instance", "period"])
    op.create_table(
        "limit_series",
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("instance", sa.String(300), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("hour", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("rule", "instance", "period", "hour", name="pk_limit_series"),
    )
    op.create_table(
        "limit_alerts",
        sa.Column("rule", sa.String(64), nullable=False),
        sa.Column("instance", sa.String(300), nullable=False),
        sa.Column("period", sa.String(16), nullable=False),
        sa.Column("threshold", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("at", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("rule", "instance", "period", "threshold", name="pk_limit_alerts"),
    )
