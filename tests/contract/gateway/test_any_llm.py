"""Gateways whose route table names any-llm: with the package (a stand-in), and without it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from support.fake_openai import FakeOpenAI
from support.gateway import SECRET, GatewayProcess, make_table, prepare_home

STAND_IN = """
import sys
from support.fake_any_llm import FakeAnyLLM
sys.modules[__name__] = FakeAnyLLM()
"""


def prepare(home: Path, native: str, *models: str) -> None:
    table = make_table(native, models=models, adapter="any-llm", options={"provider": "acme"}, idle_timeout_s=5.0)
    prepare_home(home, table)


def test_clients_are_answered_through_any_llm(
    tetrad_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "any_llm.py").write_text(STAND_IN)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(__file__).parents[2]}")
    with FakeOpenAI() as fake:
        prepare(tetrad_home, fake.base_url, "error:RateLimitError/429", "breaks:2")
        with GatewayProcess(tetrad_home) as gateway:
            status, _, body = gateway.chat("local/m1")
            assert (status, json.loads(body)["choices"][0]["message"]["content"]) == (200, "Hello world.")
            status, _, body = gateway.chat("local/m1", stream=True)
            assert status == 200
            assert body.endswith(b"data: [DONE]\n\n")
            assert b'"usage"' not in body
            status, headers, body = gateway.chat("local/m1", api_base="http://evil.example", seed=1)
            assert (status, headers["x-tetrad-dropped"]) == (200, "api_base")
            status, headers, body = gateway.chat("local/error-RateLimitError/429")
            assert (status, headers["retry-after"]) == (429, "7")
            assert SECRET not in body.decode()
            status, _, body = gateway.chat("local/breaks-2", stream=True)
            assert b"too much" in body
            assert b"[DONE]" not in body
            assert gateway.alive()


@pytest.mark.skipif(importlib.util.find_spec("any_llm") is not None, reason="any-llm is installed here")
def test_without_the_package_its_models_alone_are_unusable_and_say_what_to_install(tetrad_home: Path) -> None:
    with FakeOpenAI() as fake:
        prepare(tetrad_home, fake.base_url)
        with GatewayProcess(tetrad_home) as gateway:
            status, _, body = gateway.chat("local/m1")
            assert (status, json.loads(body)["error"]["code"]) == (503, "model_unusable")
            assert "any-llm" in body.decode()
            assert gateway.get("/readyz")[0] == 200
            assert "tetrad[any-llm]" in gateway.log() + body.decode()
