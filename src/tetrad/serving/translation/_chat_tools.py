"""The functions that a request of chat completions declares, for whoever says them in other words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from tetrad.serving.translation._saying import Losses, as_list, as_object, as_text


class Declared(NamedTuple):
    """A function: where its tool stands, the tool, the function, and its name and description to begin with."""

    path: str
    tool: dict[str, Any]
    function: dict[str, Any]
    given: dict[str, Any]


def declared_functions(body: dict[str, Any], losses: Losses, *more: str) -> Iterator[Declared]:
    """Yield the functions; tools of other kinds are lost, and so is what a tool says beside its function and `more`."""
    for number, each in enumerate(as_list(body.get("tools", []), "tools")):
        path = f"tools[{number}]"
        tool = as_object(each, path)
        if tool.get("type") != "function":
            losses.lose(path)
            continue
        function = as_object(tool.get("function"), f"{path}.function")
        given: dict[str, Any] = {"name": as_text(function.get("name"), f"{path}.function.name")}
        if function.get("description") is not None:
            given["description"] = function["description"]
        losses.rest(function, ("name", "description", "parameters", "strict"), f"{path}.function")
        losses.rest(tool, ("type", "function", *more), path)
        yield Declared(path, tool, function, given)
