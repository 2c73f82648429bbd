"""Which protocols can be said in which others."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from importlib import import_module

from tetrad.serving.ports import ModelCall
from tetrad.serving.translation._chained import chained
from tetrad.serving.translation._kinds import Translation, Translator
from tetrad.serving.translation.functions_to_tools import with_functions

TRANSLATORS: dict[tuple[str, str], str] = {
    ("chat", "messages"): "tetrad.serving.translation.chat_to_messages:translate",
    ("messages", "chat"): "tetrad.serving.translation.messages_to_chat:translate",
    ("completions", "chat"): "tetrad.serving.translation.completions_to_chat:translate",
    ("responses", "chat"): "tetrad.serving.translation.responses_to_chat:translate",
    ("chat", "gemini"): "tetrad.serving.translation.chat_to_gemini:translate",
    ("chat", "responses"): "tetrad.serving.translation.chat_to_responses:translate",
    ("messages", "responses"): "tetrad.serving.translation.messages_to_responses:translate",
    ("embeddings", "vectors"): "tetrad.serving.translation.embeddings_to_vectors:translate",
    ("count_tokens", "gemini_count"): "tetrad.serving.translation.chat_to_gemini:count",
    ("chat", "mistral"): "tetrad.serving.translation.chat_to_mistral:translate",
    ("messages", "converse"): "tetrad.serving.translation.messages_to_converse:translate",
    ("chat", "converse"): "tetrad.serving.translation.messages_to_converse:translate_chat",
    ("count_tokens", "converse_count"): "tetrad.serving.translation.messages_to_converse:count",
    # on the way to a protocol that is neither: with what only that protocol may want back
    ("messages", "chat+"): "tetrad.serving.translation.messages_to_chat:translate_on",
    ("responses", "chat+gemini"): "tetrad.serving.translation.responses_to_chat:translate_to_google",
    ("responses", "chat+messages"): "tetrad.serving.translation.responses_to_chat:translate_to_anthropic",
    ("chat+messages", "messages"): "tetrad.serving.translation.chat_to_messages:translate_on",
    ("responses", "chat+converse"): "tetrad.serving.translation.responses_to_chat:translate_to_anthropic",
    ("chat+converse", "converse"): "tetrad.serving.translation.messages_to_converse:translate_chat_on",
}
"""By (operation of the client, operation of the upstream): `module:function` of a `Translator`, imported when it is
first needed. Operations are those of `tetrad.serving.OPERATIONS`, by name; `chat+` is chat completions that a second
translator takes further, `chat+NAME` where it says them in the operation NAME."""

_PIVOT = "chat"
_found: dict[tuple[str, str], Translator] = {}


def find(operation: str, spoken: Collection[str]) -> Translator | None:
    """Return what says `operation` in one of the operations that an upstream speaks, the first that can be reached.

    Direct translators win over two that meet at `chat`. None where there is no way.
    """
    for target in spoken:
        if (direct := _load(operation, target)) is not None:
            return with_functions(target, direct) if operation == _PIVOT else direct
    for target in spoken:
        for pivot in (f"{_PIVOT}+{target}", f"{_PIVOT}+", _PIVOT):
            near, far = _load(operation, pivot), _load(pivot, target) or _load(_PIVOT, target)
            if near is not None and far is not None:
                return partial(_chain, near, far)
    return None


def _load(operation: str, target: str) -> Translator | None:
    pair = operation, target
    if pair not in _found:
        place = TRANSLATORS.get(pair)
        if place is None:
            return None
        module, _, name = place.partition(":")
        _found[pair] = getattr(import_module(module), name)
    return _found[pair]


def _chain(near: Translator, far: Translator, call: ModelCall, strict: bool) -> Translation:
    first = near(call, strict)
    return chained(call, first, far, first.call, strict)
