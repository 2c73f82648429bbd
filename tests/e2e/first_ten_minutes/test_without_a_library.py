"""A machine that lacks a library of the embedded engine: everything else works, and all say what to do."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from support.native_absent import without_openmp
from support.product import Product, running_product

WHAT, DO = "llama.cpp needs libgomp.so.9, which is not on this machine", "apt-get install libgomp1"


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Product]:
    folder = tmp_path_factory.mktemp("bare")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(without_openmp(folder)))
        with running_product(folder, fresh=True) as running:
            yield running


def test_the_start_says_what_is_missing_and_what_installs_it(product: Product) -> None:
    said = product.said()
    assert f"engine smollm2-135m is failed: {WHAT} (`{DO}`" in said
    assert "no model is served yet" in said, "nobody is sent to a model that cannot answer"


@pytest.mark.parametrize(
    "command", [("status",), ("engine", "list"), ("engine", "show", "smollm2-135m"), ("logs", "worker")], ids=" ".join
)
def test_each_command_that_tells_of_engines_says_it(product: Product, command: tuple[str, ...]) -> None:
    said = " ".join(product.cli(*command).stdout.split())
    assert WHAT in said
    assert DO in said


def test_a_call_is_refused_at_once_and_says_where_the_reason_is(product: Product) -> None:
    body = {"model": "local/smollm2-135m", "messages": [{"role": "user", "content": "Hi"}]}
    headers = {"authorization": f"Bearer {product.key}"}
    answer = httpx.post(f"{product.gateway_url}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (503, "upstream_not_ready")
    assert "is failed" in error["message"]
    assert "`tetrad status` says why" in answer.text
