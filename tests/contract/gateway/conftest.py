"""One gateway and one fake upstream for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.fake_openai import FakeOpenAI
from support.gateway import GatewayProcess, make_table, prepare_home

MODELS = (
    "echo", "slow:0.02", "stall", "stallmid", "reset:0", "reset:2", "garbage", "html", "error:400", "error:401",
    "error:429", "error:500", "leak", "plain-error", "nodone", "split", "tools", "lingering", "endless", "torn",
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
