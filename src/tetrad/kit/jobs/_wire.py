"""How jobs lie in the database: JSON, so that any version and any tool can read them, and no pickle can do harm."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import msgspec
from dbos import Serializer

from tetrad.kernel import TetradError
from tetrad.kit.jobs._model import JobFailed

APPLICATION = "tetrad"
APPLICATION_VERSION = "tetrad-jobs-1"
"""The version of this wire format, not of the product: jobs outlive upgrades, and each job has a version of its own."""
WORKFLOW = "tetrad.job"
SCHEDULED_WORKFLOW = "tetrad.scheduled"
PROGRESS = "progress"


class JsonSerializer(Serializer):
    """Values as JSON; times and errors are marked objects."""

    def serialize(self, data: Any) -> str:
        return json.dumps(data, default=_encode, separators=(",", ":"), allow_nan=False)

    def deserialize(self, serialized_data: str) -> Any:
        return json.loads(serialized_data, object_hook=_decode)

    def name(self) -> str:
        return "tetrad_json"


def _encode(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$time": value.isoformat()}
    if isinstance(value, TetradError):
        return {"$error": {"code": value.code, "message": value.message, "hint": value.hint, "status": value.status}}
    if isinstance(value, BaseException):
        message = f"{type(value).__name__}: {value}"
        return {"$error": {"code": "job_failed", "message": message, "hint": "", "status": 500}}
    return msgspec.to_builtins(value)


def _decode(value: dict[str, Any]) -> Any:
    if value.keys() == {"$time"}:
        return datetime.fromisoformat(value["$time"])
    if value.keys() == {"$error"}:
        error = value["$error"]
        return JobFailed(error["message"], hint=error["hint"], code=error["code"], status=error["status"])
    return value
