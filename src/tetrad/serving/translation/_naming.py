"""Fields of a request that was translated twice, named in the words of its client."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

import msgspec

from tetrad.serving.errors import RequestRefused

_WORDS: dict[tuple[str, str], dict[str, tuple[str, ...]]] = {
    ("messages", "chat"): {
        "user": ("metadata.user_id",),
        "stop": ("stop_sequences",),
        "max_completion_tokens": ("max_tokens",),
        "parallel_tool_calls": ("tool_choice.disable_parallel_tool_use",),
        "response_format": ("output_config.format",),
        "reasoning_effort": ("output_config.effort", "thinking"),
    },
    ("responses", "chat"): {
        "logprobs": ("include",),
        "max_completion_tokens": ("max_output_tokens",),
        "response_format": ("text.format",),
        "verbosity": ("text.verbosity",),
        "reasoning_effort": ("reasoning.effort",),
    },
    ("chat", "messages"): {
        "thinking": ("thinking", "reasoning_effort"),
        "output_config.effort": ("reasoning_effort",),
        "output_config.format": ("response_format",),
        "tool_choice.disable_parallel_tool_use": ("parallel_tool_calls",),
        "stop_sequences": ("stop",),
        "metadata.user_id": ("user",),
        "max_tokens": ("max_completion_tokens", "max_tokens"),
        "system": ("messages",),
    },
}
"""By (client, what lies between): fields as they were said on the way, and what the client may have said; the first
that it did say is meant."""
_TALK = {"messages": "messages", "responses": "input", "completions": "prompt", "chat": "messages"}
_TOOLS = {
    ("messages", "chat"): (re.compile(r"\.function(?:\.parameters)?"), {".function.parameters": ".input_schema"}),
    ("responses", "chat"): (re.compile(r"\.function"), {}),
    ("chat", "messages"): (re.compile(r"\.(?:input_schema|strict|name|description)"), {
        ".input_schema": ".function.parameters", ".strict": ".function.strict", ".name": ".function.name",
        ".description": ".function.description"}),
}  # fmt: skip
_PLACE = re.compile(r"(messages|tools)\[(\d+)\](.*)", re.DOTALL)
_SOURCE = re.compile(r"\.(?:image_url|file)\b.*", re.DOTALL)


class Naming:
    """Names for what the second translator says of a request.

    `origins` tells for each message on the way which one of the client's it was, and whether its parts still stand at
    the same places; where that is not known, only the whole conversation is named. `lost` is what the first left out.
    `placing`, which is called where something is to be named, returns what knows messages better than `origins` do.
    """

    def __init__(
        self,
        client: str,
        between: str,
        said: Mapping[str, msgspec.Raw],
        origins: Sequence[tuple[str, bool]] = (),
        lost: Collection[str] = (),
        placing: Callable[[], Callable[[int, str], str]] | None = None,
    ) -> None:
        self._placing = placing
        self._place: Callable[[int, str], str] | None = None
        self._pair = client, between
        self._said = said
        self._origins = origins
        some_tools = bytes(said.get("tool_choice", b"")).find(b'"allowed_tools"') >= 0
        self._tools_moved = some_tools or any(path.startswith("tools[") for path in lost)

    def of(self, path: str) -> str:
        """Return a field in the client's words; as it is where they are the same, or not known."""
        words = _WORDS.get(self._pair, {})
        for known, meant in words.items():
            if path == known or path.startswith((known + ".", known + "[")):
                return next((name for name in meant if name.partition(".")[0] in self._said), meant[-1])
        place = _PLACE.fullmatch(path)
        if place is None or self._pair[0] not in _TALK:
            return _TALK.get(self._pair[0], path) if path == "messages" else path
        if place[1] == "messages":
            return self._message(int(place[2]), place[3])
        return "tools" if self._tools_moved else f"tools[{place[2]}]{self._of_tool(place[3])}"

    def refusal(self, refused: RequestRefused) -> RequestRefused:
        """Return a refusal with the field named in the client's words."""
        name = self.of(refused.param) if refused.param else ""
        if name == refused.param:
            return refused
        message = refused.message.replace(refused.param, name)
        return RequestRefused(message, param=name, hint=refused.hint, code=refused.code, status=refused.status)

    def _message(self, number: int, rest: str) -> str:
        if self._placing is not None:
            self._place = self._place or self._placing()
            return self._place(number, rest)
        if number >= len(self._origins):
            return _TALK[self._pair[0]]
        origin, same = self._origins[number]
        return origin + (_SOURCE.sub(".source", rest) if same else "")

    def _of_tool(self, rest: str) -> str:
        pattern, words = _TOOLS.get(self._pair, (None, {}))
        return rest if pattern is None else pattern.sub(lambda found: words.get(found[0], ""), rest, count=1)
