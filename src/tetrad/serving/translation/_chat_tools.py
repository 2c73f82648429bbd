"""The tools that a request of chat completions declares, for whoever says them in other words."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text, bad

_ALLOWED = "tool_choice.allowed_tools"
FUNCTIONS = ("function",)
"""The kinds of tools that all protocols have."""


class Declared(NamedTuple):
    """A tool: where it stands, the tool, what it holds under its kind's name, and its name and description."""

    path: str
    tool: dict[str, Any]
    function: dict[str, Any]
    given: dict[str, Any]


def declared_functions(body: dict[str, Any], losses: Losses, *more: str) -> Iterator[Declared]:
    """Yield the functions; tools of other kinds are lost, and so is what a tool says beside its function and `more`.

    Where the client allows some of them only, the others are left out: few protocols have other words for that.
    """
    return declared_tools(body, losses, {"function": ("parameters", "strict")}, *more)


def declared_tools(
    body: dict[str, Any], losses: Losses, kinds: dict[str, tuple[str, ...]], *more: str
) -> Iterator[Declared]:
    """Yield the tools of `kinds`, which tell what those say besides a name and a description; see above."""
    allowed = allowed_tools(body)
    for number, each in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(each, path)
        kind = tool.get("type")
        if not isinstance(kind, str) or kind not in kinds:
            if allowed is None or _named(tool) in allowed:
                losses.lose(path)
            continue
        function = as_object(tool.get(kind), f"{path}.{kind}")
        given: dict[str, Any] = {"name": as_text(function.get("name"), f"{path}.{kind}.name")}
        if allowed is not None and (kind, given["name"]) not in allowed:
            continue
        if function.get("description") is not None:
            given["description"] = function["description"]
        losses.rest(function, ("name", "description", *kinds[kind]), f"{path}.{kind}")
        losses.rest(tool, ("type", kind, *more), path)
        yield Declared(path, tool, function, given)


def choice_of(body: dict[str, Any], losses: Losses, kinds: Collection[str] = FUNCTIONS) -> Any:
    """Return the choice of a tool; `auto` or `required` where it is one among those that are allowed.

    It is lost where all that are allowed are of other `kinds` than the upstream has.
    """
    allowance = _allowance(body)
    if allowance is None:
        return body.get("tool_choice")
    mode = allowance.get("mode")
    if mode not in ("auto", "required"):
        raise bad(f"{_ALLOWED}.mode", "'auto' or 'required'")
    allowed = allowed_tools(body) or frozenset()
    if any(kind in kinds for kind, _ in allowed):
        return mode
    losses.lose("tool_choice")
    return None


def allowed_tools(body: dict[str, Any]) -> frozenset[tuple[str, str]] | None:
    """Return the declared tools that the client allows, by kind and name; None where it allows all of them."""
    allowance = _allowance(body)
    if allowance is None:
        return None
    path = f"{_ALLOWED}.tools"
    allowed = {_named(tool) for tool in as_list(allowance.get("tools"), path)}
    found = allowed & {_named(tool) for tool in as_list(body.get("tools", []), "tools")} - {None}
    if not found:
        raise bad(path, "tools that `tools` declares")
    return frozenset(each for each in found if each is not None)


class LostCalls:
    """Calls of tools that an upstream does not have: a result goes with its call, since none stands alone."""

    def __init__(self, losses: Losses, kinds: Collection[str] = FUNCTIONS) -> None:
        self._losses = losses
        self._kinds = kinds
        self._ids: set[str] = set()

    def call(self, call: dict[str, Any], path: str) -> bool:
        """Lose a call that is of none of the kinds; False for others."""
        identity = call.get("id")
        if call.get("type", "function") in self._kinds:
            if isinstance(identity, str):
                self._ids.discard(identity)  # ids may be used again
            return False
        self._losses.lose(path)
        if isinstance(identity, str):
            self._ids.add(identity)
        return True

    def result(self, message: dict[str, Any], path: str) -> bool:
        """Lose the result of a call that was lost; False for others."""
        identity = message.get("tool_call_id")
        if not isinstance(identity, str) or identity not in self._ids:
            return False
        self._losses.lose(path)
        return True


def _allowance(body: dict[str, Any]) -> dict[str, Any] | None:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") != "allowed_tools":
        return None
    return as_object(choice.get("allowed_tools"), _ALLOWED)


def _named(tool: Any) -> tuple[str, str] | None:
    """Return a tool's kind and name; None where it has none that anybody could mean."""
    kind = tool.get("type") if isinstance(tool, dict) else None
    inner = tool.get(kind) if isinstance(kind, str) else None
    name = inner.get("name") if isinstance(inner, dict) else None
    return (kind, name) if isinstance(kind, str) and isinstance(name, str) else None
