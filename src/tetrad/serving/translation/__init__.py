"""Protocols said in other protocols' words: requests one way, answers, errors and streams back. Pure, without I/O.

`TRANSLATORS` holds one function per pair (operation of the client, operation of the upstream). A protocol that is
translated to and from `chat` reaches every other one: `find` joins two translators where there is no direct one.
"""

from tetrad.serving.translation._kinds import EventTranslator, Translation, Translator
from tetrad.serving.translation._registry import TRANSLATORS, find
from tetrad.serving.translation.usage import MessagesUsage, read_messages_usage, units_of_chat, usage_of_chat

__all__ = [
    "TRANSLATORS",
    "EventTranslator",
    "MessagesUsage",
    "Translation",
    "Translator",
    "find",
    "read_messages_usage",
    "units_of_chat",
    "usage_of_chat",
]
