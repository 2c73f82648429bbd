"""Every blob store keeps the promises of the port; each also fails in its own clear ways."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.ports import free_port
from tetrad.adapters.blobs_s3 import S3Blobs, open_s3
from tetrad.kernel import InvalidInput, digest_bytes
from tetrad.kit.blobs import (
    BlobMismatch,
    BlobStoreFull,
    BlobStoreUnavailable,
    LocalBlobs,
    OpenBlobs,
    open_blobs,
)
from tetrad.kit.blobs.conformance import BlobStoreConformance


class TestLocalBlobs(BlobStoreConformance):
    @pytest.fixture
    def store(self, tmp_path: Path) -> LocalBlobs:
        return LocalBlobs(tmp_path / "blobs")

    def test_the_layout_is_the_documented_one(self, store: LocalBlobs, tmp_path: Path) -> None:
        digits = store.put_bytes(b"x").removeprefix("sha256:")
        path = tmp_path / "blobs" / "sha256" / digits[:2] / digits
        assert path.read_bytes() == b"x"
        assert path.stat().st_mode & 0o777 == 0o444
        assert list((tmp_path / "blobs" / "partial").iterdir()) == []

    def test_a_read_only_file_of_the_same_disk_is_not_copied(self, store: LocalBlobs, tmp_path: Path) -> None:
        source = tmp_path / "weights"
        source.write_bytes(b"w" * 5000)
        source.chmod(0o444)
        digest = store.put_file(source, link=True)
        assert store.path(digest).stat().st_ino == source.stat().st_ino

    def test_damaged_bytes_are_not_returned_and_are_mended_by_putting_them_again(self, store: LocalBlobs) -> None:
        digest = store.put_bytes(b"precious")
        path = store.path(digest)
        path.chmod(0o644)
        path.write_bytes(b"preciouS")
        with pytest.raises(BlobMismatch, match="damaged"):
            store.read(digest)
        store.put_bytes(b"precious")
        assert store.read(digest) == b"precious"

    def test_what_a_killed_writer_left_is_swept_but_not_what_is_being_written(self, tmp_path: Path) -> None:
        LocalBlobs(tmp_path)
        old, fresh = tmp_path / "partial" / "old", tmp_path / "partial" / "fresh"
        old.write_bytes(b"half")
        fresh.write_bytes(b"half")
        long_ago = time.time() - 3 * 24 * 3600
        os.utime(old, (long_ago, long_ago))
        LocalBlobs(tmp_path)
        assert not old.exists()
        assert fresh.exists()

    def test_a_killed_writer_leaves_no_half_blob(self, tmp_path: Path) -> None:
        program = (
            "import sys, io, os, pathlib\nfrom tetrad.kit.blobs import LocalBlobs\n"
            "class Stream(io.RawIOBase):\n    n = 0\n    def read(self, size=-1):\n        self.n += 1\n"
            "        if self.n == 3: os.kill(os.getpid(), 9)\n        return b'x' * 100000\n"
            "LocalBlobs(pathlib.Path(sys.argv[1])).put_stream(Stream())"
        )
        done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
        assert done.returncode == -9
        assert list(LocalBlobs(tmp_path).list()) == []

    def test_a_folder_that_may_not_be_written_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        with pytest.raises(BlobStoreFull, match="file"):
            LocalBlobs(tmp_path / "file" / "blobs")

    def test_a_full_disk_is_named_and_leaves_no_remains(self, tmp_path: Path) -> None:
        # A limit on the size of files is the nearest to a full disk that any user may set: the write fails half-way.
        program = (
            "import resource, signal, sys, io, pathlib\nfrom tetrad.kit.blobs import BlobStoreFull, LocalBlobs\n"
            "store = LocalBlobs(pathlib.Path(sys.argv[1]))\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))\n"
            "many = bytes(9_000_000)\n"
            "for put in (lambda: store.put_bytes(many), lambda: store.put_stream(io.BytesIO(many))):\n"
            "    try: put()\n    except BlobStoreFull as error: print(error.message, '|', error.hint)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
        )
        assert done.stdout.count(f"the disk of {tmp_path} is full | free some space") == 2
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Run a server that speaks S3, in a process of its own: it patches the AWS libraries of its process."""
    import httpx

    from support.wait import wait_until

    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        wait_until(
            lambda: httpx.get(f"{url}/moto-api/", trust_env=False).status_code,
            timeout_s=60,
            what="the S3 server to answer",
            retry_on=(httpx.TransportError,),
        )
        yield url
    finally:
        child.terminate()
        child.wait(20)


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Make an empty bucket and set credentials; return its name."""
    import httpx

    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    httpx.post(f"{s3_endpoint}/moto-api/reset", trust_env=False).raise_for_status()
    httpx.put(f"{s3_endpoint}/tetrad-test", trust_env=False).raise_for_status()
    return "tetrad-test"


class TestS3Blobs(BlobStoreConformance):
    @pytest.fixture
    def store(self, bucket: str, s3_endpoint: str) -> S3Blobs:
        return open_s3(f"s3://{bucket}/deep/er?endpoint={s3_endpoint}&region=eu-central-1")

    def test_two_prefixes_of_one_bucket_do_not_meet(self, store: S3Blobs, bucket: str, s3_endpoint: str) -> None:
        store.put_bytes(b"x")
        assert list(open_s3(f"s3://{bucket}/other?endpoint={s3_endpoint}").list()) == []
        assert list(open_s3(f"s3://{bucket}/deep?endpoint={s3_endpoint}").list()) == []

    def test_a_large_object_is_uploaded_in_parts(self, store: S3Blobs) -> None:
        data = os.urandom(1 << 20) * 20
        digest = store.put_stream(io.BytesIO(data))
        assert store.read(digest) == data
        assert store.read_range(digest, len(data) - 10, 100) == data[-10:]

    def test_a_damaged_object_is_not_returned(self, store: S3Blobs, bucket: str, s3_endpoint: str) -> None:
        import obstore
        from obstore.store import S3Store

        digest = store.put_bytes(b"precious")
        digits = digest.removeprefix("sha256:")
        config = {"endpoint": s3_endpoint, "region": "us-east-1"}
        raw = S3Store(bucket, config=config, client_options={"allow_http": True})
        obstore.put(raw, f"deep/er/sha256/{digits[:2]}/{digits}", b"preciouS")
        with pytest.raises(BlobMismatch, match="damaged"):
            store.read(digest)

    def test_an_absent_bucket_is_named(self, bucket: str, s3_endpoint: str) -> None:
        store = open_s3(f"s3://nowhere/x?endpoint={s3_endpoint}")
        with pytest.raises(BlobStoreUnavailable, match="s3://nowhere/x") as caught:
            store.put_bytes(b"x")
        assert caught.value.hint


def test_a_server_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    store = open_s3(f"s3://b/x?endpoint=http://127.0.0.1:{free_port()}")
    with pytest.raises(BlobStoreUnavailable, match="does not answer") as caught:
        store.exists(digest_bytes(b"x"))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("url", ["s3://", "s3:///x", "s3://b/x?endpont=http://x", "http://b/x"])
def test_a_malformed_s3_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidInput):
        open_s3(url)


def test_the_url_chooses_the_store(tmp_path: Path) -> None:
    default = tmp_path / "default"
    digest = open_blobs("", default=default).put_bytes(b"x")
    assert open_blobs(default.as_uri(), default=tmp_path / "other").exists(digest)
    assert open_blobs(str(default), default=tmp_path / "other").exists(digest)
    with pytest.raises(InvalidInput, match="'s3'"):
        open_blobs("s3://b/x", default=default)
    asked: list[str] = []

    def adapter(scheme: str) -> OpenBlobs:
        asked.append(scheme)
        return lambda _url: LocalBlobs(default)

    assert open_blobs("s3://b/x", default=default, adapter=adapter).exists(digest)
    assert asked == ["s3"]
