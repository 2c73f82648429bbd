"""Errors on the wire: problem+JSON (RFC 9457), always the same shape."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.responses import Response

from tetrad.kernel import Conflict, InvalidInput, NotFound, Overloaded, TetradError, TooLarge, Unavailable
from tetrad.kit.http._facts import facts_of

log = logging.getLogger("tetrad.http")
PROBLEM_TYPE = "application/problem+json"
_MAX_ERRORS = 50
_MAX_TEXT = 500


class ProblemDetail(BaseModel):
    """One field that was wrong: where it stands, and why."""

    loc: list[str]
    msg: str


class Problem(BaseModel):
    """What every refused request answers: `code` is for machines, `detail` and `hint` are for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    hint: str = ""
    request_id: str = ""
    errors: list[ProblemDetail] | None = None


_SCHEMAS = "#/components/schemas/{model}"
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "The request was refused or failed",
        "content": {PROBLEM_TYPE: {"schema": {"$ref": _SCHEMAS.format(model="Problem")}}},
    }
}
"""Give these to `FastAPI(responses=…)`, so that the OpenAPI document tells the shape of errors.

They name the schema themselves: FastAPI would make a validator of a `model` for each route, and never use it.
"""


def problem_response(
    error: TetradError, *, request_id: str = "", errors: Sequence[ProblemDetail] | None = None
) -> Response:
    """Render an error; `Retry-After` and `WWW-Authenticate` come with the statuses that need them."""
    problem: dict[str, Any] = {
        "type": f"about:blank#{error.code}",
        "title": HTTPStatus(error.status).phrase if error.status in _STATUSES else "Error",
        "status": error.status,
        "detail": error.message,
        "code": error.code,
        "hint": error.hint,
        "request_id": request_id,
    }
    if errors is None and error.details:
        errors = [ProblemDetail(loc=list(place), msg=message) for place, message in error.details]
    if errors is not None:
        problem["errors"] = [detail.model_dump() for detail in errors]
    headers = {"cache-control": "no-store"}
    if error.retry_after_s is not None:
        headers["retry-after"] = str(max(1, math.ceil(error.retry_after_s)))
    if error.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = 'Bearer realm="tetrad"'
    body = json.dumps(problem, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return Response(body, status_code=error.status, headers=headers, media_type=PROBLEM_TYPE)


def render_problems(app: FastAPI) -> None:
    """Make an app answer all its errors as problem+JSON."""

    async def on_ours(request: Request, error: Exception) -> Response:
        assert isinstance(error, TetradError)  # noqa: S101 - registered for this type only
        if error.status >= 500:
            log.error("%s: %s", error.code, error.message, extra={"request_id": facts_of(request.scope).request_id})
        return problem_response(error, request_id=facts_of(request.scope).request_id)

    async def on_invalid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for this type only
        details = _details(error.errors())
        first = details[0] if details else ProblemDetail(loc=[], msg="the request is invalid")
        said = InvalidInput(
            f"{'.'.join(first.loc) or 'the request'}: {first.msg}"
            + (f" (and {len(details) - 1} more)" if len(details) > 1 else ""),
            hint="correct the fields that `errors` names",
        )
        return problem_response(said, request_id=facts_of(request.scope).request_id, errors=details)

    async def on_http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for this type only
        response = problem_response(_from_http(request, error), request_id=facts_of(request.scope).request_id)
        for name, value in (error.headers or {}).items():
            response.headers[name] = value
        return response

    _describe(app)
    app.add_exception_handler(TetradError, on_ours)
    app.add_exception_handler(RequestValidationError, on_invalid)
    app.add_exception_handler(HTTPException, on_http)


def _describe(app: FastAPI) -> None:
    """Put the schema of problems into an app's OpenAPI document."""
    told = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _, problems = models_json_schema([(Problem, "serialization")], ref_template=_SCHEMAS)
            schemas = told().setdefault("components", {}).setdefault("schemas", {})
            schemas.update(problems["$defs"])
        return told()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI documents it ("Extending OpenAPI")


def _details(errors: Sequence[Any]) -> list[ProblemDetail]:
    # Never the input itself: it may be a secret, and it may be large.
    return [
        ProblemDetail(loc=[str(part)[:_MAX_TEXT] for part in each["loc"]], msg=str(each["msg"])[:_MAX_TEXT])
        for each in errors[:_MAX_ERRORS]
    ]


def _from_http(request: Request, error: HTTPException) -> TetradError:
    status, path = error.status_code, request.url.path[:200]
    if status == HTTPStatus.NOT_FOUND and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return NotFound(f"there is nothing at {path!r}", hint="`/openapi.json` lists the API's paths")
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return TetradError(
            f"{path!r} does not take {request.method}",
            hint="the `allow` header lists what it takes",
            code="method_not_allowed",
            status=status,
        )
    kind = _KINDS.get(status)
    if kind is not None:
        return kind(str(error.detail))
    return TetradError(str(error.detail), code="http_error", status=status)


_STATUSES = frozenset(int(status) for status in HTTPStatus)
_KINDS: dict[int, type[TetradError]] = {
    400: InvalidInput,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    429: Overloaded,
    503: Unavailable,
}
