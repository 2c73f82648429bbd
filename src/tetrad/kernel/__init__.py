"""Values and pure rules that every tier may use. No I/O, no framework."""

from tetrad.kernel.assign import WHOLE, assign, bucket
from tetrad.kernel.canonical_json import NotCanonical, canonical_json, parse_json
from tetrad.kernel.clock import Clock, FixedClock, SystemClock
from tetrad.kernel.digest import Digest, digest_bytes, digest_json, parse_digest, short
from tetrad.kernel.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    MissingExtra,
    NotFound,
    Overloaded,
    TetradError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    precondition_required,
)
from tetrad.kernel.ids import new_id, new_span_id, new_trace_id, uuid7
from tetrad.kernel.json_depth import nests_deeper
from tetrad.kernel.money import Money
from tetrad.kernel.principal import Principal
from tetrad.kernel.unreadable import UNREADABLE
from tetrad.kernel.usage import MOST_TOKENS, UNITS, DoubtfulUsage, Usage, usage_of_parts

__all__ = [
    "MOST_TOKENS",
    "UNITS",
    "UNREADABLE",
    "WHOLE",
    "Clock",
    "Conflict",
    "Digest",
    "DoubtfulUsage",
    "FixedClock",
    "Forbidden",
    "InvalidInput",
    "MissingExtra",
    "Money",
    "NotCanonical",
    "NotFound",
    "Overloaded",
    "Principal",
    "SystemClock",
    "TetradError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "Usage",
    "assign",
    "bucket",
    "canonical_json",
    "digest_bytes",
    "digest_json",
    "nests_deeper",
    "new_id",
    "new_span_id",
    "new_trace_id",
    "parse_digest",
    "parse_json",
    "precondition_required",
    "short",
    "usage_of_parts",
    "uuid7",
]
