"""What all translators of requests share: reading leniently, refusing exactly, and noting what gets lost."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from tetrad.kernel import UNREADABLE
from tetrad.serving.errors import RequestRefused
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._kinds import Translation, Translator


class Losses:
    """What of a request the other protocol cannot say, by path, such as `messages[0].content[1]`.

    `strict` refuses the first of them instead.
    """

    def __init__(self, strict: bool) -> None:
        self._strict = strict
        self._paths: dict[str, None] = {}

    @property
    def paths(self) -> tuple[str, ...]:
        """The losses so far, in the order of the request."""
        return tuple(self._paths)

    def lose(self, path: str) -> None:
        """Note that something is left out."""
        if self._strict:
            raise RequestRefused(
                f"the upstream's protocol cannot say {path!r}",
                param=path,
                hint="leave it out, or send the header x-tetrad-translation: lossy",
                code="cannot_translate",
            )
        self._paths[path] = None

    def rest(self, value: Mapping[str, Any], said: Collection[str], path: str) -> None:
        """Note every field of an object that is not among those that were `said`; null says nothing."""
        for name, item in value.items():
            if name not in said and item is not None:
                self.lose(f"{path}.{name}" if path else name)


def bad(path: str, wanted: str) -> RequestRefused:
    """Return the refusal of a field that is malformed by the client's own protocol."""
    return RequestRefused(f"{path} must be {wanted}", param=path, code="bad_field")


def no_role(role: Any, path: str, losses: Losses) -> None:
    """Lose a chat message of the role `function`, which has gone out of use; refuse one whose role is none at all.

    A message that is left out changes what is asked, and a header is easily overlooked.
    """
    if role != "function":
        raise bad(f"{path}.role", "'system', 'developer', 'user', 'assistant' or 'tool'")
    losses.lose(path)


def as_object(value: Any, path: str) -> dict[str, Any]:
    """Return an object, or refuse what is none."""
    if not isinstance(value, dict):
        raise bad(path, "an object")
    return value


def as_list(value: Any, path: str) -> list[Any]:
    """Return an array, or refuse what is none."""
    if not isinstance(value, list):
        raise bad(path, "an array")
    return value


def as_text(value: Any, path: str) -> str:
    """Return a string, or refuse what is none."""
    if not isinstance(value, str):
        raise bad(path, "a string")
    return value


def as_count(value: Any, path: str) -> int:
    """Return a whole number that is not negative, or refuse what is none."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise bad(path, "a whole number, 0 or more")
    return value


def decoded(fields: Mapping[str, msgspec.Raw]) -> dict[str, Any]:
    """Return the whole body as plain values; fields that are null are as good as absent."""
    body = {name: msgspec.json.decode(raw) for name, raw in fields.items()}
    return {name: value for name, value in body.items() if value is not None}


def encoded(body: Mapping[str, Any]) -> dict[str, msgspec.Raw]:
    """Return a body by field, each ready to be sent."""
    return {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in body.items()}


def guarded(translate: Translator) -> Translator:
    """Let a translator of requests raise nothing but `TetradError`, whatever the request holds."""

    def safely(call: ModelCall, strict: bool) -> Translation:
        try:
            return translate(call, strict)
        except (*UNREADABLE, OverflowError) as error:
            raise RequestRefused(
                f"the request cannot be translated: {error}", hint="send plain JSON", code="malformed_json"
            ) from None

    return safely
