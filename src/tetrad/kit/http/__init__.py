"""The control plane's HTTP toolbox: who may call what, problem+JSON, pages, and the guard before all routes."""

from collections.abc import Iterable

from fastapi import FastAPI

from tetrad.kit.http._authorise import (
    PUBLIC,
    AdministersAll,
    CurrentPrincipal,
    RouteFacts,
    current_principal,
    public,
    requires,
    unguarded_routes,
    walk_routes,
)
from tetrad.kit.http._description import serve_description
from tetrad.kit.http._facts import Authenticator, Credential, current_request_id
from tetrad.kit.http._guard import Guard, GuardPolicy, Upload, inline_script_hashes, security_headers
from tetrad.kit.http._pages import (
    Page,
    PageParams,
    PageQuery,
    Search,
    bad_cursor,
    cursor_time,
    cut_page,
    decode_cursor,
    encode_cursor,
    page_of_all,
    parse_sort,
)
from tetrad.kit.http._preconditions import Expected, Precondition, unquoted
from tetrad.kit.http._problems import PROBLEM_RESPONSES, Problem, problem_response, render_problems
from tetrad.kit.http._routes import add_routes
from tetrad.kit.http_settings import SETTINGS

__all__ = [
    "PROBLEM_RESPONSES",
    "PUBLIC",
    "SETTINGS",
    "AdministersAll",
    "Authenticator",
    "Credential",
    "CurrentPrincipal",
    "Expected",
    "Guard",
    "GuardPolicy",
    "Page",
    "PageParams",
    "PageQuery",
    "Precondition",
    "Problem",
    "RouteFacts",
    "Search",
    "Upload",
    "add_routes",
    "bad_cursor",
    "current_principal",
    "current_request_id",
    "cursor_time",
    "cut_page",
    "decode_cursor",
    "encode_cursor",
    "guard",
    "inline_script_hashes",
    "page_of_all",
    "parse_sort",
    "problem_response",
    "public",
    "render_problems",
    "requires",
    "security_headers",
    "serve_description",
    "unguarded_routes",
    "unquoted",
    "walk_routes",
]


def guard(
    app: FastAPI, authenticator: Authenticator, policy: GuardPolicy | None = None, *, allow: Iterable[str] = ()
) -> None:
    """Put the guard before an app whose routes are complete, and make all its errors problem+JSON.

    Raises `ValueError` when a route states neither a scope nor that it is public: such an app must not start.
    `allow` lists static folders that strangers may read.
    """
    wrong = unguarded_routes(app, allow=allow)
    if wrong:
        raise ValueError("; ".join(wrong))
    render_problems(app)
    app.add_middleware(Guard, authenticator=authenticator, policy=policy)
