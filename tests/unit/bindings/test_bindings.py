"""Bindings as values: what a file says, what is refused and where, who answers, what changed."""

from __future__ import annotations

from typing import Any

import pytest

from support.bindings import document
from tetrad.bindings import (
    BadBinding,
    Binding,
    BindingSet,
    Bound,
    ProviderBinding,
    diff_bindings,
    looks_like_secret,
    place_of,
    read_binding,
    read_binding_file,
    ref_of,
    target_of,
)
from tetrad.bindings._read import MAX_BYTES, MAX_ENTRIES, MAX_MODELS, MAX_URL_CHARS
from tetrad.kernel import Digest
from tetrad.kit.plain_yaml import BadYaml
from tetrad.registry import BadName

FILE = """\
schema: tetrad.binding/1
providers:
  llm:
    provider: eu
    models: {gpt: gpt-eu}
    secret: EU_KEY
    max_concurrency: 8
  small: {engine: smollm2}
indexes:
  handbook: {index: handbook-2026}
  wiki: {url: "https://wiki.example.com/search"}
tools:
  search: {url: "https://tools.example.com/search", secret: SEARCH_KEY, timeout_s: 5}
mcp_servers:
  files: {url: "http://127.0.0.1:9000/mcp"}
"""
OPENAI_KEY = "sk-" + "proj-Ab12Cd34Ef56Gh78"
RANDOM = "Zx9Qw8Er7Ty6Ui5Op4As3Df2Gh1"


def refused(value: Any) -> BadBinding:
    with pytest.raises(BadBinding) as caught:
        read_binding(value)
    return caught.value


def test_a_file_is_read_whole() -> None:
    binding = read_binding_file(FILE, where="production.yaml")
    assert binding.providers["llm"] == ProviderBinding("eu", "", {"gpt": "gpt-eu"}, "EU_KEY", 8)
    assert binding.tools["search"].timeout_s == 5.0
    assert binding.secrets() == {
        ("providers", "llm", "secret"): "EU_KEY", ("tools", "search", "secret"): "SEARCH_KEY",
    }  # fmt: skip
    assert read_binding(binding.document()) == binding


def test_the_digest_is_pinned() -> None:
    assert Binding().document() == {"schema": "tetrad.binding/1"}
    pinned = "sha256:53420799421fa0b8aedaedde503a5f349be72f5688304d9eb65a1601ece06a12"
    assert read_binding(document("us")).digest == pinned


def test_a_default_that_is_written_out_changes_no_digest() -> None:
    tool = {"tools": {"t": {"url": "https://t.example"}}}
    spelled = {
        "schema": "tetrad.binding/1",
        "tools": {"t": {"url": "https://t.example", "timeout_s": 30}},
        "indexes": {},
    }
    assert read_binding(tool).digest == read_binding(spelled).digest


@pytest.mark.parametrize(
    ("value", "path", "says"),
    [
        ([], (), "mapping"),
        ({"schema": "tetrad.binding/2"}, ("schema",), "tetrad.binding/1"),
        ({"provider": {}}, (), "'provider' is not known"),
        ({"providers": []}, ("providers",), "mapping"),
        ({"providers": {"a b": {"provider": "us"}}}, ("providers", "a b"), "logical name"),
        ({"providers": {"llm": {}}}, ("providers", "llm"), "a provider or an engine"),
        ({"providers": {"llm": {"provider": "us", "engine": "e"}}}, ("providers", "llm"), "one of them"),
        ({"providers": {"llm": {"provider": "US!"}}}, ("providers", "llm", "provider"), "configured provider"),
        ({"providers": {"llm": {"provider": 3}}}, ("providers", "llm", "provider"), "configured provider"),
        ({"providers": {"llm": {"provider": "us", "url": "x"}}}, ("providers", "llm"), "'url' is not known"),
        ({"providers": {"llm": {"engine": "e", "secret": "S"}}}, ("providers", "llm", "secret"), "leave it out"),
        (document(models={"gpt": ""}), ("providers", "llm", "models", "gpt"), "name of a model"),
        (document(models=["gpt"]), ("providers", "llm", "models"), "mapping"),
        (document(max_concurrency=0), ("providers", "llm", "max_concurrency"), "from 1"),
        (document(max_concurrency=True), ("providers", "llm", "max_concurrency"), "whole number"),
        (document(max_concurrency=1.5), ("providers", "llm", "max_concurrency"), "whole number"),
        (document(max_concurrency=100_001), ("providers", "llm", "max_concurrency"), "100000"),
        ({"indexes": {"i": {}}}, ("indexes", "i"), "an index or its url"),
        ({"indexes": {"i": {"index": "a", "secret": "S"}}}, ("indexes", "i"), "belong to a url"),
        ({"tools": {"t": {}}}, ("tools", "t"), "name its url"),
        ({"tools": {"t": {"url": "ftp://x.example"}}}, ("tools", "t", "url"), "http or https"),
        ({"tools": {"t": {"url": "https://"}}}, ("tools", "t", "url"), "http or https"),
        ({"tools": {"t": {"url": "https://[::1"}}}, ("tools", "t", "url"), "no URL"),
        ({"tools": {"t": {"url": "https://x.example:99999"}}}, ("tools", "t", "url"), "no URL"),
        ({"tools": {"t": {"url": "https://u:p@x.example"}}}, ("tools", "t", "url"), "no credentials"),
        ({"tools": {"t": {"url": "https://x.example/?key=1"}}}, ("tools", "t", "url"), "no credentials"),
        ({"tools": {"t": {"url": "https://x.example/\n"}}}, ("tools", "t", "url"), "at most"),
        ({"tools": {"t": {"url": 7}}}, ("tools", "t", "url"), "at most"),
        ({"tools": {"t": {"url": "https://x.example", "timeout_s": 0}}}, ("tools", "t", "timeout_s"), "more than 0"),
        ({"mcp_servers": {"m": {"url": "https://x", "timeout_s": True}}}, ("mcp_servers", "m", "timeout_s"), "seconds"),
        ({"mcp_servers": {"m": {}}}, ("mcp_servers", "m"), "a registered MCP server or its url"),
        ({"mcp_servers": {"m": {"server": "s", "url": "https://x"}}}, ("mcp_servers", "m"), "one of them"),
        ({"mcp_servers": {"m": {"server": "s", "secret": "S"}}}, ("mcp_servers", "m"), "belong to a url"),
        ({"mcp_servers": {"m": {"server": "A_B"}}}, ("mcp_servers", "m", "server"), "name of a registered MCP server"),
        ({"mcp_servers": {"a__b": {"server": "s"}}}, ("mcp_servers", "a__b"), "/mcp/NAME"),
        ({"inherit": "yes"}, ("inherit",), "true or false"),
        ({"inherit": True, "tools": {}}, ("inherit",), "nothing else"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_refused_with_its_place(value: Any, path: tuple[str, ...], says: str) -> None:
    error = refused(value)
    assert (error.code, error.status) == ("bad_binding", 422)
    assert [problem.path for problem in error.problems] == [path]
    assert says in error.message
    assert error.details[0][0] == path


def test_every_wrong_place_is_told_at_once_with_file_and_line() -> None:
    with pytest.raises(BadBinding) as caught:
        read_binding_file("providers:\n  llm:\n    provider: NO\ntools:\n  t:\n    url: ftp://x\n", where="b.yaml")
    lines = caught.value.message.splitlines()
    assert lines[0].startswith("b.yaml:3: providers.llm.provider: ")
    assert lines[1].startswith("b.yaml:6: tools.t.url: ")


@pytest.mark.parametrize("text", ["a: [", "a: 1\na: 2\n", "x: &a 1\ny: *a\n"])
def test_a_file_that_is_no_plain_yaml_names_its_line(text: str) -> None:
    with pytest.raises(BadYaml, match=r"b\.yaml:\d+: "):
        read_binding_file(text, where="b.yaml")


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (document(secret=OPENAI_KEY), ("providers", "llm", "secret")),
        (document(secret=RANDOM), ("providers", "llm", "secret")),
        (document(secret="a" * 31 + "0"), ("providers", "llm", "secret")),
        ({"tools": {"t": {"url": f"https://x.example/{OPENAI_KEY}"}}}, ("tools", "t", "url")),
        ({"tools": {"t": {"url": "https://x.example", "secret": "ghp_" + "a1" * 18}}}, ("tools", "t", "secret")),
        ({"tools": {RANDOM: {"url": "https://x.example"}}}, ("tools",)),
        (document(models={"gpt": RANDOM}), ("providers", "llm", "models", "gpt")),
        ({RANDOM: 1}, ()),
    ],
)
def test_what_looks_like_a_secret_is_refused_and_never_repeated(value: Any, path: tuple[str, ...]) -> None:
    error = refused(value)
    assert error.problems[0].path == path
    for secret in (OPENAI_KEY, RANDOM, "ghp_", "a" * 31):
        assert secret not in error.message + error.hint
        assert all(secret not in said for _, said in error.details)


@pytest.mark.parametrize(
    "name",
    ["OPENAI_API_KEY", "azure-openai.eu-west_2", "gpt-5-mini-2026-01-01", "anthropic.claude-3-5-sonnet-20241022-v2:0"],
)
def test_names_that_people_give_are_no_secrets(name: str) -> None:
    assert not looks_like_secret(name)


def test_an_account_number_in_an_address_is_no_secret() -> None:
    assert not looks_like_secret("https://gateway.example.com/v1/" + "0a1b2c3d" * 4, address=True)


def test_limits_hold_and_one_past_them_is_refused() -> None:
    tools = {f"t{i}": {"url": "https://x.example"} for i in range(MAX_ENTRIES)}
    assert len(read_binding({"tools": tools}).tools) == MAX_ENTRIES
    assert f"at most {MAX_ENTRIES}" in refused({"tools": {**tools, "one-more": {"url": "https://x.example"}}}).message
    models = {f"m{i}": "gpt" for i in range(MAX_MODELS + 1)}
    assert f"at most {MAX_MODELS}" in refused(document(models=models)).message
    long = "https://x.example/" + "a" * MAX_URL_CHARS
    assert "at most" in refused({"tools": {"t": {"url": long}}}).message
    assert "bytes of JSON" in refused({"tools": {"t": {"url": "a" * MAX_BYTES}}}).message
    with pytest.raises(BadYaml, match="more than"):
        read_binding_file("a: " + "b" * MAX_BYTES, where="b.yaml")
    many = {f"x{i}": 1 for i in range(10_000)}
    assert len(refused(many).problems) <= 50


def test_who_answers_for_a_model() -> None:
    binding = read_binding_file(FILE, where="f")
    mapped = target_of(binding, "llm/gpt")
    assert mapped is not None
    assert (mapped.provider, mapped.model, mapped.secret, mapped.max_concurrency) == ("eu", "gpt-eu", "EU_KEY", 8)
    kept = target_of(binding, "llm/other/deep")
    assert kept is not None
    assert kept.model == "other/deep"
    engine = target_of(binding, "small/any")
    assert engine is not None
    assert (engine.engine, engine.model) == ("smollm2", "")
    assert target_of(binding, "openai/gpt") is None
    bare = target_of(read_binding({"providers": {"main": {"provider": "us", "models": {"main": "gpt"}}}}), "main")
    assert bare is not None
    assert bare.model == "gpt"


def test_refs_and_places_are_each_others_inverse() -> None:
    assert ref_of("production") == "bindings/production"
    assert ref_of("production", "bot") == "bindings/production/bot"
    assert place_of("bindings/production/bot") == ("production", "bot")
    assert place_of("bindings/staging") == ("staging", "")
    for wrong in ("a/b", "", "UP"):
        with pytest.raises(BadName):
            ref_of(wrong)
    with pytest.raises(BadName):
        ref_of("production", "a/b")
    for wrong in ("bot/production", "bindings", "bindings/a/b/c"):
        with pytest.raises(BadName):
            place_of(wrong)


def test_what_an_app_has_of_its_own_stands_for_the_whole() -> None:
    one = Bound("bindings/production", Digest("sha256:1"), read_binding(document("us")))
    own = Bound("bindings/production/bot", Digest("sha256:2"), read_binding({"tools": {}}))
    follows = Bound("bindings/production/cat", Digest("sha256:3"), read_binding({"inherit": True}))
    broken = Bound("bindings/production/dog", Digest("sha256:4"), None, "it is gone")
    bindings = BindingSet({each.ref: each for each in (one, own, follows, broken)})
    assert bindings.effective("production", "bot") is own
    assert bindings.effective("production", "other") is one
    assert bindings.effective("production", "cat") is one
    assert bindings.effective("production", "dog") is broken, "what cannot be read must not be passed over"
    assert bindings.effective("staging", "bot") is None


def test_changes_are_told_by_what_they_mean() -> None:
    old = read_binding_file(FILE, where="f")
    new = read_binding({
        "providers": {
            "llm": {"provider": "us", "models": {"gpt": "gpt"}, "secret": "US_KEY", "max_concurrency": 16},
            "extra": {"engine": "smollm2"},
        },
        "indexes": {"handbook": {"url": "https://handbook.example"}, "wiki": {"url": "https://wiki.example.com/search"}},
        "tools": {"search": {"url": "https://tools.example.com/search", "secret": "SEARCH_KEY", "timeout_s": 9}},
    })  # fmt: skip
    told = {(change.section, change.name, change.field): change.text for change in diff_bindings(old, new)}
    assert told == {
        ("providers", "extra", ""): "provider extra is bound to engine smollm2",
        ("providers", "llm", "endpoint"): "provider llm moved from provider eu to provider us",
        ("providers", "llm", "secret"): "provider llm: secret reference changed from EU_KEY to US_KEY",
        ("providers", "llm", "max_concurrency"): "provider llm: capacity changed from 8 to 16",
        ("providers", "llm", "models.gpt"): "provider llm: model gpt is gpt, was gpt-eu",
        ("providers", "small", ""): "provider small is no longer bound; the name means itself (was engine smollm2)",
        ("indexes", "handbook", "endpoint"):
            "index handbook moved from index handbook-2026 to https://handbook.example",
        ("tools", "search", "timeout_s"): "tool search: time limit changed from 5 s to 9 s",
        ("mcp_servers", "files", ""):
            "MCP server files is no longer bound; the name means itself (was http://127.0.0.1:9000/mcp)",
    }  # fmt: skip
    assert diff_bindings(old, old) == ()
    old = read_binding({"mcp_servers": {"files": {"url": "https://mcp.example"}, "wiki": {"server": "wiki-eu"}}})
    new = read_binding({"mcp_servers": {"files": {"server": "files-eu"}, "wiki": {"server": "wiki-us"}}})
    assert [change.text for change in diff_bindings(old, new)] == [
        "MCP server files moved from https://mcp.example to registered server files-eu",
        "MCP server wiki moved from registered server wiki-eu to registered server wiki-us",
    ]
    (change,) = diff_bindings(Binding(), Binding(inherit=True))
    assert change.field == "inherit"
