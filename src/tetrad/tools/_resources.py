"""Resources, prompts and what completes them, as far as a message that names one has to be judged. Pure rules."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tetrad.tools._rpc import INVALID_PARAMS, Fields, Message
from tetrad.tools.errors import BadMessage

BY_ADDRESS = frozenset(("resources/read", "resources/subscribe", "resources/unsubscribe"))
COMPLETE = "completion/complete"
SUBSCRIPTIONS = "resourceSubscriptions"
_fields = msgspec.json.Decoder(Fields)
_text = msgspec.json.Decoder(str)
_texts = msgspec.json.Decoder(list[str])
_encode = msgspec.json.encode


class Reference(msgspec.Struct, frozen=True):
    """What a completion is for: a prompt by its name, or a resource or a template of some by its address."""

    is_prompt: bool
    target: str
    fields: Fields

    def renamed(self, target: str) -> msgspec.Raw:
        """Return it with another name or address."""
        return msgspec.Raw(_encode({**self.fields, "name" if self.is_prompt else "uri": target}))


def reference_of(message: Message) -> Reference:
    """Return what a completion is for; raises `BadMessage`."""
    try:
        fields = _fields.decode((message.params or {})["ref"])
        is_prompt = {"ref/prompt": True, "ref/resource": False}[_text.decode(fields["type"])]
        return Reference(is_prompt, _text.decode(fields["name" if is_prompt else "uri"]), fields)
    except (KeyError, msgspec.MsgspecError, RecursionError):
        raise BadMessage(
            "params.ref says nothing that can be completed",
            number=INVALID_PARAMS,
            hint='{"type": "ref/prompt", "name": …} or {"type": "ref/resource", "uri": …}',
        ) from None


def filter_of(message: Message) -> tuple[Fields, list[str]]:
    """Return what a client subscribes to, and the addresses in it; raises `BadMessage`."""
    try:
        wanted = _fields.decode((message.params or {}).get("notifications", b"{}"))
        return wanted, _texts.decode(wanted[SUBSCRIPTIONS]) if SUBSCRIPTIONS in wanted else []
    except (msgspec.MsgspecError, RecursionError):
        raise BadMessage(
            "params.notifications is no filter of notifications",
            number=INVALID_PARAMS,
            hint=f"{SUBSCRIPTIONS} lists addresses",
        ) from None


def narrowed(message: Message, change: Callable[[list[str]], list[str]]) -> Message:
    """Return a subscription to what `change` makes of its addresses; one without any as it is."""
    wanted, uris = filter_of(message)
    if SUBSCRIPTIONS not in wanted:
        return message
    kept = msgspec.Raw(_encode({**wanted, SUBSCRIPTIONS: change(uris)}))
    return msgspec.structs.replace(message, params={**(message.params or {}), "notifications": kept})
