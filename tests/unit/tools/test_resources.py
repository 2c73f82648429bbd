"""What of a server's resources is let through, and what a message that names one asks for."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tetrad.serving import ToolServerRoute
from tetrad.tools import BadToolServer, ServerBroken, ToolServerSpec, check_server
from tetrad.tools._resources import narrowed
from tetrad.tools._rpc import Message, read_message
from tetrad.tools._screen import Digests, Screen
from tetrad.tools.errors import BadMessage, ToolRefused


def screen(allow: tuple[str, ...] = ("*",), patterns: tuple[str, ...] = ("*",), **changes: Any) -> Screen:
    route = ToolServerRoute(
        **{"name": "s", "project": "p", "allow": allow, "serves": ("tools", "resources"), **changes}
    )
    return Screen(route, patterns, Digests(), {})


@pytest.mark.parametrize(
    ("allow", "patterns", "opened"),
    [
        (("*",), ("*",), True),
        (("read_*",), ("get_*",), True),  # they say nothing of resources
        (("*", "note://*"), ("*",), True),
        (("*", "memo://*"), ("*",), False),
        (("*",), ("*", "memo://*"), False),
        (("note://*",), ("memo://*",), False),
        (("note://o?e",), ("note://[o]*",), True),
    ],
)
def test_patterns_with_a_colon_are_of_resources(
    allow: tuple[str, ...], patterns: tuple[str, ...], opened: bool
) -> None:
    made = screen(allow, patterns)
    assert made.allows_resource("note://one") is opened
    listed = json.loads(made.resources(b'{"resources": [{"uri": "note://one", "name": "n"}]}', "resources", "uri"))
    assert [each["uri"] for each in listed["resources"]] == (["note://one"] if opened else [])
    if not opened:
        with pytest.raises(ToolRefused, match="not one that this key may read"):
            made.check_resource("note://one")


def test_a_server_that_is_not_opened_for_resources_has_none() -> None:
    assert not screen(serves=("tools", "prompts")).allows_resource("note://one")


def test_a_pattern_of_a_resource_opens_no_tool() -> None:
    assert not screen(("note://*",)).allows("add")


@pytest.mark.parametrize(
    "result", [b"[]", b"{}", b'{"resources": {}}', b'{"resources": [1]}', b'{"resources": [{"uri": 1}]}', b"{"]
)
def test_a_list_that_cannot_be_read_is_the_servers_fault(result: bytes) -> None:
    with pytest.raises(ServerBroken, match="list of resources cannot be read"):
        screen().resources(result, "resources", "uri")


def test_patterns_of_addresses_can_be_registered() -> None:
    check_server(ToolServerSpec(name="s", project="p", url="https://x.example", allow=("*", "repo://a/b_%20~{id}")))
    for wrong in ("a b:c", "repo://ü", "a:\n"):
        with pytest.raises(BadToolServer, match="patterns that are none"):
            check_server(ToolServerSpec(name="s", project="p", url="https://x.example", allow=(wrong,)))


def listening(notifications: Any) -> Message:
    body = {"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": {"notifications": notifications}}
    return read_message(json.dumps(body).encode())


def test_a_subscription_is_narrowed_and_nothing_else_of_it_changes() -> None:
    wanted = {"toolsListChanged": True, "resourceSubscriptions": ["a:1", "b:1"]}
    kept = narrowed(listening(wanted), lambda uris: [uri for uri in uris if uri.startswith("a:")])
    found = json.loads(bytes((kept.params or {})["notifications"]))
    assert found == {"toolsListChanged": True, "resourceSubscriptions": ["a:1"]}
    plain = listening({"toolsListChanged": True})
    assert narrowed(plain, lambda _: []) is plain


@pytest.mark.parametrize("wrong", [7, [], {"resourceSubscriptions": "a"}, {"resourceSubscriptions": [1]}])
def test_a_subscription_that_cannot_be_read_is_refused(wrong: Any) -> None:
    with pytest.raises(BadMessage, match="no filter of notifications"):
        narrowed(listening(wrong), lambda uris: uris)
