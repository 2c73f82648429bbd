"""Alembic's entry: `tetrad.kit.db.migrate` passes a connection in a transaction, or a dialect to print SQL for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import context

from tetrad.kit.db import metadata

connection: sa.Connection | None = context.config.attributes.get("connection")

if context.is_offline_mode():
    context.configure(
        dialect_name=context.config.attributes["dialect"],
        target_metadata=metadata,
        literal_binds=True,
        dialect_opts={"paramstyle": "named"},
        transactional_ddl=True,
    )
    with context.begin_transaction():
        context.run_migrations()
elif connection is None:
    raise SystemExit("run migrations with `tetrad migrate`; it holds the lock that keeps two processes apart")
else:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transactional_ddl=True,
        transaction_per_migration=False,
        render_as_batch=True,
    )
    context.run_migrations()
