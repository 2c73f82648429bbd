"""Check rows one by one and keep them on disk until all are known to be good."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO

from tetrad.datasets._formats import CsvForm, Problem, read_rows
from tetrad.datasets._model import Shape
from tetrad.datasets._packing import Packer
from tetrad.datasets._schema import misfits
from tetrad.datasets._scratch import Scratch
from tetrad.datasets.errors import BadKey, BadRows, DatasetTooLarge, RowError
from tetrad.datasets.ports import Member
from tetrad.kernel import Digest, InvalidInput, NotCanonical, canonical_json, parse_digest

BLOB_KEY = "$blob"
MAX_KEY_BYTES = 256
MAX_MEDIA = 50_000
_HASH_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class DatasetLimits:
    """What is refused as too much."""

    max_rows: int = 1_000_000
    max_row_bytes: int = 1 << 20
    max_bytes: int = 1 << 30
    max_errors: int = 100
    max_push_rows: int = 10_000


class CheckedRows:
    """Checks rows one by one and holds what the store needs of them, on disk. `source` is the digest of the file."""

    def __init__(
        self,
        limits: DatasetLimits,
        key: str | None,
        where: str,
        sees: Callable[[Digest], bool],
        *,
        schema: Mapping[str, Any] | None = None,
    ) -> None:
        if key is not None and (not key or len(key) > 128):
            raise BadKey(f"{key!r} cannot name rows", hint="name a field such as id")
        self._limits, self.key, self._where, self._sees = limits, key, where, sees
        self._declared = schema
        self._errors: list[RowError] = []
        self._packer = Packer()
        self._good_media: set[str] = set()
        self._own_keys = False
        self._pushed: set[str] = set()
        self.scratch = Scratch()
        self.media: set[Digest] = set()
        self.shape = Shape()
        self.size = 0
        self.source: Digest | None = None
        self.form = "rows"

    def read(self, data: BinaryIO, form: str = "jsonl", options: CsvForm | None = None) -> None:
        """Read a file of rows to its end and refuse it with `BadRows` where anything is wrong with it."""
        start = data.tell()
        for line, value in read_rows(data, form, max_row_bytes=self._limits.max_row_bytes, options=options):
            if isinstance(value, Problem):
                self._fail(line, value.field, value.reason)
                if value.fatal:
                    self._refuse()
            else:
                self.add(line, value)
        self.finish()
        data.seek(start)
        state = hashlib.sha256()
        while chunk := data.read(_HASH_CHUNK):
            state.update(chunk)
        self.source = Digest("sha256:" + state.hexdigest())
        self.form = form

    def add(self, number: int, value: object, key: str | None = None) -> None:
        """Check one row; its number is what errors call it. `key` is given where rows keep the keys that they had."""
        if not isinstance(value, Mapping):
            self._fail(number, "", f"a row is an object, not {_kind(value)}")
            return
        content = self._content(number, value)
        if content is None:
            return
        named = key if key is not None else self._named(number, value)
        if named is None or not self._fits(number, value):
            return
        if b'"$blob"' in content and not self._media(number, value, ""):
            return
        self.size += len(content)
        if self.scratch.rows >= self._limits.max_rows or self.size > self._limits.max_bytes:
            raise DatasetTooLarge(
                f"{self._where} has more than {self._limits.max_rows} rows or {self._limits.max_bytes} bytes",
                hint="divide it into several datasets",
            )
        digest = hashlib.sha256(content).digest()
        self._own_keys = self._own_keys or key is not None
        self.scratch.add(number, named or digest.hex(), digest, *self._packer.pack(content))
        self.shape.add(value)

    def keep_member(self, member: Member) -> None:
        """Take a row that the store has already; it was checked when it came."""
        self._own_keys = True
        self.scratch.add(0, member.key, member.digest)

    def remove(self, keys: Sequence[str]) -> int:
        """Take rows out, after all `keep_member`; a key that no row has is an error."""
        self.scratch.seal()
        for number, key in enumerate(keys, 1):
            if not self.scratch.remove(key):
                self._fail(number, "", f"no row has the key {key[:80]!r}")
        if keys:
            self.scratch.renumber()
        return len(keys)

    def upsert(self, number: int, value: object, key: str | None) -> bool:
        """Append a row, or put it in the place of the one with its key; tell whether none was replaced.

        Without a key and a field that names rows a row is named by its content, and the same content is one row.
        """
        self._own_keys = True
        if not isinstance(value, Mapping):
            self._fail(number, "", f"a row is an object, not {_kind(value)}")
            return True
        content = self._content(number, value)
        if content is None:
            return True
        digest = hashlib.sha256(content).digest()
        named = key if key is not None else self._named(number, value)
        if named is None:
            return True
        named = named or digest.hex()
        if not key_fits(named):
            self._fail(number, "", f"a row's name has 1 to {MAX_KEY_BYTES} bytes, and no NUL")
            return True
        if named in self._pushed:
            self._fail(number, "", f"{named!r} stands twice in one batch")
            return True
        self._pushed.add(named)
        there = self.scratch.find(named)
        if there is None:
            self.add(number, value, named)
            return True
        if there != digest and self._fits(number, value) and self._media(number, value, ""):
            self.scratch.replace(named, number, digest, *self._packer.pack(content))
        return there == digest

    def finish(self) -> None:
        """Sort the rows, and refuse if anything was wrong."""
        self.scratch.seal()
        if self.key is None and not self._own_keys:
            self.scratch.number_equals()
        else:
            for line, key, first in self.scratch.twice(self._limits.max_errors - len(self._errors)):
                self._fail(line, f"/{self.key}" if self.key else "", f"{key!r} already names the row of line {first}")
        if self._errors:
            self._refuse()

    def close(self) -> None:
        """Give the disk back; the rows cannot be kept after it."""
        self.scratch.close()

    def _refuse(self, *, more: bool = False) -> None:
        self.scratch.close()
        raise BadRows(sorted(self._errors, key=lambda error: error.line), more=more, where=self._where)

    def _content(self, number: int, value: Mapping[str, Any]) -> bytes | None:
        try:
            content = canonical_json(value)
        except NotCanonical as error:
            self._fail(number, "", error.message)
            return None
        if len(content) > self._limits.max_row_bytes:
            self._fail(number, "", f"longer than {self._limits.max_row_bytes} bytes")
            return None
        return content

    def _fits(self, number: int, value: Mapping[str, Any]) -> bool:
        if self._declared is None:
            return True
        fits = True
        for field, reason in misfits(self._declared, value):
            self._fail(number, field, reason)
            fits = False
        return fits

    def _named(self, number: int, row: Mapping[str, Any]) -> str | None:
        """Return the row's key, empty where its content names it, None where it has none."""
        if self.key is None:
            return ""
        field = f"/{self.key}"
        if self.key not in row:
            self._fail(number, field, "the field that names rows is missing")
            return None
        named = row[self.key]
        if not isinstance(named, str | int) or isinstance(named, bool):
            self._fail(number, field, f"a row is named by a text or a whole number, not {_kind(named)}")
            return None
        key = str(named)
        if not key_fits(key):
            self._fail(number, field, f"a row's name has 1 to {MAX_KEY_BYTES} bytes, and no NUL")
            return None
        return key

    def _media(self, number: int, value: object, path: str) -> bool:
        if isinstance(value, Mapping):
            if BLOB_KEY in value:
                digest = value[BLOB_KEY]
                if len(value) != 1 or not isinstance(digest, str) or not self._has(digest):
                    self._fail(
                        number, path, f"{{{BLOB_KEY!r}: …}} must name bytes that the project has, and nothing else"
                    )
                    return False
                self.media.add(Digest(digest))
                return True
            return all(self._media(number, inner, f"{path}/{name}") for name, inner in value.items())
        if isinstance(value, list):
            return all(self._media(number, inner, f"{path}/{index}") for index, inner in enumerate(value))
        return True

    def _has(self, digest: str) -> bool:
        if digest in self._good_media:
            return True
        if not _is_digest(digest) or not self._sees(Digest(digest)):
            return False
        if len(self._good_media) >= MAX_MEDIA:
            raise DatasetTooLarge(f"{self._where} refers to more than {MAX_MEDIA} media")
        self._good_media.add(digest)
        return True

    def _fail(self, number: int, field: str, reason: str) -> None:
        self._errors.append(RowError(number, field, reason))
        if len(self._errors) >= self._limits.max_errors:
            self._refuse(more=True)


def read_checked(
    limits: DatasetLimits,
    data: bytes | BinaryIO,
    sees: Callable[[Digest], bool],
    *,
    form: str,
    key: str | None,
    where: str,
    schema: Mapping[str, Any] | None = None,
    options: CsvForm | None = None,
) -> CheckedRows:
    """Check all rows of a file."""
    rows = CheckedRows(limits, key, where, sees, schema=schema)
    rows.read(io.BytesIO(data) if isinstance(data, bytes) else data, form, options)
    return rows


def check_all(rows: CheckedRows, values: Iterable[tuple[int, object, str | None]]) -> CheckedRows:
    """Check rows that come as (number, value, key)."""
    for number, value, key in values:
        rows.add(number, value, key)
    rows.finish()
    return rows


def key_fits(key: str) -> bool:
    """Tell whether a text can name a row."""
    try:
        return bool(key) and len(key.encode()) <= MAX_KEY_BYTES and "\x00" not in key
    except UnicodeEncodeError:
        return False


def _is_digest(text: str) -> bool:
    try:
        parse_digest(text)
    except InvalidInput:
        return False
    return True


def _kind(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a text"
    return "an array" if isinstance(value, Sequence) else "an object"
