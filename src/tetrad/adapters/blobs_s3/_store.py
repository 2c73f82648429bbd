"""A `BlobStore` on S3's protocol, through `obstore`."""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from tetrad.kernel import Digest, InvalidInput, MissingExtra, digest_bytes, parse_digest
from tetrad.kit.blobs import BlobMismatch, BlobNotFound, BlobStat, BlobStoreFull, BlobStoreUnavailable

if TYPE_CHECKING:
    from obstore.store import S3Store

CHUNK = 8 << 20
IN_MEMORY = 8 << 20
YOUNG_S = 3600.0
_OPTIONS = {"endpoint": "endpoint", "region": "region", "virtual_hosted": "virtual_hosted_style_request"}


def open_s3(url: str) -> S3Blobs:
    """Open `s3://bucket/prefix?endpoint=https://host&region=…&virtual_hosted=true`.

    Credentials are those that every AWS tool reads: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
    `AWS_SESSION_TOKEN`, a web identity, or the machine's role; `AWS_ENDPOINT_URL` and `AWS_REGION` stand in for absent
    options. Raises `MissingExtra` without obstore, `InvalidInput` for a malformed URL.
    """
    parts = urllib.parse.urlsplit(url)
    given = dict(urllib.parse.parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(given.keys() - _OPTIONS.keys())
    if parts.scheme != "s3" or not parts.hostname or unknown:
        raise InvalidInput(
            f"the blob store's URL has the unknown option {unknown[0]!r}"
            if unknown
            else "the blob store's URL is malformed",
            code="bad_settings",
            hint="s3://bucket/prefix?endpoint=https://host&region=eu-central-1",
        )
    return S3Blobs(parts.netloc, parts.path.strip("/"), {_OPTIONS[name]: value for name, value in given.items()})


class S3Blobs:
    """A `BlobStore` in one bucket below one prefix, laid out as in a folder."""

    def __init__(self, bucket: str, prefix: str = "", options: Mapping[str, str] | None = None) -> None:
        try:
            import obstore
            from obstore.store import S3Store
        except ImportError:
            raise MissingExtra("A blob store on S3", "s3") from None
        self._obstore: Any = obstore
        self._where = f"s3://{bucket}/{prefix}".rstrip("/")
        config: Any = {"region": "us-east-1", **_environment(), **(options or {})}
        insecure = str(config.get("endpoint", "")).startswith("http://")
        client: Any = {"allow_http": insecure, "timeout": timedelta(minutes=5)}
        retries: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=60)}
        self._store: S3Store = S3Store(
            bucket, prefix=prefix or None, config=config, client_options=client, retry_config=retries
        )

    def put_bytes(self, data: bytes, *, expected: Digest | None = None) -> Digest:
        digest = digest_bytes(data)
        _check_expected(digest, expected)
        if not self._young(digest):
            self._upload(digest, io.BytesIO(data))
        return digest

    def put_stream(self, source: BinaryIO, *, expected: Digest | None = None) -> Digest:
        # The name of an object is known only after its last byte: larger ones wait on the disk until then.
        import hashlib

        whole = hashlib.sha256()
        with _local_disk(), tempfile.SpooledTemporaryFile(max_size=IN_MEMORY) as kept:
            while chunk := source.read(1 << 20):
                whole.update(chunk)
                kept.write(chunk)
            digest = Digest(f"sha256:{whole.hexdigest()}")
            _check_expected(digest, expected)
            if not self._young(digest):
                kept.seek(0)
                self._upload(digest, kept)  # type: ignore[arg-type]
        return digest

    def put_file(self, path: Path, *, expected: Digest | None = None, link: bool = False) -> Digest:
        del link  # nothing is near enough to be linked
        try:
            source = path.open("rb")
        except OSError as error:
            raise InvalidInput(f"{str(path)!r} cannot be read: {error.strerror}", hint="check the path") from error
        with source:
            return self.put_stream(source, expected=expected)

    def read(self, digest: Digest) -> bytes:
        with self._answers(digest):
            data = bytes(self._obstore.get(self._store, _key(digest)).bytes())
        found = digest_bytes(data)
        if found != digest:
            raise BlobMismatch(
                f"{self._where}/{_key(digest)} is damaged: its bytes have the digest {found}, not {digest}",
                hint="delete the object and put the bytes again, or restore the last backup",
            )
        return data

    def read_range(self, digest: Digest, start: int, length: int) -> bytes:
        size = self.size(digest)
        if length <= 0 or start >= size:
            return b""
        with self._answers(digest):
            end = min(start + length, size)
            return bytes(self._obstore.get_range(self._store, _key(digest), start=start, end=end))

    def open(self, digest: Digest) -> BinaryIO:
        size = self.size(digest)
        return io.BufferedReader(_Ranges(self, digest, size), buffer_size=1 << 20)

    def stat(self, digest: Digest) -> BlobStat:
        return BlobStat(digest, self.size(digest))

    def size(self, digest: Digest) -> int:
        with self._answers(digest):
            return int(self._obstore.head(self._store, _key(digest))["size"])

    def exists(self, digest: Digest) -> bool:
        try:
            self.size(digest)
        except BlobNotFound:
            return False
        return True

    def delete(self, digest: Digest) -> bool:
        if not self.exists(digest):
            return False
        with self._answers(digest):
            self._obstore.delete(self._store, _key(digest))
        return True

    def discard(self, digest: Digest, *, put_before: float) -> bool:
        # An object store has no lock: a writer that uploads between the two requests can lose its upload.
        try:
            if self._put_at(digest) >= put_before:
                return False
        except BlobNotFound:
            return False
        with self._answers(digest):
            self._obstore.delete(self._store, _key(digest))
        return True

    def tidy(self) -> int:
        return 0  # unfinished uploads are the bucket's: a lifecycle rule ends them

    def _put_at(self, digest: Digest) -> float:
        with self._answers(digest):
            return float(self._obstore.head(self._store, _key(digest))["last_modified"].timestamp())

    def _young(self, digest: Digest) -> bool:
        """Tell whether an object is there that needs no new upload to count as put now."""
        try:
            return time.time() - self._put_at(digest) < YOUNG_S
        except BlobNotFound:
            return False

    def list(self, prefix: str = "") -> Iterator[BlobStat]:
        if prefix.strip("0123456789abcdef") or len(prefix) > 64:
            raise InvalidInput(f"{prefix[:80]!r} does not begin a digest", hint="give up to 64 lower-case hex digits")
        # Object stores match whole path segments, so the two-digit folder is asked for and the rest compared here.
        folders = [f"sha256/{prefix[:2]}/"] if len(prefix) >= 2 else ["sha256/"]
        with self._answers(None):
            for folder in folders:
                found = sorted(
                    (str(entry["path"]).rpartition("/")[2], int(entry["size"]))
                    for page in self._obstore.list(self._store, prefix=folder)
                    for entry in page
                )
                for digits, size in found:
                    if len(digits) == 64 and digits.startswith(prefix):
                        yield BlobStat(Digest(f"sha256:{digits}"), size)

    def _upload(self, digest: Digest, source: BinaryIO) -> None:
        # A multipart upload appears only when it is complete, so a killed writer leaves no half object.
        with self._answers(digest):
            self._obstore.put(self._store, _key(digest), source, chunk_size=CHUNK, max_concurrency=4)

    @contextlib.contextmanager
    def _answers(self, digest: Digest | None) -> Iterator[None]:
        errors = self._obstore.exceptions
        try:
            yield
        except (errors.NotFoundError, FileNotFoundError):
            if digest is not None and self._bucket_answers():
                raise BlobNotFound(digest) from None
            raise BlobStoreUnavailable(
                f"{self._where} does not exist", hint="make the bucket, or correct TETRAD_BLOBS_URL"
            ) from None
        except (errors.PermissionDeniedError, errors.UnauthenticatedError) as error:
            raise BlobStoreUnavailable(
                f"{self._where} refuses us: {_first_line(error)}",
                hint="check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the bucket's policy",
            ) from error
        except (errors.BaseError, ConnectionError, TimeoutError) as error:
            raise BlobStoreUnavailable(
                f"{self._where} does not answer: {_first_line(error)}",
                hint="check TETRAD_BLOBS_URL, its endpoint and region, and the network",
            ) from error

    def _bucket_answers(self) -> bool:
        """Tell an absent object from an absent bucket; S3 answers 404 to both."""
        try:
            next(iter(self._obstore.list(self._store, chunk_size=1)), None)
        except (self._obstore.exceptions.BaseError, OSError):
            return False
        return True


class _Ranges(io.RawIOBase):
    """Read an object piece by piece."""

    def __init__(self, store: S3Blobs, digest: Digest, size: int) -> None:
        self._store = store
        self._digest = digest
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        data = self._store.read_range(self._digest, self._at, len(buffer)) if self._at < self._size else b""
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextlib.contextmanager
def _local_disk() -> Iterator[None]:
    import errno

    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise BlobStoreFull(
            f"the disk of {tempfile.gettempdir()} is full", hint="free some space, or point TMPDIR elsewhere"
        ) from error


def _environment() -> dict[str, str]:
    import os

    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    return {name: value for name, value in (("endpoint", endpoint), ("region", region)) if value}


def _key(digest: Digest) -> str:
    digits = parse_digest(digest).removeprefix("sha256:")
    return f"sha256/{digits[:2]}/{digits}"


def _check_expected(found: Digest, expected: Digest | None) -> None:
    if expected is not None and found != parse_digest(expected):
        raise BlobMismatch(
            f"the bytes have the digest {found}, not {expected}",
            hint="the source is damaged or another version; nothing was kept",
        )


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0][:300]
