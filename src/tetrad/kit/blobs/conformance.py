# ruff: noqa: S101 - a suite of tests asserts
"""What every blob store promises, as tests that any adapter can run.

Subclass `BlobStoreConformance` in a test module and give it a `store` fixture that returns an empty store:

    class TestMyStore(BlobStoreConformance):
        @pytest.fixture
        def store(self): ...
"""

from __future__ import annotations

import hashlib
import io
import threading
import time
import tracemalloc
from pathlib import Path

from tetrad.kernel import Digest, InvalidInput, digest_bytes
from tetrad.kit.blobs._port import BlobMismatch, BlobNotFound, BlobStore

HELLO = b"hello, bytes"
OTHER = digest_bytes(b"something else")


class _Endless(io.RawIOBase):
    """A stream of `size` bytes that is never in memory as a whole."""

    def __init__(self, size: int) -> None:
        self._left = size
        self.whole = hashlib.sha256()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        chunk = b"\xa5" * min(self._left, size if size >= 0 else self._left)
        self._left -= len(chunk)
        self.whole.update(chunk)
        return chunk


class _Broken(io.RawIOBase):
    """A stream that yields once and then fails."""

    def __init__(self) -> None:
        self._first = True

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:  # noqa: ARG002 - the base class names it
        if self._first:
            self._first = False
            return b"beginning"
        raise ConnectionResetError("the other side went away")


def _raises(kind: type[Exception], call: object) -> Exception:
    try:
        call()  # type: ignore[operator]
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was not raised")


class BlobStoreConformance:
    """The suite; each method is one promise of `BlobStore`."""

    def test_bytes_come_back_under_their_digest(self, store: BlobStore) -> None:
        digest = store.put_bytes(HELLO)
        assert digest == digest_bytes(HELLO)
        assert store.read(digest) == HELLO
        assert store.exists(digest)
        assert store.size(digest) == store.stat(digest).size == len(HELLO)
        assert store.stat(digest).digest == digest

    def test_no_bytes_are_bytes_too(self, store: BlobStore) -> None:
        digest = store.put_bytes(b"")
        assert store.read(digest) == b""
        assert store.size(digest) == 0
        assert store.put_stream(io.BytesIO(b"")) == digest

    def test_putting_twice_is_putting_once(self, store: BlobStore) -> None:
        assert store.put_bytes(HELLO) == store.put_bytes(HELLO) == store.put_stream(io.BytesIO(HELLO))
        assert [stat.digest for stat in store.list()] == [digest_bytes(HELLO)]

    def test_what_is_absent_is_named(self, store: BlobStore) -> None:
        assert not store.exists(OTHER)
        for call in (
            lambda: store.read(OTHER),
            lambda: store.read_range(OTHER, 0, 1),
            lambda: store.open(OTHER),
            lambda: store.stat(OTHER),
            lambda: store.size(OTHER),
        ):
            assert OTHER in str(_raises(BlobNotFound, call))
        assert store.delete(OTHER) is False

    def test_other_bytes_than_expected_are_refused_and_not_kept(self, store: BlobStore, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(HELLO)
        for call in (
            lambda: store.put_bytes(HELLO, expected=OTHER),
            lambda: store.put_stream(io.BytesIO(HELLO), expected=OTHER),
            lambda: store.put_file(tmp_path / "file", expected=OTHER),
            lambda: store.put_file(tmp_path / "file", expected=OTHER, link=True),
        ):
            assert digest_bytes(HELLO) in str(_raises(BlobMismatch, call))
        assert list(store.list()) == []
        assert store.put_bytes(HELLO, expected=digest_bytes(HELLO)) == digest_bytes(HELLO)

    def test_a_file_is_kept_and_stays_where_it_is(self, store: BlobStore, tmp_path: Path) -> None:
        source = tmp_path / "weights.bin"
        source.write_bytes(HELLO * 1000)
        mode = source.stat().st_mode
        digest = store.put_file(source, link=True)
        assert store.read(digest) == HELLO * 1000
        assert source.read_bytes() == HELLO * 1000
        assert source.stat().st_mode == mode
        source.write_bytes(b"changed later")
        assert store.read(digest) == HELLO * 1000

    def test_a_read_only_file_may_be_linked(self, store: BlobStore, tmp_path: Path) -> None:
        source = tmp_path / "weights.bin"
        source.write_bytes(HELLO)
        source.chmod(0o444)
        digest = store.put_file(source, link=True)
        source.unlink()
        assert store.read(digest) == HELLO

    def test_a_file_that_cannot_be_read_is_named(self, store: BlobStore, tmp_path: Path) -> None:
        assert "absent" in str(_raises(InvalidInput, lambda: store.put_file(tmp_path / "absent")))

    def test_ranges_end_where_the_bytes_end(self, store: BlobStore) -> None:
        digest = store.put_bytes(bytes(range(100)))
        assert store.read_range(digest, 10, 5) == bytes(range(10, 15))
        assert store.read_range(digest, 95, 50) == bytes(range(95, 100))
        assert store.read_range(digest, 100, 5) == b""
        assert store.read_range(digest, 500, 5) == b""
        assert store.read_range(digest, 5, 0) == b""

    def test_an_open_blob_reads_and_seeks(self, store: BlobStore) -> None:
        digest = store.put_bytes(bytes(range(200)))
        with store.open(digest) as source:
            assert source.read(3) == b"\x00\x01\x02"
            source.seek(100)
            assert source.read(2) == b"\x64\x65"
            source.seek(0)
            assert source.read() == bytes(range(200))
            assert source.read() == b""

    def test_listing_is_by_prefix_and_in_order(self, store: BlobStore) -> None:
        digests = sorted(store.put_bytes(f"blob {number}".encode()) for number in range(40))
        assert [stat.digest for stat in store.list()] == digests
        assert all(stat.size == store.size(stat.digest) for stat in store.list())
        for length in (1, 2, 3, 64):
            start = digests[7].removeprefix("sha256:")[:length]
            expected = [digest for digest in digests if digest.startswith(f"sha256:{start}")]
            assert [stat.digest for stat in store.list(start)] == expected
        assert list(store.list("f" * 64)) == []

    def test_deleting_forgets(self, store: BlobStore) -> None:
        digest = store.put_bytes(HELLO)
        assert store.delete(digest) is True
        assert not store.exists(digest)
        assert store.delete(digest) is False
        assert store.put_bytes(HELLO) == digest

    def test_only_what_nobody_has_put_since_is_discarded(self, store: BlobStore) -> None:
        digest = store.put_bytes(HELLO)
        assert store.discard(digest, put_before=time.time() - 60) is False
        assert store.read(digest) == HELLO
        assert store.discard(digest, put_before=time.time() + 60) is True
        assert not store.exists(digest)
        assert store.discard(digest, put_before=time.time() + 60) is False
        assert store.tidy() == 0

    def test_what_is_no_digest_never_becomes_a_path(self, store: BlobStore) -> None:
        for bad in ("sha256:../../etc/passwd", "md5:" + "0" * 32, "sha256:" + "A" * 64, "", "sha256:" + "0" * 63):
            for call in (store.read, store.exists, store.delete, store.open, store.size):
                _raises(InvalidInput, lambda call=call, bad=bad: call(Digest(bad)))
        for prefix in ("..", "A", "0/1", "*", "0" * 65):
            _raises(InvalidInput, lambda prefix=prefix: list(store.list(prefix)))

    def test_a_source_that_breaks_leaves_nothing(self, store: BlobStore) -> None:
        try:
            store.put_stream(_Broken())  # type: ignore[arg-type]
        except Exception as error:  # noqa: BLE001
            # Which error it is belongs to the source; that nothing is kept belongs to the store.
            assert "went away" in f"{error} {error.__cause__}"  # noqa: PT017 - the suite does not need pytest
        else:
            raise AssertionError("a broken source was kept")
        assert list(store.list()) == []

    def test_many_writers_of_one_blob_agree(self, store: BlobStore) -> None:
        data = bytes(range(256)) * 4000
        found: list[object] = []

        def put() -> None:
            try:
                found.append(store.put_stream(io.BytesIO(data)))
            except Exception as error:  # noqa: BLE001 - shown by the assertion
                found.append(error)

        threads = [threading.Thread(target=put) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert found == [digest_bytes(data)] * 6
        assert store.read(digest_bytes(data)) == data

    def test_a_large_stream_passes_through_little_memory(self, store: BlobStore) -> None:
        size = 48 << 20
        source = _Endless(size)
        tracemalloc.start()
        try:
            digest = store.put_stream(source)  # type: ignore[arg-type]
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert digest == f"sha256:{source.whole.hexdigest()}"
        assert store.size(digest) == size
        assert peak < size // 2
        store.delete(digest)
