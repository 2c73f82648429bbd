"""Rows on their way to a version, on disk: a private SQLite database that ends with the process that made it.

Memory stays bounded whatever the number of rows: keys are sorted and compared by SQL, digests are taken while reading.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from tetrad.datasets._model import STEP, longest_rising, order_digest, sorted_dataset_digest
from tetrad.datasets._packing import Unpacker
from tetrad.datasets.ports import Member
from tetrad.kernel import Digest

CACHE_KIB = 24 * 1024
_BATCH = 2000
_TABLES = """
CREATE TABLE row (n INTEGER PRIMARY KEY, line INTEGER, key TEXT, digest BLOB, codec INTEGER, content BLOB);
CREATE TABLE was (n INTEGER PRIMARY KEY, position INTEGER, same INTEGER, kept INTEGER);
CREATE TABLE gone (key TEXT);
CREATE TABLE placed (n INTEGER PRIMARY KEY, position INTEGER);
"""


class Scratch:
    """A list of rows that is compared with the version before. The file has no name: a killed process leaves none."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}", "temp_store=FILE"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.executescript(_TABLES)
        self._waiting: list[tuple[int, str, bytes, int | None, bytes | None]] = []
        self.rows = 0
        self._fresh = True

    def add(self, line: int, key: str, digest: bytes, codec: int | None = None, content: bytes | None = None) -> None:
        """Take a row; without content it is one that the store has already."""
        self._waiting.append((line, key, digest, codec, content))
        self.rows += 1
        if len(self._waiting) >= _BATCH:
            self._flush()

    def replace(self, key: str, line: int, digest: bytes, codec: int, content: bytes) -> bool:
        """Put other content in the place of the row with a key, after `seal`; False where there is none."""
        done = self._db.execute(
            "UPDATE row SET line = ?, digest = ?, codec = ?, content = ? WHERE key = ?",
            (line, digest, codec, content, key),
        )
        return bool(done.rowcount)

    def remove(self, key: str) -> bool:
        """Take the row with a key out, after `seal`; call `renumber` when done."""
        return bool(self._db.execute("DELETE FROM row WHERE key = ?", (key,)).rowcount)

    def find(self, key: str) -> bytes | None:
        """Return the digest of the row with a key, after `seal`; rows that were added since are not looked at."""
        row = self._db.execute("SELECT digest FROM row WHERE key = ?", (key,)).fetchone()
        return None if row is None else bytes(row[0])

    def brought(self) -> Iterator[tuple[bytes, bytes | None]]:
        """Yield (digest, canonical content) of all rows in their order; None for content that the store has."""
        unpacker = Unpacker()
        for digest, codec, content in self._db.execute("SELECT digest, codec, content FROM row ORDER BY n"):
            yield digest, None if content is None else unpacker.unpack(codec, content)

    def renumber(self) -> None:
        """Close the gaps that `remove` left: places count from 1."""
        self._flush()
        self._db.executescript(
            "CREATE TABLE fresh"
            " (n INTEGER PRIMARY KEY, line INTEGER, key TEXT, digest BLOB, codec INTEGER, content BLOB);"
            "INSERT INTO fresh (line, key, digest, codec, content)"
            " SELECT line, key, digest, codec, content FROM row ORDER BY n;"
            "DROP TABLE row; ALTER TABLE fresh RENAME TO row;"
        )
        self.rows = self._db.execute("SELECT count(*) FROM row").fetchone()[0]
        self.seal()

    def seal(self) -> None:
        """Sort what was taken; `twice`, `digest` and all behind it need this."""
        self._flush()
        self._db.execute("CREATE INDEX IF NOT EXISTS by_key ON row (key, n)")
        self._db.execute("CREATE INDEX IF NOT EXISTS by_digest ON row (digest, n)")

    def number_equals(self) -> None:
        """Give rows that stand more than once keys that count them: `key`, `key.1`, `key.2`."""
        self._db.executescript(
            "CREATE TEMP TABLE equal AS SELECT n, row_number() OVER (PARTITION BY key ORDER BY n) - 1 AS count FROM row"
            " WHERE key IN (SELECT key FROM row GROUP BY key HAVING count(*) > 1);"
            "UPDATE row SET key = row.key || '.' || equal.count FROM equal WHERE equal.n = row.n AND equal.count > 0;"
            "DROP TABLE equal"
        )

    def twice(self, limit: int) -> list[tuple[int, str, int]]:
        """Return rows whose key an earlier row has, as (line, key, line of the first), in the order of lines."""
        return self._db.execute(
            "SELECT later.line, later.key, first.line FROM"
            " (SELECT key, min(n) AS n FROM row GROUP BY key HAVING count(*) > 1) AS again"
            " JOIN row AS first ON first.n = again.n JOIN row AS later ON later.key = again.key AND later.n > again.n"
            " ORDER BY later.n LIMIT ?",
            (limit,),
        ).fetchall()

    def digest(self) -> Digest:
        """Return the `dataset_digest` of the rows."""
        return sorted_dataset_digest((key, digest) for key, digest, _ in self._by_key())

    def order(self) -> Digest:
        """Return the `order_digest` of the rows."""
        return order_digest(self.keys())

    def keys(self) -> Iterator[str]:
        """Yield the keys in the order of rows."""
        for (key,) in self._db.execute("SELECT key FROM row ORDER BY n"):
            yield key

    def digests(self) -> Iterator[bytes]:
        """Yield the digests of all rows, in the order of rows."""
        for (digest,) in self._db.execute("SELECT digest FROM row ORDER BY n"):
            yield digest

    def contents(self) -> Iterator[tuple[bytes, int, bytes]]:
        """Yield (digest, codec, packed content) of the rows that were brought, each digest once, in their order."""
        last = b""
        for digest, codec, content in self._db.execute("SELECT digest, codec, content FROM row ORDER BY digest, n"):
            if content is not None and digest != last:
                last = digest
                yield digest, codec, content

    # -- against the version before -----------------------------------------------------------------------------

    def compare(self, current: Iterable[Member]) -> None:
        """Compare with the members of the version before, which come in the order of keys, and give rows places."""
        for table in ("was", "gone", "placed"):
            self._db.execute(f"DELETE FROM {table}")  # noqa: S608 - our own names
        mine = self._by_key()
        row = next(mine, None)
        gone: list[tuple[str]] = []
        was: list[tuple[int, int, bool]] = []
        for member in current:
            encoded = member.key.encode()
            while row is not None and row[0].encode() < encoded:
                row = next(mine, None)
            if row is not None and row[0] == member.key:
                was.append((row[2], member.position, row[1] == member.digest))
            else:
                gone.append((member.key,))
            if len(was) + len(gone) >= _BATCH:
                self._note(was, gone)
        self._note(was, gone)
        self._place()

    def begun(self) -> Iterator[Member]:
        """Yield members that begin with this version, in the order of keys."""
        if self._fresh:
            for key, digest, n in self._by_key():
                yield Member(key, digest, STEP * n)
            return
        found = self._db.execute(
            "SELECT row.key, row.digest, coalesce(placed.position, was.position) FROM row"
            " LEFT JOIN was ON was.n = row.n LEFT JOIN placed ON placed.n = row.n"
            " WHERE was.n IS NULL OR was.same = 0 OR (placed.n IS NOT NULL AND placed.position <> was.position)"
            " ORDER BY row.key"
        )
        for key, digest, position in found:
            yield Member(key, digest, position)

    def ended(self) -> Iterator[str]:
        """Yield keys whose members end with this version."""
        found = self._db.execute(
            "SELECT key FROM gone UNION ALL SELECT row.key FROM was JOIN row ON row.n = was.n"
            " LEFT JOIN placed ON placed.n = was.n"
            " WHERE was.same = 0 OR (placed.n IS NOT NULL AND placed.position <> was.position)"
        )
        for (key,) in found:
            yield key

    def close(self) -> None:
        """Give the disk back."""
        self._db.close()

    def __del__(self) -> None:
        """Give the disk back where nobody did."""
        with suppress(AttributeError, sqlite3.Error):
            self._db.close()

    def _by_key(self) -> Iterator[tuple[str, bytes, int]]:
        return iter(self._db.execute("SELECT key, digest, n FROM row INDEXED BY by_key ORDER BY key, n"))

    def _note(self, was: list[Any], gone: list[Any]) -> None:
        self._db.execute("BEGIN")
        self._db.executemany("INSERT INTO was (n, position, same, kept) VALUES (?, ?, ?, 1)", was)
        self._db.executemany("INSERT INTO gone VALUES (?)", gone)
        self._db.execute("COMMIT")
        was.clear()
        gone.clear()

    def _place(self) -> None:
        """Do as `place` says, with places in tables."""
        self._fresh = self._db.execute("SELECT 1 FROM was LIMIT 1").fetchone() is None
        if self._fresh:
            return
        falls = "SELECT 1 FROM (SELECT position, lag(position) OVER (ORDER BY n) AS before FROM was) WHERE position < before LIMIT 1"  # noqa: E501
        if self._db.execute(falls).fetchone():
            self._keep_longest()
        if not self._fill():
            self._db.execute("DELETE FROM placed")
            self._db.execute(f"INSERT INTO placed SELECT n, n * {STEP} FROM row")  # noqa: S608 - a number of ours

    def _keep_longest(self) -> None:
        numbers, positions = array("q"), array("q")
        for n, position in self._db.execute("SELECT n, position FROM was ORDER BY n"):
            numbers.append(n)
            positions.append(position)
        kept = longest_rising(positions)
        self._db.execute("BEGIN")
        self._db.execute("UPDATE was SET kept = 0")
        self._db.executemany("UPDATE was SET kept = 1 WHERE n = ?", ((numbers[at],) for at in kept))
        self._db.execute("COMMIT")

    def _fill(self) -> bool:
        """Place the rows between those that stay; False where a gap is used up."""
        last_n, low = 0, 0
        self._db.execute("BEGIN")
        try:
            anchors = self._db.cursor().execute("SELECT n, position FROM was WHERE kept = 1 ORDER BY n")
            for n, position in anchors:
                count, gap = n - last_n - 1, position - low
                if gap <= count:
                    return False
                if count:
                    start, base = last_n + 1, low
                    self._insert_places((start + at, base + gap * (at + 1) // (count + 1)) for at in range(count))
                last_n, low = n, position
            self._insert_places((n, low + STEP * (n - last_n)) for n in range(last_n + 1, self.rows + 1))
        finally:
            self._db.execute("COMMIT")
        return True

    def _insert_places(self, places: Iterable[tuple[int, int]]) -> None:
        self._db.executemany("INSERT INTO placed VALUES (?, ?)", places)

    def _flush(self) -> None:
        if self._waiting:
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT INTO row (line, key, digest, codec, content) VALUES (?, ?, ?, ?, ?)", self._waiting
            )
            self._db.execute("COMMIT")
            self._waiting.clear()


class Seen:
    """A memory of hashes, on disk."""

    def __init__(self) -> None:
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in ("journal_mode=OFF", "synchronous=OFF", f"cache_size=-{CACHE_KIB}"):
            self._db.execute(f"PRAGMA {pragma}")
        self._db.execute("CREATE TABLE seen (hash BLOB PRIMARY KEY) WITHOUT ROWID")
        self._db.execute("BEGIN")

    def before(self, digest: bytes) -> bool:
        """Tell whether it was asked for the same hash before."""
        return not self._db.execute("INSERT OR IGNORE INTO seen VALUES (?)", (digest,)).rowcount

    def close(self) -> None:
        """Forget."""
        self._db.close()


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Yield lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
