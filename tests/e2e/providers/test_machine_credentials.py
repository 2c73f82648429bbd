"""A real gateway that calls as its machine, while the machine's credential changes, ends, breaks and comes back.

The clouds check what they are shown: a signature by botocore's own reckoning, a statement by its public key, a token
by who gave it and until when.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import openai
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from support.fake_cloud import CheckedBedrock, CheckedCloud, CheckedVertex, Threaded, in_a_thread, why_not
from support.gateway import KEY, GatewayProcess, make_table, prepare_home
from support.wait import wait_until
from tetrad.serving import ModelEntry, Price, Upstream

LIFE_S = 17.0
"""So long a credential lives in these tests; the last fifteen seconds of it are not used."""
ROLE = "arn:aws:iam::1:role/gateway"
MODEL = "cloud/m1"
_numbers = itertools.count(1)


@dataclass
class World:
    """One kind of credential: how a good one is written, half of it, and where the cloud gives something for it."""

    cloud: CheckedCloud
    server: Threaded
    upstream: CheckedBedrock | CheckedVertex
    path: str
    file: Path
    fresh: Callable[[], tuple[str, str]]
    """Make a new credential that the cloud trusts from now on, and no older one: what proves it, and the file."""
    broken: str
    """What the gateway says of a file that is cut off."""

    def write(self, text: str) -> None:
        """Replace the file whole, as tools do."""
        new = self.file.with_name("new")
        new.write_text(text)
        new.replace(self.file)

    def held_until(self) -> float:
        """The moment up to which the credential that was shown last may be used."""
        last = self.upstream.used[-1]
        end = self.cloud.pairs[last][2] if last in self.cloud.pairs else self.cloud.tokens[last]
        return int(end) - 15.0

    def rotate(self) -> str:
        proof, text = self.fresh()
        self.write(text)
        return proof


def aws(cloud: CheckedCloud, server: Threaded, bedrock: CheckedBedrock, home: Path) -> tuple[World, dict[str, str]]:
    folder = home / ".aws"
    folder.mkdir()
    (folder / "config").write_text(f"[profile gateway]\nrole_arn = {ROLE}\nsource_profile = base\nregion = eu-west-1\n")

    def fresh() -> tuple[str, str]:
        key, secret = f"AKIA{next(_numbers)}", f"hush/{next(_numbers)}+="
        cloud.users.clear()
        cloud.users[key] = secret
        return key, f"[base]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"

    environ = {"AWS_PROFILE": "gateway", "AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_STS": f"{server.url}/sts"}
    return World(cloud, server, bedrock, "/sts", folder / "credentials", fresh, "no pair of keys"), environ


def google_account(
    cloud: CheckedCloud, server: Threaded, vertex: CheckedVertex, home: Path
) -> tuple[World, dict[str, str]]:
    def fresh() -> tuple[str, str]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = f"key-{next(_numbers)}"
        cloud.accounts.clear()
        cloud.accounts[name] = key.public_key()
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        said = {
            "type": "service_account", "client_email": "bot@p.iam.gserviceaccount.com", "private_key_id": name,
            "private_key": pem, "token_uri": f"{server.url}/google/oauth",
        }  # fmt: skip
        return name, json.dumps(said)

    file = home / "account.json"
    return World(cloud, server, vertex, "/google/oauth", file, fresh, "cannot be read"), {
        "GOOGLE_APPLICATION_CREDENTIALS": str(file)
    }


def google_federation(
    cloud: CheckedCloud, server: Threaded, vertex: CheckedVertex, home: Path
) -> tuple[World, dict[str, str]]:
    file, token = home / "federation.json", home / "token.json"
    source = {"file": str(token), "format": {"type": "json", "subject_token_field_name": "id_token"}}
    said = {
        "type": "external_account", "audience": "//iam/pool", "credential_source": source,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt", "token_url": f"{server.url}/google/exchange",
    }  # fmt: skip
    file.write_text(json.dumps(said))

    def fresh() -> tuple[str, str]:
        cloud.subjects.clear()
        cloud.subjects.add(name := f"hush-web-token-{next(_numbers)}")
        return name, json.dumps({"id_token": name})

    return World(cloud, server, vertex, "/google/exchange", token, fresh, "looks for a token is none"), {
        "GOOGLE_APPLICATION_CREDENTIALS": str(file)
    }


@pytest.fixture(scope="module", params=[aws, google_account, google_federation], ids=lambda make: make.__name__)
def running(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, GatewayProcess]]:
    home, machine = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("machine")
    cloud = CheckedCloud()
    cloud.life_s = LIFE_S
    fake: CheckedBedrock | CheckedVertex
    fake = CheckedBedrock(cloud=cloud) if request.param is aws else CheckedVertex(cloud=cloud)
    with in_a_thread(cloud) as server, fake, pytest.MonkeyPatch.context() as patched:
        world, environ = request.param(cloud, server, fake, machine)
        for name in [name for name in os.environ if name.startswith(("AWS_", "GOOGLE_", "GCE_"))]:
            patched.delenv(name)
        for name, value in {**environ, "HOME": str(machine)}.items():
            patched.setenv(name, value)
        if isinstance(fake, CheckedBedrock):
            upstream = Upstream("cloud", fake.base_url, adapter="bedrock", auth="aws-machine")
        else:
            upstream = Upstream("cloud", fake.vertex_url, adapter="gemini", auth="google-machine")
        table = make_table(server.url)
        prepare_home(
            home,
            msgspec.structs.replace(
                table,
                upstreams={**table.upstreams, "cloud": upstream},
                models={**table.models, MODEL: ModelEntry(MODEL, "cloud", "m1", price=Price("3", "15"))},
            ),
        )
        world.rotate()
        with GatewayProcess(home) as gateway:
            yield world, gateway


@pytest.fixture
def world(running: tuple[World, GatewayProcess]) -> Iterator[World]:
    """Lend the world with a good credential, and mend it at the end."""
    world = running[0]
    world.rotate()
    yield world
    world.cloud.lies.clear()
    world.cloud.switched_off = False
    world.cloud.life_s = LIFE_S
    world.rotate()


@pytest.fixture
def gateway(running: tuple[World, GatewayProcess]) -> GatewayProcess:
    return running[1]


@pytest.fixture
def client(gateway: GatewayProcess) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def ask(client: openai.OpenAI) -> str:
    said = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}])
    return str(said.choices[0].message.content)


def failure(client: openai.OpenAI) -> openai.APIStatusError | None:
    """Ask; return how it failed, None where it did not."""
    try:
        ask(client)
    except openai.APIStatusError as error:
        return error
    return None


def until_it_ends(world: World, client: openai.OpenAI) -> str:
    """Ask until what the gateway holds has ended, which no call may notice before; return what is said then."""
    found = wait_until(lambda: failure(client), timeout_s=60, what="a call without a credential")
    assert found is not None
    assert time.time() >= world.held_until(), "it failed while there was a credential that holds"
    return no_identity(found)


def until_it_answers(client: openai.OpenAI) -> None:
    wait_until(lambda: ask(client) == "Hello world.", timeout_s=60, retry_on=(openai.APIStatusError,), what="an answer")


def no_identity(error: openai.APIStatusError) -> str:
    """Return what a refusal says; it is one that clients may try again, and quotes nothing."""
    said = error.response.text
    assert (error.status_code, error.code) == (503, "upstream_no_identity"), said
    assert "the upstream 'cloud' cannot be called as this machine" in said
    assert "hush" not in said
    return said


def test_these_clouds_let_in_what_botocore_signs_and_nothing_else() -> None:
    given = {"AKIA": ("s", "t", time.time() + 60), "AKIB": ("s", "t", time.time() - 1)}
    rules = {"keys": given.get, "region": "eu-west-1", "service": "bedrock"}

    def told(key: str = "AKIA", secret: str = "s", target: str = "/model/a%3A1/converse", body: bytes = b"{}") -> str:
        request = AWSRequest("POST", "http://h/model/a%3A1/converse", data=b"{}")
        SigV4Auth(Credentials(key, secret, "t"), "bedrock", "eu-west-1").add_auth(request)
        headers = {"host": "h", **{name.lower(): value for name, value in request.headers.items()}}
        return why_not("POST", target, headers, body, **rules)  # type: ignore[arg-type]

    assert told() == ""
    assert told(key="AKIC") == "UnrecognizedClientException"
    assert told(key="AKIB") == "ExpiredTokenException"
    assert {told(secret="x"), told(target="/model/b/converse"), told(body=b"[]")} == {"SignatureDoesNotMatch"}


def test_calls_are_let_in_and_a_stream_too(world: World, client: openai.OpenAI) -> None:
    until_it_answers(client)
    before = len(world.upstream.refused)
    events = client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hi"}], stream=True)
    assert "".join(each.choices[0].delta.content or "" for each in events if each.choices) == "Hello world."
    assert len(world.upstream.refused) == before


def test_a_rotated_credential_is_taken_up_and_no_call_fails_meanwhile(world: World, client: openai.OpenAI) -> None:
    until_it_answers(client)
    refused, given = len(world.upstream.refused), set(world.upstream.used)
    proof = world.rotate()  # the one before is worth nothing from now on

    def taken_up() -> bool:
        assert ask(client) == "Hello world."
        return proof in world.cloud.proofs and world.upstream.used[-1] not in given

    wait_until(taken_up, timeout_s=60, what="a call by the new credential")
    assert len(world.upstream.refused) == refused, "what has ended is never shown"


@pytest.mark.parametrize("how", ["off", "garbage", "ended", "refused"])
def test_while_the_cloud_gives_nothing_calls_go_on_as_long_as_what_there_is_holds(
    world: World, client: openai.OpenAI, how: str
) -> None:
    until_it_answers(client)
    if how == "off":
        world.cloud.switched_off = True
    elif how == "ended":
        world.cloud.life_s = -60.0
    else:
        world.cloud.lies[world.path] = {
            "garbage": (200, b"<html>hush"), "refused": (403, b'{"error":"hush"}'),
        }[how]  # fmt: skip
    said = until_it_ends(world, client)
    expected = {
        "off": "gives no answer", "garbage": "cannot be read", "ended": "check the clock",
        "refused": "(403)",
    }[how]  # fmt: skip
    assert expected in said
    world.cloud.lies.clear()
    world.cloud.switched_off, world.cloud.life_s = False, LIFE_S
    until_it_answers(client)


def test_a_slow_cloud_holds_up_its_own_calls_only_and_not_for_ever(
    world: World, client: openai.OpenAI, gateway: GatewayProcess
) -> None:
    until_it_answers(client)
    release = world.server.hold(world.cloud)
    try:
        assert "gives no answer (upstream_timeout)" in until_it_ends(world, client)
        assert gateway.get("/v1/models", KEY)[0] == 200
    finally:
        release()
    until_it_answers(client)


def test_keys_that_do_not_fit_are_refused_by_the_provider_and_told_without_them(
    world: World, client: openai.OpenAI, gateway: GatewayProcess
) -> None:
    """The cloud gives something that the provider does not take, and the provider quotes it."""
    until_it_answers(client)
    real, world.cloud.pairs = world.cloud.pairs, {}
    tokens, world.cloud.tokens = world.cloud.tokens, {}
    try:
        error = wait_until(lambda: failure(client), timeout_s=60, what="a call that is refused")
    finally:
        world.cloud.pairs, world.cloud.tokens = {**real, **world.cloud.pairs}, {**tokens, **world.cloud.tokens}
    assert error is not None
    assert error.status_code == 502, error.response.text
    assert "what this machine's identity may do" in error.response.text
    shown = world.upstream.requests[-1].headers["authorization"]
    for secret in (shown, shown.split("=")[-1], shown.split(" ")[-1]):
        assert secret not in error.response.text + gateway.log()
    until_it_answers(client)


def test_a_file_that_is_half_written_takes_nothing_away_that_holds_and_is_told(
    world: World, client: openai.OpenAI, gateway: GatewayProcess
) -> None:
    until_it_answers(client)
    _, text = world.fresh()
    with world.file.open("w") as file:  # as a tool that writes in place, and is not done
        file.write(text[: len(text) // 2])
        file.flush()
        assert world.broken in until_it_ends(world, client)
        file.write(text[len(text) // 2 :])
    until_it_answers(client)
    assert "hush" not in gateway.log()


def test_a_file_that_is_gone_is_told_and_its_return_is_seen(world: World, client: openai.OpenAI) -> None:
    until_it_answers(client)
    world.file.unlink()
    said = until_it_ends(world, client)
    assert any(hint in said for hint in ("source_profile", "gateway's user may read"))
    world.rotate()
    until_it_answers(client)


def test_a_gateway_that_starts_without_its_cloud_is_ready_and_calls_work_once_it_is_there(
    world: World, gateway: GatewayProcess, client: openai.OpenAI
) -> None:
    world.cloud.switched_off = True
    gateway.stop()
    with contextlib.ExitStack() as after:
        after.callback(setattr, world.cloud, "switched_off", False)
        gateway.start()
        assert gateway.get("/readyz")[0] == 200
        found = wait_until(lambda: failure(client), timeout_s=60, what="a call without a credential")
        assert found is not None
        no_identity(found)  # it holds none yet, however long the last one's would have held
    until_it_answers(client)
