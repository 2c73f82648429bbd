"""Stored responses: what clients of OpenAI's Responses come back to."""

from tetrad.responses._model import Conversation, ItemPage, KeptResponse, ResponseLimits
from tetrad.responses._service import Responses
from tetrad.responses._settings import SETTINGS, limits_from
from tetrad.responses.errors import BadResponse, ResponseNotFound, ResponseTooLarge, TooManyResponses

__all__ = [
    "SETTINGS",
    "BadResponse",
    "Conversation",
    "ItemPage",
    "KeptResponse",
    "ResponseLimits",
    "ResponseNotFound",
    "ResponseTooLarge",
    "Responses",
    "TooManyResponses",
    "limits_from",
]
