"""What is known of providers, what can be one, and which adapters a process loads."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st

from support.fake_any_llm import FakeAnyLLM
from tetrad.kernel import SystemClock, TetradError
from tetrad.kit.extensions import Extensions
from tetrad.kit.upstream import Client
from tetrad.serving import (
    PRESETS,
    PROVIDERS,
    CompiledTable,
    ModelEntry,
    Preset,
    ProviderModel,
    ProviderProbe,
    ProviderShelf,
    ProviderSpec,
    RouteTable,
    Upstream,
    find_preset,
    provider_names,
    upstream_of,
)
from tetrad.serving._estimate import IMAGE_TOKENS, estimated_tokens
from tetrad.serving._providers import ADAPTERS, check_provider
from tetrad.serving.cli import _address, _models

PLACES = {"region": "us-east-1", "resource": "r", "project": "p", "workspace": "w", "host": "h", "provider": "zai"}


def spec(**fields: Any) -> ProviderSpec:
    given = {"name": "x", "project": "p", "base_url": "https://h/v1", "models": (ProviderModel("m"),), **fields}
    return ProviderSpec(**given)


def secret_of(preset: Preset) -> str:
    if preset.auth == "sigv4":
        return "AKID:secret"
    if preset.auth == "google":
        key = rsa.generate_private_key(65537, 2048)
        form = serialization.PrivateFormat.PKCS8
        pem = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()
        return json.dumps({"client_email": "a@b", "private_key": pem})
    return "" if preset.local else "key"


@pytest.mark.parametrize("name", PRESETS)
async def test_every_preset_is_a_provider_that_can_be_bound(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "any_llm", FakeAnyLLM())  # an extra
    preset = PRESETS[name]
    body = _address(name, "", "", {place: PLACES[place] for place in preset.places})
    secret = secret_of(preset)
    checked = check_provider(
        spec(
            base_url=body["base_url"], adapter=body["adapter"], system=body["system"], auth=body["auth"],
            options=body["options"], operations=tuple(body["operations"]), secret="s" if secret else "",
        )
    )  # fmt: skip
    assert "{" not in checked.base_url
    assert checked.system
    shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=1, answer_bytes=1)
    endpoint = shelf[checked.adapter].endpoint(upstream_of(checked, secret))
    assert callable(endpoint.call)
    await shelf.close()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "option `provider`"),
        ({"options": {"provider": "../x"}}, "option `provider`"),
        ({"options": {"provider": "groq"}, "auth": "sigv4", "secret": "s"}, "cannot log in"),
        ({"options": {"provider": "groq"}, "ca": "pem"}, "certificates"),
        ({"options": {"provider": "groq"}, "operations": ("chat",)}, "operations"),
    ],
)
def test_what_any_llm_cannot_be_told_is_refused_when_it_is_configured(fields: dict[str, Any], words: str) -> None:
    check_provider(spec(adapter="any-llm", options={"provider": "groq"}))
    with pytest.raises(TetradError, match=words):
        check_provider(spec(adapter="any-llm", **fields))


def test_what_an_address_lacks_is_named() -> None:
    with pytest.raises(TetradError, match="'provider'"):
        _address("any-llm", "", "", {"host": "api.example.com"})
    found = _address("any-llm", "", "", {"host": "api.example.com", "provider": "zai"})
    assert (found["base_url"], found["options"]) == ("https://api.example.com/v1", {"provider": "zai"})
    with pytest.raises(TetradError, match="'region'"):
        _address("bedrock", "", "", {})
    with pytest.raises(TetradError, match="region"):
        _address("bedrock", "", "", {"region": "evil.example/x"})
    with pytest.raises(TetradError, match="nothing is known"):
        _address("mine", "", "", {})
    with pytest.raises(TetradError, match="no preset"):
        find_preset("mine")
    assert _address("openai", "", "https://h/v1", {})["base_url"] == "https://h/v1"
    found = _address("work", "azure", "", {"resource": "r", "api_version": "2025-01-01"})
    assert found["options"] == {"api_version": "2025-01-01"}


def test_models_that_are_listed_are_sorted_by_what_they_do() -> None:
    found = _models(["gpt-5", "text-embedding-3"], [], [], {}, listed=True)
    assert [each["kinds"] for each in found] == [["chat"], ["embeddings"]]
    found = _models(["gpt-5"], [], ["gpt-5=speech"], {"gpt-5": "prod"}, listed=False)
    assert found == [{"name": "gpt-5", "kinds": ["speech"], "deployment": "prod"}]
    with pytest.raises(TetradError, match="--deployment"):
        _models(["gpt-5"], [], [], {"other": "x"}, listed=False)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"adapter": "unheard"}, "unheard"),
        ({"auth": "magic"}, "magic"),
        ({"auth": "sigv4"}, "secret"),
        ({"options": {"Bad Name": "x"}}, "Bad Name"),
        ({"options": {"region": "a\nb"}}, "region"),
        ({"options": {f"o{n}": "x" for n in range(17)}}, "17 options"),
        ({"options": {"path": "x" * 501}}, "path"),
        ({"adapter": "anthropic", "models": (ProviderModel("m", ("embeddings",)),)}, "embeddings"),
        ({"adapter": "gemini", "operations": ("chat",)}, "operations"),
        ({"models": (ProviderModel("m", deployment="a b"),)}, "deployment"),
    ],
)
def test_what_cannot_be_a_provider_is_refused_with_the_reason(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(TetradError) as caught:
        check_provider(spec(**fields))
    assert told in caught.value.message + caught.value.hint
    assert caught.value.code == "bad_provider"


def test_adapters_are_those_that_are_installed_and_only_the_named_one_is_loaded() -> None:
    assert set(provider_names()) >= set(ADAPTERS)
    program = (
        "import sys, asyncio\n"
        "from tetrad.kernel import SystemClock\n"
        "from tetrad.kit.upstream import Client\n"
        "from tetrad.serving import ProviderShelf\n"
        "shelf = ProviderShelf(Client(), SystemClock(), keep_bytes=1, answer_bytes=1)\n"
        "assert set(shelf) >= {'openai', 'gemini'} and len(shelf) >= 6\n"
        "assert not [name for name in sys.modules if name.startswith('tetrad.adapters')]\n"
        "shelf['openai']\n"
        "loaded = {name.rpartition('.')[2] for name in sys.modules if name.startswith('tetrad.adapters.providers.')}\n"
        "assert 'openai' in loaded and not loaded & {'gemini', 'bedrock', 'anthropic', '_google'}, loaded\n"
        "assert 'cryptography' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


class Acme:
    """A stranger's adapter."""

    def __init__(self, client: Any, clock: Any, *, keep_bytes: int, answer_bytes: int) -> None:
        self.limits = keep_bytes, answer_bytes
        self.closed = False

    def endpoint(self, upstream: Upstream) -> Acme:
        return self

    async def call(self, call: Any) -> Any:
        raise NotImplementedError

    async def close(self) -> None:
        self.closed = True


def broken(client: Any) -> None:
    """Take something else than what adapters are made with."""


async def test_a_strangers_adapter_is_made_as_ours_and_a_broken_one_takes_only_its_models() -> None:
    where = f"{__name__}"
    sys.modules.setdefault(where, sys.modules[__name__])
    points = [
        importlib.metadata.EntryPoint("provider.acme", f"{where}:Acme", "tetrad.extensions"),
        importlib.metadata.EntryPoint("provider.broken", f"{where}:broken", "tetrad.extensions"),
    ]
    shelf = ProviderShelf(
        Client(), SystemClock(), keep_bytes=5, answer_bytes=7, extensions=Extensions([PROVIDERS], entry_points=points)
    )
    upstreams = {name: Upstream(name, "https://h/v1", adapter=name) for name in ("acme", "broken", "nobody")}
    models = {f"{name}/m": ModelEntry(f"{name}/m", name, "m") for name in upstreams}
    compiled = CompiledTable(RouteTable(1, 1, upstreams=upstreams, models=models), shelf)
    assert shelf["acme"].limits == (5, 7)  # type: ignore[attr-defined]
    assert set(compiled.problems) == {"model broken/m", "model nobody/m"}
    assert "nobody" in compiled.problems["model nobody/m"]
    acme = shelf["acme"]
    await shelf.close()
    assert acme.closed  # type: ignore[attr-defined]


def test_an_estimate_grows_with_what_is_said_and_knows_pictures() -> None:
    def count(*blocks: Any, **more: Any) -> int:
        body = {"messages": [{"role": "user", "content": list(blocks)}], **more}
        return estimated_tokens({name: msgspec.Raw(json.dumps(value).encode()) for name, value in body.items()})

    text = {"type": "text", "text": "one two three four five six seven eight nine ten"}
    assert 10 <= count(text) <= 60
    assert count(text, text) > count(text)
    assert count(text, tools=[{"name": "weather", "input_schema": {"type": "object"}}]) > count(text)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "A" * 1_000_000}}
    assert IMAGE_TOKENS <= count(picture) <= IMAGE_TOKENS + 60
    with pytest.raises(TetradError):
        estimated_tokens({"messages": msgspec.Raw(b"[{")})


@given(st.recursive(st.one_of(st.none(), st.booleans(), st.integers(), st.text()), lambda inner: st.one_of(
    st.lists(inner), st.dictionaries(st.text(), inner))))  # fmt: skip
def test_an_estimate_is_a_number_for_whatever_is_sent(value: Any) -> None:
    assert estimated_tokens({"messages": msgspec.Raw(msgspec.json.encode(value))}) >= 0


async def test_asking_a_provider_for_its_models_reaches_no_further_than_its_calls_do() -> None:
    probe = ProviderProbe(lambda _project, _name: "key", SystemClock())
    for adapter, url in (("openai", "http://127.0.0.1:9/v1"), ("gemini", "http://169.254.169.254/v1beta")):
        with pytest.raises(TetradError) as caught:
            await probe.models(spec(adapter=adapter, base_url=url, secret="s", internal=False))
        assert caught.value.code == "egress_refused"


def test_azures_batches_are_refused_by_name() -> None:
    with pytest.raises(TetradError, match="azure") as refused:
        check_provider(spec(adapter="azure", batches="native"))
    assert "Global Batch" in refused.value.hint
    assert check_provider(spec(adapter="azure", batches="calls")).has_batches is False
