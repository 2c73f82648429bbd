"""Stored responses: what clients of OpenAI's Responses come back to."""

from tetrad.responses._model import Conversation, ItemPage, KeptConversation, KeptResponse, ResponseLimits
from tetrad.responses._service import Responses
from tetrad.responses._settings import SETTINGS, limits_from
from tetrad.responses.errors import (
    BadResponse,
    ConversationNotFound,
    ResponseNotFound,
    ResponseTooLarge,
    TooManyResponses,
)

__all__ = [
    "SETTINGS",
    "BadResponse",
    "Conversation",
    "ConversationNotFound",
    "ItemPage",
    "KeptConversation",
    "KeptResponse",
    "ResponseLimits",
    "ResponseNotFound",
    "ResponseTooLarge",
    "Responses",
    "TooManyResponses",
    "limits_from",
]
