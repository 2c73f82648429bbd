"""The stage that refuses calls to an upstream which cannot take them now."""

from __future__ import annotations

from tetrad.kernel import Unavailable
from tetrad.serving._engines import SERVING_STATES
from tetrad.serving._model import ModelEntry, Upstream
from tetrad.serving.ports import Answer, Handler, ModelCall

RETRY_AFTER_S = 2.0


class Readiness:
    """Answer at once, with the reason, instead of running into a connection that must fail."""

    def bind(self, model: ModelEntry, upstream: Upstream, following: Handler) -> Handler:
        """Leave calls to a serving upstream alone."""
        if upstream.state in SERVING_STATES:
            return following

        hint = "try again in a moment; `tetrad status` shows the upstream"
        if upstream.state == "failed":
            hint = "`tetrad status` says why, and what to do"

        async def refuse(_call: ModelCall) -> Answer:
            raise Unavailable(
                f"the model {model.name!r} cannot answer now: its upstream {upstream.name!r} is {upstream.state}",
                hint=hint,
                code="upstream_not_ready",
                retry_after_s=RETRY_AFTER_S,
            )

        return refuse
