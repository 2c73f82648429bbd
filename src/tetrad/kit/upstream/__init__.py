"""An HTTP/1.1 client for the hot path: keep-alive pool, deadlines, back-pressure, nothing else.

Built on asyncio protocols and httptools because a general client costs more than the whole gateway: see
`docs/decisions/0003-gateway-hot-path.md`.
"""

from tetrad.kit.upstream._address import Address, Origin, parse_address
from tetrad.kit.upstream._client import Client, PreparedRequest
from tetrad.kit.upstream._connection import Response
from tetrad.kit.upstream._errors import (
    BadRequest,
    BrokenAnswer,
    ConnectFailed,
    ConnectionLost,
    NotAllowed,
    TimedOut,
    UpstreamBusy,
    UpstreamFailure,
)
from tetrad.kit.upstream._limits import Limits, Timeouts

__all__ = [
    "Address",
    "BadRequest",
    "BrokenAnswer",
    "Client",
    "ConnectFailed",
    "ConnectionLost",
    "Limits",
    "NotAllowed",
    "Origin",
    "PreparedRequest",
    "Response",
    "TimedOut",
    "Timeouts",
    "UpstreamBusy",
    "UpstreamFailure",
    "parse_address",
]
