"""Relational state on SQLite or PostgreSQL: one engine, one metadata, the dialects' few differences."""

from tetrad.kit.db._database import Database, DatabaseDamaged, DatabaseUnavailable, open_database
from tetrad.kit.db._specs import SpecTable
from tetrad.kit.db._tables import JsonText, Timestamp, insert_or_ignore, metadata, upsert

__all__ = [
    "Database",
    "DatabaseDamaged",
    "DatabaseUnavailable",
    "JsonText",
    "SpecTable",
    "Timestamp",
    "insert_or_ignore",
    "metadata",
    "open_database",
    "upsert",
]
