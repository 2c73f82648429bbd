"""A release's parameters, which are those of chat completions, in the words of Responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from tetrad.serving._body import Fields, with_tools
from tetrad.serving.errors import RequestRefused

_SAME = frozenset(
    ("temperature", "top_p", "top_logprobs", "parallel_tool_calls", "service_tier", "user", "metadata", "store",
     "safety_identifier", "prompt_cache_key", "prompt_cache_retention")
)  # fmt: skip
_NAMES = {
    "max_tokens": ("", "max_output_tokens"),
    "max_completion_tokens": ("", "max_output_tokens"),
    "reasoning_effort": ("reasoning", "effort"),
    "verbosity": ("text", "verbosity"),
    "response_format": ("text", "format"),
    "tools": ("", "tools"),
    "tool_choice": ("", "tool_choice"),
}
_object = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)


class ItemParam(NamedTuple):
    """One parameter: a field of the request, or of the object `parent` in it."""

    parent: str
    name: str
    value: bytes
    fixed: bool

    @property
    def path(self) -> str:
        """How people name it."""
        return f"{self.parent}.{self.name}" if self.parent else self.name

    def put(self, fields: Fields) -> None:
        """Set it where the client said nothing; refuse another value where the release fixes it."""
        if not self.parent:
            self._put(fields)
            return
        raw = fields.get(self.parent)
        try:
            inner = {} if raw is None else _object.decode(raw) or {}
        except msgspec.MsgspecError:
            raise RequestRefused(
                f"the field {self.parent!r} must be an object", param=self.parent, code="bad_field"
            ) from None
        self._put(inner)
        fields[self.parent] = msgspec.Raw(msgspec.json.encode(inner))

    def _put(self, fields: Fields) -> None:
        given = fields.get(self.name)
        said = given is not None and bytes(given) != b"null"
        if said and self.fixed and given is not None and bytes(given) != self.value:
            raise RequestRefused(
                f"the release fixes {self.path!r} at {self.value[:200].decode('utf-8', 'replace')}",
                param=self.path,
                hint=f"leave {self.path!r} out of the request",
                code="param_fixed",
            )
        if said and self.name == "tools" and not self.fixed and given is not None:
            fields[self.name] = msgspec.Raw(with_tools(self.value, bytes(given)))
        elif self.fixed or not said:
            fields[self.name] = msgspec.Raw(self.value)


def item_params(
    params: Mapping[str, msgspec.Raw], fixed: frozenset[str]
) -> tuple[tuple[ItemParam, ...], dict[str, msgspec.Raw]]:
    """Return the parameters that Responses can say, and those that it cannot, by their names in chat completions."""
    said, unsaid = [], {}
    for name, raw in params.items():
        parent, own = ("", name) if name in _SAME else _NAMES.get(name, ("", ""))
        if not own:
            unsaid[name] = raw
            continue
        value = msgspec.json.encode(_flat(name, msgspec.json.decode(raw))) if name in _FLATTENED else bytes(raw)
        said.append(ItemParam(parent, own, value, name in fixed))
    return tuple(said), unsaid


_FLATTENED = {"response_format": "json_schema", "tools": "function", "tool_choice": "function"}


def _flat(name: str, value: Any) -> Any:
    """Responses say `{"type": "function", "name": …}` where chat completions nest: `{"function": {"name": …}}`."""
    if isinstance(value, list):
        return [_flat(name, each) for each in value]
    inner = value.get(_FLATTENED[name]) if isinstance(value, dict) else None
    if not isinstance(inner, dict):
        return value
    return {"type": value.get("type", _FLATTENED[name]), **inner}
