"""Protocols said in other protocols' words: requests one way, answers, errors and streams back. Pure, without I/O.

`TRANSLATORS` holds one function per pair (operation of the client, operation of the upstream). A protocol that is
translated to and from `chat` reaches every other one: `find` joins two translators where there is no direct one.
"""

from tetrad.serving.translation._kinds import EventTranslator, Translation, Translator
from tetrad.serving.translation._registry import TRANSLATORS, find
from tetrad.serving.translation.anthropic_signatures import is_sealed_thought, maker_of, read_thought
from tetrad.serving.translation.chat_to_mistral import said_plainly
from tetrad.serving.translation.converse_answers import ConverseEvent, read_converse, read_converse_event
from tetrad.serving.translation.gemini_answers import GeminiAnswer, read_gemini, read_gemini_error
from tetrad.serving.translation.usage import MessagesUsage, read_messages_usage, units_of_chat, usage_of_chat

__all__ = [
    "TRANSLATORS",
    "ConverseEvent",
    "EventTranslator",
    "GeminiAnswer",
    "MessagesUsage",
    "Translation",
    "Translator",
    "find",
    "is_sealed_thought",
    "maker_of",
    "read_converse",
    "read_converse_event",
    "read_gemini",
    "read_gemini_error",
    "read_messages_usage",
    "read_thought",
    "said_plainly",
    "units_of_chat",
    "usage_of_chat",
]
