"""Weights of a remote store become files here: checked, bounded, fetched once."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from tetrad.adapters.engines._weights_cache import WeightsCache
from tetrad.adapters.engines.bundled import ModelMissing, model_finder
from tetrad.kernel import Digest, TooLarge, digest_bytes
from tetrad.kit.blobs import BlobMismatch, BlobNotFound, LocalBlobs
from tetrad.kit.home import Home


class Remote(LocalBlobs):
    """A store that is elsewhere, and counts what is fetched."""

    fetched = 0

    def open(self, digest: Digest) -> BinaryIO:
        self.fetched += 1
        return super().open(digest)


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    return Remote(tmp_path / "remote")


def cache_of(folder: Path, remote: Remote, max_bytes: int = 300) -> WeightsCache:
    return WeightsCache(folder / "weights", lambda: remote, max_bytes)


def test_weights_are_fetched_once_and_whole(tmp_path: Path, remote: Remote) -> None:
    digest = remote.put_bytes(b"w" * 100)
    path = cache_of(tmp_path, remote).path(digest)
    assert path.read_bytes() == b"w" * 100
    assert cache_of(tmp_path, remote).path(digest) == path
    assert remote.fetched == 1


def test_other_bytes_than_the_digest_says_are_refused_and_leave_nothing(tmp_path: Path, remote: Remote) -> None:
    digest = remote.put_bytes(b"w" * 100)
    remote.path(digest).chmod(0o644)
    remote.path(digest).write_bytes(b"x" * 100)
    with pytest.raises(BlobMismatch):
        cache_of(tmp_path, remote).path(digest)
    assert [each for each in (tmp_path / "weights").rglob("*") if each.is_file()] == []


def test_the_folder_stays_within_its_bound_and_loses_what_was_used_longest_ago(tmp_path: Path, remote: Remote) -> None:
    cache = cache_of(tmp_path, remote)
    digests = [remote.put_bytes(bytes([number]) * 100) for number in range(4)]
    for age, digest in enumerate(digests[:3]):
        os.utime(cache.path(digest), (1000 + age, 1000 + age))
    os.utime(cache.path(digests[0]), (5000, 5000))
    cache.path(digests[3])
    assert {each.digest for each in LocalBlobs(tmp_path / "weights").list()} == {digests[0], digests[2], digests[3]}


def test_weights_beyond_the_bound_are_refused_before_they_are_fetched(tmp_path: Path, remote: Remote) -> None:
    digest = remote.put_bytes(b"w" * 301)
    with pytest.raises(TooLarge, match="301 bytes"):
        cache_of(tmp_path, remote).path(digest)
    assert remote.fetched == 0


def test_what_is_nowhere_is_missing(tmp_path: Path, remote: Remote) -> None:
    cache, nowhere = cache_of(tmp_path, remote), digest_bytes(b"nowhere")
    with pytest.raises(BlobNotFound):
        cache.path(nowhere)
    find = model_finder(Home(tmp_path / "home"), tmp_path / "cache", cache.path)
    with pytest.raises(ModelMissing):
        find(nowhere)
    digest = remote.put_bytes(b"there")
    assert find(digest).read_bytes() == b"there"
