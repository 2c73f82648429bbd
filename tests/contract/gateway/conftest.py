"""One gateway and one fake upstream for the tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import msgspec
import pytest

from support.fake_anthropic import FakeAnthropic
from support.fake_openai import FakeOpenAI
from support.gateway import RELEASE, SECRET, GatewayProcess, make_table, prepare_home
from support.mcp_proxy import Proxy
from tetrad.serving import AppRoute, BindingRoute, ModelEntry, Price, RouteTable, ToolServerRoute, Upstream

MODELS = (
    "echo", "slow:0.02", "stall", "stallmid", "reset:0", "reset:2", "garbage", "html", "error:400", "error:401",
    "error:429", "error:500", "leak", "plain-error", "nodone", "split", "tools", "lingering", "endless", "torn",
    "agent:aloud",
)  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture(scope="module")
def gateway(upstream: FakeOpenAI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    home = tmp_path_factory.mktemp("home")
    prepare_home(
        home,
        make_table(
            upstream.base_url, models=MODELS, first_byte_timeout_s=1.0, idle_timeout_s=1.0, total_timeout_s=30.0
        ),
    )
    with GatewayProcess(home) as gateway:
        yield gateway


CLAUDES = (
    "m1", "split", "tools", "thinking", "thinking:one", "refusal", "overloaded", "lingering", "nodone", "reset:2",
    "error:400", "error:401", "error:429", "error:529", "html", "leak", "stall", "agent", "agent:2",
)  # fmt: skip


def with_claude(table: RouteTable, base_url: str) -> RouteTable:
    """Add an upstream that speaks Anthropic's protocol, its models as `claude/<name>`, and apps of two of them."""
    price = Price("3", "15", cache_read="0.3", cache_write="3.75", cache_write_1h="6")
    entries = {
        (public := "claude/" + name.replace(":", "-")): ModelEntry(public, "an", name, price=price) for name in CLAUDES
    }
    upstream = Upstream(
        "an", base_url, adapter="anthropic", provider="anthropic", secret=SECRET, first_byte_timeout_s=1.0,
        idle_timeout_s=1.0,
    )  # fmt: skip
    releases, apps = {}, {}
    for app, model, digit in (("claude", "claude/m1", "7"), ("claude-agent", "claude/agent", "6")):
        digest = "sha256:" + digit * 64
        releases[digest] = msgspec.structs.replace(
            table.releases[RELEASE], digest=digest, app=app, model=model, fixed=("temperature",)
        )
        apps[f"default/{app}"] = AppRoute("default", app, {"production": digest})
    return msgspec.structs.replace(
        table,
        upstreams={**table.upstreams, "an": upstream},
        models={**table.models, **entries},
        apps={**table.apps, **apps},
        releases={**table.releases, **releases},
    )


@pytest.fixture(scope="module")
def claude() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as fake:
        yield fake


@pytest.fixture(scope="module")
def both(
    upstream: FakeOpenAI, claude: FakeAnthropic, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """A gateway with an upstream of each protocol."""
    home = tmp_path_factory.mktemp("home")
    table = make_table(
        upstream.base_url, models=MODELS, first_byte_timeout_s=1.0, idle_timeout_s=1.0, total_timeout_s=30.0
    )
    prepare_home(home, with_claude(table, claude.base_url))
    with GatewayProcess(home) as gateway:
        yield gateway


@pytest.fixture
async def proxies() -> AsyncIterator[Callable[..., Proxy]]:
    """Return what makes proxies, whose connections are closed afterwards."""
    made: list[Proxy] = []

    def make(*routes: ToolServerRoute, binding: BindingRoute | None = None) -> Proxy:
        made.append(Proxy(*routes, binding=binding))
        return made[-1]

    yield make
    for each in made:
        await each.client.close()
