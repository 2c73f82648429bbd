"""Profiles of `~/.aws`: keys, roles behind each other, programs and sign-ins; failures say why and quote nothing."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from support.fake_metadata import FakeMetadata, moment
from support.raw_server import RawServer
from support.wait import async_wait_until
from tetrad.adapters.providers import _aws_profile
from tetrad.adapters.providers._aws import AwsCredential
from tetrad.adapters.providers._aws_files import MAX_FILE, parse
from tetrad.adapters.providers._aws_identity import AwsChain
from tetrad.adapters.providers._identity import Kept, NoIdentity
from tetrad.kernel import FixedClock

ROLE = "arn:aws:iam::1:role/r"
Q = "[profile q]\naws_access_key_id=A\naws_secret_access_key=B"
KEYS = "aws_access_key_id = AKIA\naws_secret_access_key = hush/1+=\n"
Chain = Callable[..., AwsChain]


async def test_keys_of_the_default_profile_come_before_the_instance(
    chain: Chain, cloud: FakeMetadata, clock: FixedClock
) -> None:
    found, end_ns = await chain(credentials=f"[default]\n{KEYS}").fetch()
    assert found == AwsCredential("AKIA", "hush/1+=", "")
    assert end_ns == clock.now_ns() + 900 * 10**9, "tools write new keys into the file, so that it is read again"
    assert cloud.asked == []


async def test_a_default_profile_with_nothing_but_a_region_leaves_the_machine_its_own(chain: Chain) -> None:
    found, _ = await chain("[default]\nregion = eu-west-1\ns3 =\n  max_concurrent_requests = 20\n").fetch()
    assert found.access_key_id == "ASIA1"


async def test_a_profile_that_is_named_is_used_or_an_error_and_never_somebody_else(
    chain: Chain, cloud: FakeMetadata
) -> None:
    files = f"[default]\n{KEYS}[work]\naws_access_key_id=AKIB\naws_secret_access_key=w\naws_session_token=t\n"
    assert (await chain("", files, AWS_PROFILE="work").fetch())[0] == AwsCredential("AKIB", "w", "t")
    with pytest.raises(NoIdentity, match="no AWS profile 'wrok'") as caught:
        await chain("", files, AWS_PROFILE="wrok").fetch()
    assert "AWS_PROFILE" in caught.value.hint
    with pytest.raises(NoIdentity, match="'empty' has no credential"):
        await chain("[profile empty]\nregion=eu-west-1\n", files, AWS_PROFILE="empty").fetch()
    with pytest.raises(NoIdentity, match="no pair of keys"):
        await chain("", "[work]\naws_access_key_id=AKIB\n", AWS_PROFILE="work").fetch()
    assert cloud.asked == []


async def test_the_environment_comes_before_a_profile_and_a_profile_of_the_provider_before_all(chain: Chain) -> None:
    said = {"AWS_ACCESS_KEY_ID": "AKIE", "AWS_SECRET_ACCESS_KEY": "e", "AWS_PROFILE": "nowhere"}
    assert (await chain("", f"[work]\n{KEYS}", **said).fetch())[0].access_key_id == "AKIE"
    assert (await chain("", f"[work]\n{KEYS}", profile="work", **said).fetch())[0].access_key_id == "AKIA"


async def test_a_role_is_assumed_by_the_source_of_its_profile_in_a_call_that_is_signed(
    chain: Chain, cloud: FakeMetadata, server: RawServer
) -> None:
    config = (
        f"[profile app]\nrole_arn = {ROLE}\nsource_profile = base\nexternal_id = ext 1\nduration_seconds = 1800\n"
        "role_session_name = gateway\nregion = eu-central-1\n"
    )
    found, _ = await chain(config, f"[base]\n{KEYS}", AWS_PROFILE="app").fetch()
    assert found == AwsCredential("ASIA1", "secret/1+=", "session/1+=")
    method, path, headers, form = cloud.asked[0]
    assert form["RoleArn"] == [ROLE]
    assert (form["ExternalId"], form["DurationSeconds"], form["RoleSessionName"]) == (["ext 1"], ["1800"], ["gateway"])
    sent = {name: headers[name] for name in ("host", "content-type")}
    request = AWSRequest(method, f"{server.url}{path}", headers=sent, data=cloud.bodies[0])
    signer = SigV4Auth(Credentials("AKIA", "hush/1+="), "sts", "eu-central-1")
    request.context["timestamp"] = headers["x-amz-date"]
    request.headers["X-Amz-Date"] = headers["x-amz-date"]
    signature = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    assert headers["authorization"].endswith(f"Signature={signature}")


async def test_roles_stand_behind_each_other_and_a_profile_may_be_its_own_source(
    chain: Chain, cloud: FakeMetadata
) -> None:
    config = (
        f"[profile a]\nrole_arn={ROLE}a\nsource_profile=b\n[profile b]\nrole_arn={ROLE}b\nsource_profile=b\n"
        f"[profile c]\nrole_arn={ROLE}c\ncredential_source=Ec2InstanceMetadata\n"
    )
    assert (await chain(config, f"[b]\n{KEYS}", AWS_PROFILE="a").fetch())[0].access_key_id == "ASIA2"
    assert [each[3]["RoleArn"][0][-1] for each in cloud.asked] == ["b", "a"]
    assert "Credential=ASIA1/" in cloud.asked[1][2]["authorization"]
    assert (await chain(config, AWS_PROFILE="c").fetch())[0].access_key_id == "ASIA4"


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ("role_arn=r\nsource_profile=q\n[profile q]\nrole_arn=r\nsource_profile=p", "behind itself"),
        ("role_arn=r\nsource_profile=p", "no pair of keys"),
        ("role_arn=r\nsource_profile=q", "no AWS profile 'q'"),
        ("role_arn=r\nsource_profile=q\n[profile q]\nregion=x", "'q' has no credential"),
        ("role_arn=r", "by whose credential"),
        ("role_arn=r\nsource_profile=q\ncredential_source=Environment", "by whose credential"),
        ("role_arn=r\ncredential_source=Moon", "is none"),
        ("role_arn=r\ncredential_source=Environment", "are no pair"),
        ("role_arn=r\ncredential_source=EcsContainer", "no container"),
        ("role_arn=r\nsource_profile=q\nmfa_serial=arn:aws:iam::1:mfa/me", "asks a person"),
        ("role_arn=r\nsource_profile=q\nduration_seconds=1e9\n" + Q,
         "duration_seconds"),
        ("role_arn=r\nsource_profile=q\nrole_session_name=a b\n" + Q,
         "name of a session"),
        ("role_arn=closed\nsource_profile=q\n" + Q,
         "AWS STS gives no credential \\(403\\)"),
        ("sso_session=s\nsso_account_id=1\nsso_role_name=r", "all of its sign-in"),
        ("credential_process=\"unclosed", "is no command"),
        ("credential_process=/nonexistent/program", "cannot be started"),
    ],
)  # fmt: skip
async def test_a_profile_that_cannot_be_used_says_why_and_what_to_do(chain: Chain, config: str, what: str) -> None:
    with pytest.raises(NoIdentity, match=what) as caught:
        await chain(f"[profile p]\n{config}\n", AWS_PROFILE="p").fetch()
    assert caught.value.hint


async def test_a_long_row_of_roles_ends(chain: Chain, cloud: FakeMetadata) -> None:
    row = "".join(f"[profile p{i}]\nrole_arn=r\nsource_profile=p{i + 1}\n" for i in range(20))
    with pytest.raises(NoIdentity, match="more than 8 others"):
        await chain(row, AWS_PROFILE="p0").fetch()
    assert cloud.asked == []


def program(home: Path, body: str) -> str:
    file = home / "program.py"
    file.write_text(f"import json, os, subprocess, sys, time\n{body}\n")
    return f"[profile p]\ncredential_process = {sys.executable} '{file}' --account 'a # b'\n"


PRINTS = "print(json.dumps({'Version': 1, 'AccessKeyId': 'AKIP', 'SecretAccessKey': 's', 'SessionToken': 't'%s}))"


async def test_a_program_is_asked_without_a_shell_and_without_our_settings(
    chain: Chain, home: Path, clock: FixedClock
) -> None:
    body = (
        "assert sys.argv[1:] == ['--account', 'a # b'] and sys.stdin.read() == ''\n"
        "assert 'TETRAD_SEAL_KEY' not in os.environ and os.environ['MINE'] == '1'\n"
    )
    end = moment(clock.now_ns() / 1e9 + 3600)
    config = program(home, body + PRINTS % f", 'Expiration': '{end}'")
    said = {"AWS_PROFILE": "p", "TETRAD_SEAL_KEY": "x", "MINE": "1"}
    assert await chain(config, **said).fetch() == (AwsCredential("AKIP", "s", "t"), clock.now_ns() + 3600 * 10**9)
    config = program(home, body + PRINTS % "")
    assert await chain(config, **said).fetch() == (AwsCredential("AKIP", "s", "t"), clock.now_ns() + 900 * 10**9)


@pytest.mark.parametrize(
    ("body", "what"),
    [
        ("print('hush'); sys.stderr.write('hush'); sys.exit(3)", "ended with 3"),
        ("print('hush')", "cannot be read"),
        ("print('hush' * 100_000)", "cannot be read"),
        ("print(json.dumps({'Version': 2, 'AccessKeyId': 'hush', 'SecretAccessKey': 's'}))", "cannot be read"),
        ("print(json.dumps({'Version': 1, 'AccessKeyId': 'hush', 'SecretAccessKey': ''}))", "no pair of keys"),
        (PRINTS % ", 'Expiration': 'hush'", "cannot be read"),
    ],
)
async def test_a_program_that_fails_is_an_error_that_quotes_nothing(
    chain: Chain, home: Path, body: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(NoIdentity, match=what) as caught:
        await chain(program(home, body), AWS_PROFILE="p").fetch()
    assert "hush" not in caught.value.message + caught.value.hint + caplog.text


async def test_a_program_that_never_ends_is_ended_with_all_that_it_started(
    chain: Chain, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_aws_profile, "PROGRAM_S", 0.0)
    pids = home / "pids"
    body = (
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r} + '.new', 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        f"os.rename({str(pids)!r} + '.new', {str(pids)!r}); time.sleep(600)"
    )
    config = program(home, body)
    with pytest.raises(NoIdentity, match="takes longer than"):
        await chain(config, AWS_PROFILE="p").fetch()
    monkeypatch.setattr(_aws_profile, "PROGRAM_S", 600.0)
    fetch = asyncio.create_task(chain(config, AWS_PROFILE="p").fetch())
    await async_wait_until(pids.exists)
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetch

    def gone() -> bool:
        return not any(_lives(int(pid)) for pid in pids.read_text().split())

    await async_wait_until(gone)


def _lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


SIGN_IN = (
    "[profile p]\nsso_session = corp\nsso_account_id = 1\nsso_role_name = dev\n"
    "[sso-session corp]\nsso_region = eu-west-1\nsso_start_url = https://corp.awsapps.com/start\n"
)
LEGACY = (
    "[profile p]\nsso_account_id = 1\nsso_role_name = dev\nsso_region = eu-west-1\n"
    "sso_start_url = https://corp.awsapps.com/start\n"
)


@pytest.mark.parametrize(("config", "of"), [(SIGN_IN, "corp"), (LEGACY, "https://corp.awsapps.com/start")])
async def test_a_sign_in_that_holds_is_used_and_one_that_ended_says_how_to_renew_it(
    chain: Chain, home: Path, cloud: FakeMetadata, clock: FixedClock, config: str, of: str
) -> None:
    with pytest.raises(NoIdentity, match="nobody is signed in") as caught:
        await chain(config, AWS_PROFILE="p").fetch()
    assert "aws sso login --profile p" in caught.value.hint
    cache = home / ".aws/sso/cache"
    cache.mkdir(parents=True)
    file = cache / f"{hashlib.sha1(of.encode(), usedforsecurity=False).hexdigest()}.json"
    now = clock.now_ns() / 1e9
    file.write_text(json.dumps({"accessToken": "sso-token", "expiresAt": moment(now + 600)}))
    found, end_ns = await chain(config, AWS_PROFILE="p").fetch()
    assert found == AwsCredential("ASIA1", "secret/1+=", "session/1+=")
    assert end_ns == clock.now_ns() + 3600 * 10**9
    assert cloud.asked[0][3] == {"role_name": ["dev"], "account_id": ["1"]}
    cloud.lies["/federation/credentials"] = 200, b'{"roleCredentials":{"accessKeyId":"hush"}}'
    with pytest.raises(NoIdentity, match="cannot be read"):
        await chain(config, AWS_PROFILE="p").fetch()
    del cloud.lies["/federation/credentials"]
    file.write_text(json.dumps({"accessToken": "old-token", "expiresAt": moment(now + 600)}))
    with pytest.raises(NoIdentity, match="\\(401\\)") as caught:
        await chain(config, AWS_PROFILE="p").fetch()
    assert "old-token" not in caught.value.message
    file.write_text(json.dumps({"accessToken": "sso-token", "expiresAt": moment(now - 1)}))
    with pytest.raises(NoIdentity, match="has ended") as caught:
        await chain(config, AWS_PROFILE="p").fetch()
    assert "aws sso login --profile p" in caught.value.hint


async def test_files_may_be_elsewhere_and_a_source_that_fails_takes_nothing_away_that_holds(
    chain: Chain, home: Path, clock: FixedClock
) -> None:
    other = home / "other"
    other.write_text(f"[default]\n{KEYS}")
    kept = Kept(chain(AWS_SHARED_CREDENTIALS_FILE="~/other").fetch, clock, "the upstream 'up'")
    assert (await kept.get()).access_key_id == "AKIA"
    other.write_text("[default]\nhush\n")
    clock.advance(700)
    assert (await kept.get()).access_key_id == "AKIA"
    await async_wait_until(lambda: kept._failed is not None)
    clock.advance(200)
    with pytest.raises(NoIdentity, match=r"line 2 of the file that AWS_SHARED_CREDENTIALS_FILE names") as caught:
        await kept.get()
    assert "hush" not in caught.value.message


async def test_hostile_files_are_refused_and_hold_nobody_up(chain: Chain, home: Path) -> None:
    found = chain("", "", AWS_PROFILE="p")
    file = home / ".aws/credentials"
    file.unlink()
    os.mkfifo(file)
    for say in (None, b"\xff\xfe", b"[p]\n" + b"#" * MAX_FILE, b"[p\n", b"x = 1\n"):
        if say is not None:
            file.unlink()
            file.write_bytes(say)
        with pytest.raises(NoIdentity, match=r"~/\.aws/credentials"):
            await found.fetch()


async def test_a_home_that_is_not_to_be_looked_into_is_somebody_elses(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tetrad.adapters.providers import _aws_files

    def closed(path: Path, most: int) -> bytes:
        raise PermissionError

    found, named = chain(), chain(AWS_PROFILE="p")
    monkeypatch.setattr(_aws_files, "read_bounded", closed)
    assert (await found.fetch())[0].access_key_id == "ASIA1"
    with pytest.raises(NoIdentity, match=r"~/\.aws/config cannot be read"):
        await named.fetch()


def test_the_format_is_that_of_the_tools() -> None:
    text = (
        '# a comment\n[default]\nregion = a\n[profile default]\nregion = b ; said\n[ profile "my own" ] # said\n'
        "Role_Arn = r#1\ncredential_process = run # it\n[services x]\nlist = 1\n[bare]\n"
        "region = c\n[sso-session s]\na=b=c\n"
    )
    assert parse(text, "it", prefixed=True) == [
        ("", "default", {"region": "a"}),
        ("sso-session", "s", {"a": "b=c"}),
        ("profile", "default", {"region": "b"}),
        ("profile", "my own", {"role_arn": "r#1", "credential_process": "run # it"}),
    ]


@given(st.text(max_size=400), st.booleans())
def test_any_text_is_read_or_refused(text: str, prefixed: bool) -> None:
    try:
        found = parse(text, "it", prefixed=prefixed)
    except NoIdentity:
        return
    assert all(name and isinstance(values, dict) for _, name, values in found)
