"""Handles to the column store: one that writes, a few that only read, each with limits."""

from __future__ import annotations

import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import msgspec

from tetrad.kernel import Overloaded, TetradError
from tetrad.kit.telemetry_db._errors import TelemetryUnavailable, translated

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_MIB = 1024 * 1024
_EMBEDDED = "chdb"
_decode = msgspec.json.Decoder().decode


@dataclass(frozen=True, slots=True)
class TelemetryLimits:
    """What queries and the embedded engine may take of the machine."""

    query_timeout_s: float = 20.0
    query_memory_mb: int = 512
    query_threads: int = 2
    readers: int = 2
    reader_wait_s: float = 10.0
    engine_memory_mb: int = 1024
    engine_caches_mb: int = 64


class TelemetryDb:
    """The column store of one process. Reads run on a few handles of their own and cannot write.

    All values reach SQL as server-side parameters, `{name:Type}`. Rows travel as JSON arrays, which both engines write
    and read faster than Python can build columns, and which needs neither numpy nor pandas in memory. Thread-safe.
    """

    def __init__(self, writer: Client, readers: Sequence[Client], limits: TelemetryLimits, *, embedded: bool) -> None:
        self.embedded = embedded
        self._writer = writer
        self._readers: queue.SimpleQueue[Client] = queue.SimpleQueue()
        self._all = [writer, *readers]
        for reader in readers:
            self._readers.put(reader)
        self._limits = limits
        self._write_lock = threading.Lock()
        self._closed = False

    def command(self, sql: str, parameters: Mapping[str, object] | None = None) -> None:
        """Run a statement that changes something."""
        with self._write_lock, _translating():
            self._check_open()
            self._writer.command(sql, parameters=dict(parameters or {}))

    def insert(self, table: str, columns: Sequence[str], rows: bytes, *, binary: bool = False) -> None:
        """Insert rows in one statement: JSON arrays one after another, or RowBinary. Durable when it returns."""
        with self._write_lock, _translating():
            self._check_open()
            self._writer.raw_insert(table, columns, rows, fmt="RowBinary" if binary else "JSONCompactEachRow")

    def select(self, sql: str, parameters: Mapping[str, object] | None = None) -> list[list[Any]]:
        """Return the rows of a query, each a list in the order of its columns."""
        answer = self._read(sql, parameters, "JSONCompactEachRow")
        return [_decode(line) for line in answer.split(b"\n") if line]

    def select_bytes(self, sql: str, parameters: Mapping[str, object] | None = None) -> bytes:
        """Return the one value of a query as it is stored, whatever bytes it holds."""
        return self._read(sql, parameters, "RawBLOB")

    def _read(self, sql: str, parameters: Mapping[str, object] | None, form: str) -> bytes:
        with self._reader() as reader, _translating():
            return bytes(reader.raw_query(sql, parameters=dict(parameters or {}), fmt=form))

    @contextmanager
    def _reader(self) -> Iterator[Client]:
        self._check_open()
        try:
            reader = self._readers.get(timeout=self._limits.reader_wait_s)
        except queue.Empty:
            raise Overloaded(
                f"all {self._limits.readers} query handles of the telemetry store are busy",
                hint="try again, or raise TETRAD_TELEMETRY_READERS",
                retry_after_s=2,
            ) from None
        try:
            yield reader
        finally:
            self._readers.put(reader)

    def close(self) -> None:
        """Finish what runs and let go of the store."""
        self._closed = True
        with self._write_lock:
            for client in self._all:
                client.close()

    def _check_open(self) -> None:
        if self._closed:
            raise TelemetryUnavailable("the telemetry store is closed", hint="the process is stopping; try again")


def open_telemetry(url: str, limits: TelemetryLimits | None = None) -> TelemetryDb:
    """Open `chdb:///folder`, or a ClickHouse server by `http(s)://user:password@host:port/database`.

    A process can open one embedded folder only, and one process only can open that folder. Raises
    `TelemetryUnavailable` where the store cannot be opened.
    """
    bounds = limits or TelemetryLimits()
    split = urlsplit(url)
    if split.scheme == _EMBEDDED:
        return _opened(lambda settings: _embedded(Path(unquote(split.path)), bounds, settings), bounds, embedded=True)
    if split.scheme in ("http", "https", "clickhouse", "clickhouses"):
        dsn = url.replace("clickhouses:", "https:", 1).replace("clickhouse:", "http:", 1)
        return _opened(lambda settings: _server(dsn, bounds, settings), bounds, embedded=False)
    raise TelemetryUnavailable(
        f"{split.scheme or 'no scheme'!r} is no way to open a telemetry store",
        hint="use chdb:///folder or http(s)://user:password@host:8123/database",
    )


def _opened(connect: Callable[[dict[str, object]], Client], limits: TelemetryLimits, *, embedded: bool) -> TelemetryDb:
    threads: dict[str, object] = {"max_threads": limits.query_threads}
    reading = {
        **threads,
        "max_execution_time": limits.query_timeout_s,
        "max_memory_usage": limits.query_memory_mb * _MIB,
        "max_bytes_before_external_group_by": limits.query_memory_mb * _MIB // 2,
        "max_bytes_before_external_sort": limits.query_memory_mb * _MIB // 2,
        "output_format_json_quote_64bit_integers": 0,
        "readonly": 2,
    }
    writing = {
        **threads,
        "max_insert_threads": 1,
        "max_partitions_per_insert_block": 0,
        "async_insert": 0,
        "date_time_input_format": "basic",
    }
    opened: list[Client] = []
    try:
        with _translating():
            opened.append(connect(writing))
            for _ in range(limits.readers):
                opened.append(connect(reading))  # noqa: PERF401 - what was opened is closed when a later one fails
    except BaseException:
        for client in opened:
            client.close()
        raise
    return TelemetryDb(opened[0], opened[1:], limits, embedded=embedded)


def _embedded(folder: Path, limits: TelemetryLimits, settings: dict[str, object]) -> Client:
    _import_chdb()
    from clickhouse_connect import get_client

    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise TelemetryUnavailable(
            f"the telemetry folder {str(folder)!r} cannot be written: {error.strerror}", hint="check its permissions"
        ) from None
    caches = limits.engine_caches_mb * _MIB
    options = {
        "max_server_memory_usage": limits.engine_memory_mb * _MIB,
        "mark_cache_size": caches // 4,
        "index_mark_cache_size": caches // 8,
        "primary_index_cache_size": caches // 4,
        "query_condition_cache_size": caches // 16,
        "compiled_expression_cache_size": caches // 16,
        "mmap_cache_size": 64,
        "max_thread_pool_size": 128,
        "max_io_thread_pool_size": 16,
        "background_pool_size": 2,
        "background_schedule_pool_size": 2,
    }
    client = get_client(interface=_EMBEDDED, path=str(folder), chdb_options=options)
    _apply(client, settings)
    return client


def _server(dsn: str, limits: TelemetryLimits, settings: dict[str, object]) -> Client:
    from clickhouse_connect import get_client

    client = get_client(dsn=dsn, send_receive_timeout=int(limits.query_timeout_s) + 30, autogenerate_session_id=False)
    _apply(client, settings)
    return client


def _apply(client: Client, settings: dict[str, object]) -> None:
    # `readonly` comes last: after it nothing else may be set
    for name, value in settings.items():
        client.set_client_setting(name, str(value))


def _import_chdb() -> None:
    """Import chDB without pyarrow, which it takes where it finds it: 40 MB of memory for calls that we never make."""
    if "chdb" in sys.modules or "pyarrow" in sys.modules:
        return
    sys.modules["pyarrow"] = None  # type: ignore[assignment]
    try:
        import chdb  # noqa: F401
    except ImportError as error:
        raise TelemetryUnavailable(
            f"the embedded telemetry store is not installed: {error}", hint="pip install chdb"
        ) from None
    finally:
        del sys.modules["pyarrow"]


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except TetradError:
        raise
    except Exception as error:
        raise translated(error) from error
