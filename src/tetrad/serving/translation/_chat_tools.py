"""The functions that a request of chat completions declares, for whoever says them in other words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text, bad

_ALLOWED = "tool_choice.allowed_tools"


class Declared(NamedTuple):
    """A function: where its tool stands, the tool, the function, and its name and description to begin with."""

    path: str
    tool: dict[str, Any]
    function: dict[str, Any]
    given: dict[str, Any]


def declared_functions(body: dict[str, Any], losses: Losses, *more: str) -> Iterator[Declared]:
    """Yield the functions; tools of other kinds are lost, and so is what a tool says beside its function and `more`.

    Where the client allows some of them only, the others are left out: few protocols have other words for that.
    """
    allowed = allowed_names(body)
    for number, each in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(each, path)
        if tool.get("type") != "function":
            losses.lose(path)
            continue
        function = as_object(tool.get("function"), f"{path}.function")
        given: dict[str, Any] = {"name": as_text(function.get("name"), f"{path}.function.name")}
        if allowed is not None and given["name"] not in allowed:
            continue
        if function.get("description") is not None:
            given["description"] = function["description"]
        losses.rest(function, ("name", "description", "parameters", "strict"), f"{path}.function")
        losses.rest(tool, ("type", "function", *more), path)
        yield Declared(path, tool, function, given)


def choice_of(body: dict[str, Any]) -> Any:
    """Return the choice of a tool; `auto` or `required` where it is one among the allowed functions."""
    allowance = _allowance(body)
    if allowance is None:
        return body.get("tool_choice")
    mode = allowance.get("mode")
    if mode not in ("auto", "required"):
        raise bad(f"{_ALLOWED}.mode", "'auto' or 'required'")
    return mode


def allowed_names(body: dict[str, Any]) -> frozenset[str] | None:
    """Return the functions that the client allows; None where it allows all that it declares."""
    allowance = _allowance(body)
    if allowance is None:
        return None
    path = f"{_ALLOWED}.tools"
    names = frozenset(_names(allowance.get("tools"), path))
    if names.isdisjoint(_names(body.get("tools", []), "tools")):
        raise bad(path, "functions that `tools` declares")
    return names


def _allowance(body: dict[str, Any]) -> dict[str, Any] | None:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    return as_object(choice.get("allowed_tools"), _ALLOWED)


def _names(tools: Any, path: str) -> Iterator[str]:
    for tool in as_list(tools, path):
        function = tool.get("function") if isinstance(tool, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name
