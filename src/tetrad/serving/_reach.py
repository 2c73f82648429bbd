"""How far the connections of an upstream reach."""

from __future__ import annotations

from tetrad.kit.egress import OWN, Reach, parse_egress
from tetrad.serving._model import Upstream


def reach_of(upstream: Upstream) -> Reach:
    """Return where calls of an upstream may go; adapters give it to `parse_address` with the base URL."""
    if upstream.egress is None:
        return OWN
    return Reach(parse_egress(upstream.egress), upstream.internal, upstream.ca)
