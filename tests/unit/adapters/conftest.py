"""A cloud that tells its machines who they are, and what asks it; its time is the test's."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from support.fake_metadata import FakeMetadata
from support.raw_server import RawServer, raw_server
from tetrad.adapters.providers._aws_identity import AwsChain
from tetrad.kernel import FixedClock
from tetrad.kit.upstream import Client

Chain = Callable[..., AwsChain]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock()


@pytest.fixture
def cloud(clock: FixedClock) -> FakeMetadata:
    return FakeMetadata(lambda: clock.now_ns() / 1e9)


@pytest.fixture
async def server(cloud: FakeMetadata) -> AsyncIterator[RawServer]:
    async with raw_server(cloud) as found:
        yield found


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = Client(bounded=True)  # as a gateway's
    yield client
    await client.close()


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("web-token\n")
    return file


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".aws").mkdir()
    return tmp_path


@pytest.fixture
def chain(home: Path, server: RawServer, clock: FixedClock, client: Client) -> Chain:
    def make(config: str = "", credentials: str = "", *, profile: str = "", **said: str) -> AwsChain:
        (home / ".aws/config").write_text(config)
        (home / ".aws/credentials").write_text(credentials)
        environ = {
            "HOME": str(home), "AWS_ENDPOINT_URL_STS": f"{server.url}/sts", "AWS_ENDPOINT_URL_SSO": server.url,
            "AWS_ENDPOINT_URL_SSO_OIDC": server.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": server.url, **said,
        }  # fmt: skip
        return AwsChain(client, "eu-west-1", environ, clock=clock, profile=profile)

    return make
