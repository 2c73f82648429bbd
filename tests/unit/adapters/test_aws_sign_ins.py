"""Sign-ins of AWS are renewed before they end, written back whole, and used up by nobody twice."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.fake_metadata import FakeMetadata, moment
from support.raw_server import RawServer
from support.wait import async_wait_until
from tetrad.adapters.providers import _aws_sso
from tetrad.adapters.providers._aws_identity import AwsChain
from tetrad.adapters.providers._identity import NoIdentity
from tetrad.kernel import FixedClock

Chain = Callable[..., AwsChain]
CONFIG = (
    "[profile p]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = dev\n"
    "[profile q]\nsso_session = corp\nsso_account_id = 2\nsso_role_name = ops\n"
    "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n"
)
LOGIN = "aws sso login --profile p"


class Cache:
    """The file that `aws sso login` leaves."""

    def __init__(self, home: Path, clock: FixedClock) -> None:
        self.folder = home / ".aws/sso/cache"
        self.folder.mkdir(parents=True)
        self.file = self.folder / f"{hashlib.sha1(b'corp', usedforsecurity=False).hexdigest()}.json"
        self._clock = clock

    def at(self, seconds: float) -> str:
        return moment(self._clock.now_ns() / 1e9 + seconds)

    def say(self, *, ends_s: float, registered_s: float = 86_400, **more: Any) -> None:
        said = {
            "startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1", "accessToken": "sso-token",
            "expiresAt": self.at(ends_s), "clientId": "client", "clientSecret": "client-secret",
            "registrationExpiresAt": self.at(registered_s), "refreshToken": "refresh-0", **more,
        }  # fmt: skip
        self.file.write_text(json.dumps({name: value for name, value in said.items() if value is not None}))

    def read(self) -> dict[str, Any]:
        return dict(json.loads(self.file.read_text()))


@pytest.fixture
def cache(home: Path, clock: FixedClock) -> Cache:
    return Cache(home, clock)


def shown_token(cloud: FakeMetadata) -> str:
    """Return the token that the portal was shown last."""
    return next(each[2]["x-amz-sso_bearer_token"] for each in reversed(cloud.asked) if each[1].startswith("/fed"))


async def test_a_sign_in_that_holds_for_long_is_left_alone(chain: Chain, cache: Cache, cloud: FakeMetadata) -> None:
    cache.say(ends_s=901)
    before = cache.file.read_bytes()
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert cloud.count("/token") == 0
    assert cache.file.read_bytes() == before


@pytest.mark.parametrize("ends_s", [899, 0, -80_000], ids=["soon", "now", "yesterday"])
async def test_a_sign_in_that_ends_is_renewed_and_written_back_as_the_tools_do(
    chain: Chain, cache: Cache, cloud: FakeMetadata, ends_s: float
) -> None:
    cache.say(ends_s=ends_s, ours="kept")
    cache.file.chmod(0o644)
    found, _ = await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert found.access_key_id == "ASIA2"
    assert shown_token(cloud) == "sso-token-1"
    assert cache.read() == {
        "startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1", "accessToken": "sso-token-1",
        "expiresAt": cache.at(3600), "clientId": "client", "clientSecret": "client-secret",
        "registrationExpiresAt": cache.at(86_400), "refreshToken": "refresh-1", "ours": "kept",
    }  # fmt: skip
    assert cache.file.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in cache.folder.iterdir()] == [cache.file.name], "nothing half-written is left"
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert cloud.count("/token") == 1, "what was renewed is used by the next one"


async def test_a_file_behind_a_link_is_renewed_where_it_is(
    chain: Chain, cache: Cache, home: Path, clock: FixedClock
) -> None:
    cache.say(ends_s=1)
    target = cache.file.rename(home / "elsewhere.json")
    cache.file.symlink_to(target)
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert cache.file.is_symlink()
    assert json.loads(target.read_text())["accessToken"] == "sso-token-1"


async def test_those_who_need_it_at_once_use_one_renewal(chain: Chain, cache: Cache, cloud: FakeMetadata) -> None:
    cache.say(ends_s=-1)
    chains = [chain(CONFIG, AWS_PROFILE=name) for name in ("p", "q", "p", "q")]  # upstreams, and workers
    await asyncio.gather(*(each.fetch() for each in chains))
    assert cloud.count("/token") == 1
    assert cache.read()["refreshToken"] == cloud.refresh


async def test_a_renewal_by_another_program_that_was_faster_is_used(
    chain: Chain, cache: Cache, cloud: FakeMetadata
) -> None:
    cache.say(ends_s=-1)
    cloud.held = asyncio.Event()
    fetch = asyncio.create_task(chain(CONFIG, AWS_PROFILE="p").fetch())
    await async_wait_until(lambda: cloud.count("/token") == 1)
    cloud.refresh = "refresh-of-the-cli"  # ours is used up
    cache.say(ends_s=3600, accessToken="sso-token-cli", refreshToken="refresh-of-the-cli")
    cloud.held.set()
    await fetch
    assert shown_token(cloud) == "sso-token-cli"
    assert cache.read()["refreshToken"] == "refresh-of-the-cli"


async def test_a_stopped_process_that_holds_the_lock_is_not_waited_for_for_ever(
    chain: Chain, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.say(ends_s=-1)
    monkeypatch.setattr(_aws_sso, "LOCK_S", 0.0)
    handle = os.open(cache.folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        await chain(CONFIG, AWS_PROFILE="p").fetch()
    finally:
        os.close(handle)
    assert cache.read()["accessToken"] == "sso-token-1"


@pytest.mark.parametrize(
    ("more", "what"),
    [
        ({"registered_s": -1}, "cannot be renewed: its registration has ended"),
        ({"registrationExpiresAt": "hush"}, "cannot be renewed: its registration has ended"),
        ({"refreshToken": "hush-used-up"}, r"has ended: it is not renewed \(400\)"),
        ({"clientSecret": "hush-wrong"}, r"has ended: it is not renewed \(400\)"),
        ({"refreshToken": None}, "has ended"),
        ({"clientId": None}, "has ended"),
        ({"registrationExpiresAt": None}, "has ended"),
        ({"expiresAt": "hush"}, "nobody is signed in"),
        ({"accessToken": "hush hush"}, "has ended"),
        ({"refreshToken": 7}, "nobody is signed in"),
    ],
)
async def test_a_sign_in_that_cannot_be_renewed_says_which_command_does_it(
    chain: Chain, cache: Cache, more: dict[str, Any], what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    cache.say(ends_s=-1, **more)
    before = cache.file.read_bytes()
    with pytest.raises(NoIdentity, match=what) as caught:
        await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert LOGIN in caught.value.hint
    assert "hush" not in caught.value.message + caught.value.hint + caplog.text
    assert cache.file.read_bytes() == before


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, b"hush"), (429, b"{}"), (200, b"<html>hush"), (200, b'{"accessToken":"hush hush","expiresIn":60}'),
        (200, b'{"accessToken":"hush","expiresIn":-1}'), (200, b'{"accessToken":"hush","expiresIn":1e300}'),
        (200, b'{"accessToken":"hush"}'), (200, b"x" * 70_000), (400, b'{"error":"invalid_grant"}'),
    ],
)  # fmt: skip
async def test_a_service_that_lies_or_fails_takes_nothing_away_that_holds(
    chain: Chain, cache: Cache, cloud: FakeMetadata, status: int, body: bytes
) -> None:
    cloud.lies["/token"] = status, body
    cache.say(ends_s=600)
    before = cache.file.read_bytes()
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert shown_token(cloud) == "sso-token"
    cache.say(ends_s=-1)
    with pytest.raises(NoIdentity) as caught:
        await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert caught.value.hint
    assert "hush" not in caught.value.message + caught.value.hint
    cache.say(ends_s=600)
    assert cache.file.read_bytes() == before
    del cloud.lies["/token"]
    cache.say(ends_s=-1)
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert shown_token(cloud).startswith("sso-token-"), "it is tried again"


async def test_the_service_is_asked_over_tls_where_the_session_is(chain: Chain, cache: Cache) -> None:
    cache.say(ends_s=-1)
    with pytest.raises(NoIdentity, match="AWS_ENDPOINT_URL_SSO_OIDC is no https"):
        await chain(CONFIG, AWS_PROFILE="p", AWS_ENDPOINT_URL_SSO_OIDC="http://oidc.example").fetch()
    with pytest.raises(NoIdentity, match="gives no answer"):
        await chain(CONFIG, AWS_PROFILE="p", AWS_ENDPOINT_URL_SSO_OIDC="http://127.0.0.1:1").fetch()


async def test_a_sign_in_that_cannot_be_written_back_goes_on_in_this_process_until_somebody_signs_in(
    chain: Chain, cache: Cache, cloud: FakeMetadata, clock: FixedClock, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_aws_sso, "_write", full)
    cache.say(ends_s=-1)
    before = cache.file.read_bytes()
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert cache.file.read_bytes() == before
    assert "cannot be written" in caplog.text
    assert "No space left" in caplog.text
    assert "refresh-" not in caplog.text
    await chain(CONFIG, AWS_PROFILE="q").fetch()
    assert (cloud.count("/token"), shown_token(cloud)) == (1, "sso-token-1"), "another upstream uses the same"
    clock.advance(3599)
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert cloud.count("/token") == 2, "it is renewed by what came with it, since the file's is used up"
    cache.say(ends_s=3600, accessToken="sso-token-new")
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert shown_token(cloud) == "sso-token-new"


async def test_an_answer_without_a_new_token_for_renewal_leaves_the_old_one(
    chain: Chain, cache: Cache, cloud: FakeMetadata
) -> None:
    cloud.lies["/token"] = 200, b'{"accessToken":"sso-token-x","expiresIn":60}'
    cache.say(ends_s=-1)
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    assert (cache.read()["accessToken"], cache.read()["refreshToken"]) == ("sso-token-x", "refresh-0")


async def test_botocore_reads_what_was_written(
    chain: Chain, cache: Cache, server: RawServer, monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    from botocore.tokens import SSOTokenProvider
    from botocore.utils import JSONFileCache, SSOTokenLoader

    assert SSOTokenProvider._REFRESH_WINDOW * 10**9 == _aws_sso.EARLY_NS
    cache.say(ends_s=-1)
    await chain(CONFIG, AWS_PROFILE="p").fetch()
    read = SSOTokenLoader(JSONFileCache(str(cache.folder)))("https://corp.awsapps.com/start", session_name="corp")
    assert read["accessToken"] == "sso-token-1"
