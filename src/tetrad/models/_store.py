"""The models' tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec
import sqlalchemy as sa

from tetrad.kit.db import Database, JsonText, Timestamp, insert_or_ignore, metadata, upsert
from tetrad.models._model import ModelPrice, ModelRecord, PriceEntry, PriceTier, WeightsFacts, WeightsFile

_ABANDONED = timedelta(days=7)

models = sa.Table(
    "models",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("files", JsonText, nullable=False),
    sa.Column("facts", JsonText, nullable=False),
    sa.Column("base", sa.String(71)),
    sa.Column("derivation", sa.String(16), nullable=False),
    sa.Column("provider", sa.String(64), nullable=False),
    sa.Column("provider_model", sa.String(256), nullable=False),
    sa.Column("snapshot", sa.String(64), nullable=False),
    sa.Column("immutable", sa.Boolean(create_constraint=False), nullable=False),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
)

model_prices = sa.Table(
    "model_prices",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),  # empty: every project's
    sa.Column("model", sa.String(128), nullable=False),
    sa.Column("input", sa.String(32), nullable=False),
    sa.Column("output", sa.String(32), nullable=False),
    sa.Column("cache_read", sa.String(32)),
    sa.Column("cache_write", sa.String(32)),
    sa.Column("currency", sa.String(3), nullable=False),
    sa.Column("tiers", JsonText, nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("valid_from", Timestamp),
    sa.Column("valid_to", Timestamp),
    sa.Column("created_at", Timestamp, nullable=False),
    sa.Column("created_by", sa.String(128), nullable=False),
    sa.Column("units", JsonText, nullable=False, server_default="{}"),
    sa.Column("batch", sa.String(32)),
)
sa.Index(None, model_prices.c.project, model_prices.c.model)

model_uploads = sa.Table(
    "model_uploads",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("digest", sa.String(71), primary_key=True),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("at", Timestamp, nullable=False),
    sa.Column("by", sa.String(128), nullable=False),
)


class SqlModelStore:
    """`ModelStore` on a relational database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, record: ModelRecord) -> ModelRecord:
        row = {name: getattr(record, name) for name in ModelRecord.__struct_fields__}
        row["files"] = msgspec.to_builtins(record.files)
        row["facts"] = msgspec.to_builtins(record.facts)
        with self._database.write() as connection:
            insert_or_ignore(connection, models, row)
            found = connection.execute(_one(record.project, record.digest)).one()
        return _record(found)

    def get(self, project: str, digest: str) -> ModelRecord | None:
        with self._database.read() as connection:
            row = connection.execute(_one(project, digest)).one_or_none()
        return None if row is None else _record(row)

    def add_upload(self, project: str, digest: str, size: int, at: datetime, by: str) -> None:
        row = {"project": project, "digest": digest, "size": size, "at": at, "by": by}
        with self._database.write() as connection:
            connection.execute(sa.delete(model_uploads).where(model_uploads.c.at < at - _ABANDONED))
            upsert(connection, model_uploads, row, key=("project", "digest"))

    def uploads(self, project: str, digests: Sequence[str]) -> set[str]:
        with self._database.read() as connection:
            return {
                digest
                for start in range(0, len(digests), 500)
                for digest in connection.scalars(
                    sa.select(model_uploads.c.digest).where(
                        model_uploads.c.project == project, model_uploads.c.digest.in_(digests[start : start + 500])
                    )
                )
            }

    def drop_uploads(self, project: str, digests: Sequence[str]) -> None:
        with self._database.write() as connection:
            for start in range(0, len(digests), 500):
                connection.execute(
                    sa.delete(model_uploads).where(
                        model_uploads.c.project == project, model_uploads.c.digest.in_(digests[start : start + 500])
                    )
                )

    def add_price(self, entry: PriceEntry) -> None:
        price = entry.price
        with self._database.write() as connection:
            connection.execute(
                sa.insert(model_prices).values(
                    id=entry.id, project=entry.project, model=entry.model, input=price.input, output=price.output,
                    cache_read=price.cache_read, cache_write=price.cache_write, currency=price.currency,
                    tiers=msgspec.to_builtins(price.tiers), source=price.source, valid_from=price.valid_from,
                    valid_to=price.valid_to, created_at=entry.created_at, created_by=entry.created_by,
                    units=price.units, batch=price.batch,
                )
            )  # fmt: skip

    def remove_price(self, project: str, price_id: str) -> bool:
        with self._database.write() as connection:
            done = connection.execute(
                sa.delete(model_prices).where(model_prices.c.project == project, model_prices.c.id == price_id)
            )
            return bool(done.rowcount)

    def prices(self, project: str | None, model: str | None) -> Sequence[PriceEntry]:
        statement = sa.select(model_prices)
        if project is not None:
            statement = statement.where(model_prices.c.project.in_([project, ""]))
        if model is not None:
            statement = statement.where(model_prices.c.model == model)
        with self._database.read() as connection:
            rows = connection.execute(statement.order_by(model_prices.c.model, model_prices.c.id))
            return [_price(row) for row in rows]


def _one(project: str, digest: str) -> sa.Select[Any]:
    return sa.select(models).where(models.c.project == project, models.c.digest == digest)


def _record(row: sa.Row[Any]) -> ModelRecord:
    fields = {name: row._mapping[name] for name in ModelRecord.__struct_fields__}
    fields["files"] = msgspec.convert(fields["files"], tuple[WeightsFile, ...])
    fields["facts"] = msgspec.convert(fields["facts"], WeightsFacts)
    fields["immutable"] = bool(fields["immutable"])
    return ModelRecord(**fields)


def _price(row: sa.Row[Any]) -> PriceEntry:
    tiers = msgspec.convert(row.tiers, tuple[PriceTier, ...])
    price = ModelPrice(
        row.input, row.output, row.cache_read, row.cache_write, row.currency, tiers, row.source, row.valid_from,
        row.valid_to, units=msgspec.convert(row.units, dict[str, str]), batch=row.batch,
    )  # fmt: skip
    return PriceEntry(row.id, row.project, row.model, price, row.created_at, row.created_by)
