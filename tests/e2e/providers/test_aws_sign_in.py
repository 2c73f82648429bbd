"""Gateways that call Bedrock by what `aws sso login` left: they renew it once for all, until it cannot be renewed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import openai
import pytest

from support.fake_cloud import CheckedBedrock, CheckedCloud, in_a_thread
from support.fake_metadata import moment
from support.gateway import KEY, GatewayProcess, make_table, prepare_home
from support.wait import wait_until
from tetrad.serving import ModelEntry, Upstream

CONFIG = (
    "[profile work]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = dev\nregion = eu-west-1\n"
    "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n"
)
NAME = hashlib.sha1(b"corp", usedforsecurity=False).hexdigest()


def ask(gateway: GatewayProcess) -> str:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        said = client.chat.completions.create(model="cloud/m1", messages=[{"role": "user", "content": "hi"}])
        return str(said.choices[0].message.content)


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    folder = tmp_path / "machine/.aws/sso/cache"
    folder.mkdir(parents=True)
    (tmp_path / "machine/.aws/config").write_text(CONFIG)
    return folder / f"{NAME}.json"


@pytest.fixture
def cloud() -> CheckedCloud:
    return CheckedCloud()


@pytest.fixture
def workers(
    cache: Path, cloud: CheckedCloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[list[GatewayProcess]]:
    """Lend two gateway workers of one user, not started yet."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    with in_a_thread(cloud) as server, CheckedBedrock(cloud=cloud) as bedrock:
        for name, value in (
            ("HOME", str(tmp_path / "machine")), ("AWS_PROFILE", "work"), ("AWS_REGION", "eu-west-1"),
            ("AWS_ENDPOINT_URL_SSO", server.url), ("AWS_ENDPOINT_URL_SSO_OIDC", server.url),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        upstream = Upstream("cloud", bedrock.base_url, adapter="bedrock", auth="aws-machine")
        table = make_table(server.url)
        both = []
        for name in ("a", "b"):
            home = tmp_path / name
            home.mkdir(mode=0o700)
            prepare_home(
                home,
                msgspec.structs.replace(
                    table,
                    upstreams={**table.upstreams, "cloud": upstream},
                    models={**table.models, "cloud/m1": ModelEntry("cloud/m1", "cloud", "m1")},
                ),
            )
            both.append(GatewayProcess(home))
        yield both
        for each in both:
            each.__exit__()


def sign_in(cache: Path, *, ends_s: float, registered_s: float = 86_400) -> None:
    now = time.time()
    said = {
        "startUrl": "https://corp.awsapps.com/start", "region": "eu-west-1", "accessToken": "sso-token",
        "expiresAt": moment(now + ends_s), "clientId": "client", "clientSecret": "client-secret",
        "registrationExpiresAt": moment(now + registered_s), "refreshToken": "refresh-0",
    }  # fmt: skip
    cache.write_text(json.dumps(said))


def test_two_workers_renew_a_sign_in_that_has_ended_once_and_both_are_let_in(
    workers: list[GatewayProcess], cache: Path, cloud: CheckedCloud
) -> None:
    sign_in(cache, ends_s=-60)
    for each in workers:
        each.start()
    with ThreadPoolExecutor(2) as both:
        assert list(both.map(ask, workers)) == ["Hello world."] * 2
    assert cloud.count("/token") == 1, "what renews is good for once"
    kept = json.loads(cache.read_text())
    assert kept["refreshToken"] == cloud.refresh
    assert kept["accessToken"].startswith("sso-token-")
    assert cache.stat().st_mode & 0o777 == 0o600
    assert [each.name for each in cache.parent.iterdir()] == [cache.name]


def test_a_registration_that_has_ended_is_told_with_the_command_and_its_return_is_seen(
    workers: list[GatewayProcess], cache: Path, cloud: CheckedCloud
) -> None:
    sign_in(cache, ends_s=-60, registered_s=-1)
    gateway = workers[0]
    gateway.start()
    with pytest.raises(openai.APIStatusError) as caught:
        ask(gateway)
    assert (caught.value.status_code, caught.value.code) == (503, "upstream_no_identity")
    assert "its registration has ended" in caught.value.response.text
    assert "aws sso login --profile work" in caught.value.response.text
    assert cloud.count("/token") == 0
    sign_in(cache, ends_s=28_800)  # somebody did
    wait_until(
        lambda: ask(gateway) == "Hello world.", timeout_s=60, retry_on=(openai.APIStatusError,), what="the new sign-in"
    )
