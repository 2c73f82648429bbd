"""A release put into a request that speaks Anthropic's Messages: instructions stand beside the messages."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE, TetradError
from tetrad.serving._body import Fields, append, array_field, is_empty_array, prepend
from tetrad.serving._model import ReleaseRoute
from tetrad.serving._operations import Operation
from tetrad.serving.errors import BadRouteTable, RequestRefused

PLACEHOLDER = "placeholder"
_COUNTED = frozenset(("tools", "tool_choice", "thinking", "output_config"))
"""What of a release's parameters changes how many tokens a request has, and may be sent to be counted."""


class _Items(msgspec.Struct, frozen=True, gc=False):
    """A prompt in pieces that are joined to a request's: `system` as blocks, and as it is where the client has none."""

    system: bytes
    alone: bytes
    before: bytes
    after: bytes


class MessagesShape:
    """How one release looks in Anthropic's protocol; raises `BadRouteTable` for parameters that cannot be read.

    `unsaid` are the parameters that this protocol has no words for, by their names in chat completions.
    """

    __slots__ = ("_digest", "_fixed", "_params", "_static", "unsaid")

    def __init__(self, route: ReleaseRoute, operation: Operation) -> None:
        from tetrad.serving.translation.chat_to_messages import say_params

        self._digest = route.digest
        try:
            params, self.unsaid = say_params(route.params)
            fixed = {name: say_params({name: route.params[name]})[0] for name in route.fixed if name in route.params}
        except (TetradError, *UNREADABLE) as error:
            raise BadRouteTable(f"the parameters of release {route.digest} are broken: {error}") from None
        if operation.name == "count_tokens":
            params = {name: value for name, value in params.items() if name in _COUNTED}
            self.unsaid = {}
        self._params = params
        self._fixed = {field for fields in fixed.values() for field in fields if field in params}
        self._static: _Items | None = None

    @property
    def ready(self) -> bool:
        """Tell whether a prompt that never changes has been said before."""
        return self._static is not None

    def apply(self, fields: Fields, messages: list[dict[str, Any]] | None) -> None:
        """Put a prompt, given as chat messages, and parameters into a request's fields; None repeats the last one."""
        items = self._static if messages is None else self._said(messages)
        if items is None:
            raise TetradError("a prompt must be rendered before it is repeated")
        self._static = items
        joined = prepend(items.before, array_field(fields, "messages"))
        if items.after:
            joined = append(joined, items.after)
        if is_empty_array(joined):
            raise RequestRefused(
                "there is no message: the release has no prompt and the request no messages",
                param="messages",
                code="missing_field",
            )
        fields["messages"] = msgspec.Raw(joined)
        if items.alone:
            fields["system"] = msgspec.Raw(_with(items, fields.get("system")))
        for name, value in self._params.items():
            given = fields.get(name)
            if given is None or bytes(given) == b"null":
                fields[name] = value
            elif name in self._fixed and bytes(given) != bytes(value):
                raise RequestRefused(
                    f"the release fixes {name!r} at {bytes(value)[:200].decode('utf-8', 'replace')}",
                    param=name,
                    hint=f"leave {name!r} out of the request",
                    code="param_fixed",
                )

    @staticmethod
    def _said(messages: list[dict[str, Any]]) -> _Items:
        from tetrad.serving.translation.chat_to_messages import say_messages

        place = next((n for n, message in enumerate(messages) if message["role"] == PLACEHOLDER), len(messages))
        system, before = say_messages([*messages[:place]])
        later, after = say_messages([*messages[place + 1 :]])
        blocks = [*_blocks(system), *_blocks(later)]
        plain = len(blocks) == 1 and set(blocks[0]) == {"type", "text"}
        alone = msgspec.json.encode(blocks[0]["text"] if plain else blocks) if blocks else b""
        return _Items(_items(blocks), alone, _items(before), _items(after))


def _blocks(system: str | list[dict[str, Any]] | None) -> list[dict[str, Any]]:
    return [{"type": "text", "text": system}] if isinstance(system, str) else system or []


def _items(values: list[dict[str, Any]]) -> bytes:
    return msgspec.json.encode(values)[1:-1]


def _with(items: _Items, given: msgspec.Raw | None) -> bytes:
    """Return the release's instructions, the client's behind them."""
    data = b"" if given is None else bytes(given)
    if data in (b"", b"null", b'""') or is_empty_array(data):
        return items.alone
    if data[:1] == b'"':
        return b"[" + items.system + b',{"type":"text","text":' + data + b"}]"
    if data[:1] == b"[":
        return prepend(items.system, data)
    raise RequestRefused("the field 'system' must be a string or an array", param="system", code="bad_field")
