"""What can go wrong between us and an upstream."""

from __future__ import annotations

from tetrad.kernel import InvalidInput, TetradError


class BadRequest(InvalidInput):
    """The request cannot be put on the wire safely; nothing was sent."""

    code = "bad_upstream_request"


class UpstreamFailure(TetradError):
    """The call got no whole answer."""

    code = "upstream_failed"
    status = 502


class ConnectFailed(UpstreamFailure):
    """No connection: refused, unknown host, bad certificate. Nothing was sent."""

    code = "upstream_unreachable"
    status = 503


class NotAllowed(ConnectFailed):
    """The egress policy allows no connection there. Nothing was sent, and no address is told."""

    code = "egress_refused"


class UpstreamBusy(UpstreamFailure):
    """All connections are taken and the queue is full, or waiting took too long. Nothing was sent."""

    code = "upstream_busy"
    status = 503


class TimedOut(UpstreamFailure):
    """A deadline passed."""

    code = "upstream_timeout"
    status = 504


class BrokenAnswer(UpstreamFailure):
    """The upstream does not speak HTTP/1.1 as it must, or answered past a limit."""

    code = "upstream_broken"


class ConnectionLost(UpstreamFailure):
    """The connection ended before the answer did; `received` tells whether any of the answer had come."""

    code = "upstream_lost"

    def __init__(self, message: str, *, received: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.received = received
