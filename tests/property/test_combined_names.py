"""Names and addresses where those of several servers stand together: any of them, any server, and the way back."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from tetrad.tools._combined_words import acknowledged, addressed
from tetrad.tools._names import MAX_COMBINED_NAME, combined_name, combined_uri, own_name, split_name, split_uri

SERVERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
TOOLS = st.from_regex(r"[A-Za-z0-9_./-]{1,128}", fullmatch=True)


@given(SERVERS, TOOLS, st.lists(TOOLS, max_size=5))
def test_every_name_fits_and_leads_back_to_its_server_and_tool(server: str, tool: str, others: list[str]) -> None:
    combined = combined_name(server, tool)
    assert len(combined) <= MAX_COMBINED_NAME
    assert split_name(combined)[0] == server
    assert own_name(combined, [*others, tool]) == tool


@given(SERVERS, TOOLS, SERVERS, TOOLS)
def test_no_two_tools_have_one_name(server: str, tool: str, other: str, another: str) -> None:
    if (server, tool) != (other, another):
        assert combined_name(server, tool) != combined_name(other, another)


def test_a_long_name_that_nobody_knows_means_nothing_else() -> None:
    combined = combined_name("s" * 63, "t" * 128)
    assert own_name(combined, ()) != "t" * 128
    assert own_name(combined, ["t" * 127]) != "t" * 127


@given(SERVERS, st.text())
def test_every_address_leads_back_to_its_server(server: str, uri: str) -> None:
    assert split_uri(combined_uri(server, uri)) == (server, uri)


@given(SERVERS, st.text(), SERVERS, st.text())
def test_no_two_resources_have_one_address(server: str, uri: str, other: str, another: str) -> None:
    if (server, uri) != (other, another):
        assert combined_uri(server, uri) != combined_uri(other, another)


@given(st.text())
def test_an_address_without_a_server_leads_nowhere(uri: str) -> None:
    if not uri.startswith("mcp+"):
        assert split_uri(uri) == ("", uri)


ODD: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["uri", "type", "resource", "content", "contents", "messages"]) | st.text(max_size=3),
            inner | st.sampled_from(["resource", "resource_link", "text"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)
METHODS = st.sampled_from(["", "resources/read", "tools/call", "prompts/get", "tools/list"])


@given(METHODS, ODD)
def test_whatever_a_server_answers_is_passed_on_as_json_and_only_addresses_change(method: str, result: Any) -> None:
    changed = json.loads(bytes(addressed(method, msgspec.Raw(json.dumps(result).encode()), "one")))
    assert without_addresses(changed) == without_addresses(result)


def without_addresses(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: each.removeprefix("mcp+one+") if name == "uri" and isinstance(each, str) else without_addresses(each)
            for name, each in value.items()
        }
    return [without_addresses(each) for each in value] if isinstance(value, list) else value


FLAGS = st.sampled_from(["toolsListChanged", "promptsListChanged", "resourcesListChanged"])
FILTERS = st.tuples(st.dictionaries(FLAGS, st.booleans()), st.none() | st.lists(st.text(max_size=5), max_size=3)).map(
    lambda both: {**both[0], **({} if both[1] is None else {"resourceSubscriptions": both[1]})}
)


@given(FILTERS, FILTERS)
def test_what_two_servers_honour_is_what_either_honours(one: dict[str, Any], other: dict[str, Any]) -> None:
    raws = [{name: msgspec.Raw(json.dumps(each).encode()) for name, each in made.items()} for made in (one, other)]
    both = {name: json.loads(bytes(each)) for name, each in acknowledged(*raws).items()}
    assert both.keys() == one.keys() | other.keys()
    for name, honoured in both.items():
        if name == "resourceSubscriptions":
            assert honoured == [*one.get(name, []), *other.get(name, [])]
        else:
            assert honoured == (one.get(name, False) or other.get(name, False))
