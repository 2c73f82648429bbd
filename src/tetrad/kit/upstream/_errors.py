"""What can go wrong between us and an upstream."""

from __future__ import annotations

from tetrad.kernel import InvalidInput, TetradError


class BadRequest(InvalidInput):
    """The request cannot be put on the wire safely; nothing was sent."""

    code = "bad_upstream_request"
    next_step = "correct the name, the header or the address that it speaks of"


class UpstreamFailure(TetradError):
    """The call got no whole answer."""

    code = "upstream_failed"
    status = 502
    next_step = "try again; the log and the trace tell more"


class ConnectFailed(UpstreamFailure):
    """No connection: refused, unknown host, bad certificate. Nothing was sent."""

    code = "upstream_unreachable"
    status = 503
    next_step = "check that it runs, that its name and port are right, and that its certificate is good; then try again"


class NotAllowed(ConnectFailed):
    """The egress policy allows no connection there. Nothing was sent, and no address is told."""

    code = "egress_refused"
    next_step = "ask an administrator: the provider's addresses, or what they may be, were set otherwise"


class UpstreamBusy(UpstreamFailure):
    """All connections are taken and the queue is full, or waiting took too long. Nothing was sent."""

    code = "upstream_busy"
    status = 503
    next_step = "try again in a moment"


class TimedOut(UpstreamFailure):
    """A deadline passed."""

    code = "upstream_timeout"
    status = 504
    next_step = "try again, ask for less, or raise its timeout"


class BrokenAnswer(UpstreamFailure):
    """The upstream does not speak HTTP/1.1 as it must, or answered past a limit."""

    code = "upstream_broken"
    next_step = "check that its base URL is that of such an API, and what stands between; try again"


class ConnectionLost(UpstreamFailure):
    """The connection ended before the answer did; `received` tells whether any of the answer had come."""

    code = "upstream_lost"
    next_step = "try again; if it happens often, what runs there or stands between ends connections"

    def __init__(self, message: str, *, received: bool, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.received = received
