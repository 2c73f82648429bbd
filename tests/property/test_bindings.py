"""A binding is its content: no order of names changes its digest, and who answers depends on nothing else."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tetrad.bindings import BindingSet, Bound, diff_bindings, read_binding, ref_of, target_of
from tetrad.kernel import Digest, canonical_json, parse_json

names = st.sampled_from(["llm", "small", "main", "openai", "azure"])
models = st.sampled_from(["gpt", "gpt-5", "claude", "local/m", "a:b"])
urls = st.sampled_from(["https://a.example/x", "http://127.0.0.1:9", "https://b.example"])
secrets = st.sampled_from(["A_KEY", "B_KEY"])
providers = st.fixed_dictionaries(
    {"provider": st.sampled_from(["us", "eu"])},
    optional={
        "models": st.dictionaries(models, models, max_size=3),
        "secret": secrets,
        "max_concurrency": st.integers(1, 100),
    },
)
engines = st.fixed_dictionaries(
    {"engine": st.sampled_from(["e1", "e2"])}, optional={"models": st.dictionaries(models, models, max_size=3)}
)
tools = st.fixed_dictionaries({"url": urls}, optional={"secret": secrets, "timeout_s": st.integers(1, 60)})
indexes = st.one_of(tools, st.fixed_dictionaries({"index": st.sampled_from(["i", "j"])}))
server_names = st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True)
registered = st.fixed_dictionaries({"server": st.sampled_from(["s1", "s2"])})
documents = st.fixed_dictionaries(
    {},
    optional={
        "schema": st.just("tetrad.binding/1"),
        "providers": st.dictionaries(names, st.one_of(providers, engines), max_size=4),
        "indexes": st.dictionaries(names, indexes, max_size=2),
        "tools": st.dictionaries(names, tools, max_size=3),
        "mcp_servers": st.dictionaries(server_names, st.one_of(tools, registered), max_size=2),
    },
)
asked = st.one_of(names, st.builds(lambda name, model: f"{name}/{model}", names, models))


def shuffled(value: Any, order: random.Random) -> Any:
    if not isinstance(value, dict):
        return value
    items = [(name, shuffled(inner, order)) for name, inner in value.items()]
    order.shuffle(items)
    return dict(items)


@given(documents, st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_change_the_digest(document: dict[str, Any], order: random.Random) -> None:
    one, other = read_binding(document), read_binding(shuffled(document, order))
    assert one.digest == other.digest
    assert diff_bindings(one, other) == ()


@given(documents)
def test_what_is_kept_reads_back_as_what_was_meant(document: dict[str, Any]) -> None:
    binding = read_binding(document)
    again = read_binding(parse_json(canonical_json(binding.document()), where="kept"))
    assert again == binding
    assert again.digest == binding.digest


@given(documents, documents)
def test_bindings_differ_in_digest_exactly_where_a_change_is_told(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = read_binding(one), read_binding(other)
    assert bool(diff_bindings(before, after)) == (before.digest != after.digest)
    assert len(diff_bindings(before, after)) == len(diff_bindings(after, before))


@given(documents, asked, st.randoms(use_true_random=False))
def test_who_answers_is_a_function_of_binding_and_name(
    document: dict[str, Any], name: str, order: random.Random
) -> None:
    found = target_of(read_binding(document), name)
    assert found == target_of(read_binding(shuffled(document, order)), name)
    logical = name.partition("/")[0]
    entry = document.get("providers", {}).get(logical)
    assert (found is None) == (entry is None)
    if found is not None and entry is not None:
        rest = name.partition("/")[2] or logical
        plain = entry.get("models", {}).get(rest, rest if "provider" in entry else "")
        assert (found.provider, found.engine, found.model) == (
            entry.get("provider", ""),
            entry.get("engine", ""),
            plain,
        )


@given(
    st.dictionaries(st.tuples(st.sampled_from(["prod", "stage"]), st.sampled_from(["", "bot", "cat"])), st.booleans()),
    st.sampled_from(["prod", "stage"]),
    st.sampled_from(["bot", "cat", "dog"]),
)
def test_an_apps_own_binding_wins_unless_it_follows(places: dict[tuple[str, str], bool], env: str, app: str) -> None:
    bound = {}
    for number, ((where, whose), follows) in enumerate(places.items()):
        ref = ref_of(where, whose)
        binding = read_binding({"inherit": True} if follows and whose else {"providers": {}})
        bound[ref] = Bound(ref, Digest(f"sha256:{number:064x}"), binding)
    found = BindingSet(bound).effective(env, app)
    own = (env, app) in places and not places[env, app]
    wanted = ref_of(env, app) if own else ref_of(env)
    assert found is bound.get(wanted)
