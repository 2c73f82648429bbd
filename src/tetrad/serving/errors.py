"""What can go wrong with requests, route tables and engines."""

from __future__ import annotations

import msgspec

from tetrad.kernel import UNREADABLE, InvalidInput, NotFound, TetradError, Unavailable


class EngineNotFound(NotFound):
    """No engine has that name."""

    code = "engine_not_found"


class BadEngineSpec(InvalidInput):
    """An engine cannot be described that way."""

    code = "bad_engine_spec"


class EngineUnusable(Unavailable):
    """The engine cannot run as it is described, and trying again cannot help: a damaged model, a missing part."""

    code = "engine_unusable"


class EngineFailed(Unavailable):
    """The engine did not start, died, hangs or answers wrongly; trying again may help."""

    code = "engine_failed"
    next_step = "`tetrad status` and `tetrad logs worker` tell how the engine does"


class RequestRefused(InvalidInput):
    """A client's request cannot be served as it is; `param` names the field at fault."""

    next_step = "correct it before you send it again"

    def __init__(
        self, message: str, *, param: str = "", hint: str = "", code: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code, status=status)
        self.param = param


class BindingBroken(Unavailable):
    """What a release's model is bound to is gone or cannot be used; other refs and apps go on."""

    code = "binding_broken"
    next_step = "`tetrad status` names it; bind the model to something that is there"


class BadAnswer(Unavailable):
    """An upstream's answer is not what its protocol says."""

    code = "upstream_broken"
    status = 502
    next_step = "check that the provider speaks the protocol that it is set to, and what stands between"


class StreamBroken(Unavailable):
    """An upstream's stream ended before the answer did."""

    code = "stream_truncated"
    status = 502
    next_step = "try again; if it happens often, what runs there or stands between ends connections"


class StreamCut(TetradError):
    """A stream of numbered events ends before its last one; whoever comes back goes on after `sequence_number`."""

    def __init__(self, why: TetradError, sequence_number: int) -> None:
        super().__init__(why.message, hint=why.hint, code=why.code, status=why.status, retry_after_s=why.retry_after_s)
        self.sequence_number = sequence_number


class OutputViolated(Unavailable):
    """A model's answer does not fit the output schema or the tools of its release."""

    code = "output_schema_violated"
    status = 502
    next_step = "try again; the trace holds the answer"


class BadRouteTable(TetradError):
    """A route table contradicts itself; a gateway keeps the one it has."""

    code = "bad_route_table"
    next_step = "`tetrad status` names it; correct what it was made from"


_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_ANTHROPIC_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


def error_body(error: TetradError, dialect: str = "openai", request_id: str = "") -> bytes:
    """Return the body by which a protocol tells an error; what to do next is part of the message.

    The id of the request is in it where the protocol has it there.
    """
    status = error.status
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    if dialect == "anthropic":
        kind = _ANTHROPIC_TYPES.get(status) or ("invalid_request_error" if status < 500 else "api_error")
        told = {"type": "error", "error": {"type": kind, "message": message, "code": error.code}}
        return msgspec.json.encode({**told, "request_id": request_id} if request_id else told)
    kind = _TYPES.get(status) or ("invalid_request_error" if status < 500 else "server_error")
    param = getattr(error, "param", "") or None
    return msgspec.json.encode({"error": {"message": message, "type": kind, "code": error.code, "param": param}})


def error_event(error: TetradError, dialect: str = "openai", *, number: int = 0, request_id: str = "") -> bytes:
    """Return the server-sent event by which a protocol tells an error in the middle of a stream.

    `number` is the event's own, in protocols that number events; a stream that can be gone on with says where instead.
    """
    if dialect == "responses":
        message = f"{error.message} ({error.hint})" if error.hint else error.message
        param = getattr(error, "param", "") or None
        number = error.sequence_number if isinstance(error, StreamCut) else number
        said = {
            "type": "error", "code": error.code, "message": message, "param": param, "sequence_number": number
        }  # fmt: skip
        return b"event: error\ndata: " + msgspec.json.encode(said) + b"\n\n"
    name = b"event: error\n" if dialect == "anthropic" else b""
    return name + b"data: " + error_body(error, dialect, request_id) + b"\n\n"


def identified_error(body: bytes, request_id: str) -> bytes:
    """Return an error in Anthropic's words with the id of its request, where it has none and is one."""
    try:
        said = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    except UNREADABLE:
        return body
    if "error" not in said or said.get("request_id", b"null") != b"null":
        return body
    return msgspec.json.encode({**said, "request_id": request_id})


class BadProvider(InvalidInput):
    """A provider cannot be described that way."""

    code = "bad_provider"


class ProviderNotFound(NotFound):
    """The project has no provider of that name."""

    code = "provider_not_found"


class BadRoute(InvalidInput):
    """A route cannot be described that way."""

    code = "bad_route"


class RouteNotFound(NotFound):
    """The project has no route of that name."""

    code = "route_not_found"


class NoTarget(InvalidInput):
    """No target of a route may answer this request, by its labels."""

    code = "no_target_for_request"


class DeadlinePassed(TetradError):
    """The request's own deadline passed before any model had answered."""

    code = "deadline_exceeded"
    status = 504
    next_step = "try again, or allow more time"
