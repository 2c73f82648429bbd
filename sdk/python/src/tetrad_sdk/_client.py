"""A small client of the control plane: traces, apps and releases, read only."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from tetrad_sdk._errors import ApiError, NotConfigured, Unreachable

DEFAULT_CONTROL_URL = "http://127.0.0.1:8401"
DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Trace:
    """One row of a list of traces; `raw` holds all that the API sent."""

    trace_id: str
    name: str
    status: str
    start_ns: int
    app: str
    release: str
    model: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """One span of a trace. `cost` is a decimal text, None where it is unknown."""

    span_id: str
    parent_id: str
    name: str
    status: str
    start_ns: int
    end_ns: int
    release: str
    cost: str | None
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TraceDetail:
    """A whole trace, its spans in the order of their start."""

    trace_id: str
    spans: tuple[Span, ...]
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TracePage:
    """A page of traces; `next_cursor` asks for the next, None at the end."""

    items: tuple[Trace, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class App:
    """An app and its refs, each a digest of a release."""

    name: str
    refs: Mapping[str, str]
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class ReleaseDetail:
    """A release: its digest, its manifest, and with it (`raw`) the parts as the API resolved them."""

    digest: str
    manifest: Mapping[str, Any]
    raw: Mapping[str, Any] = field(repr=False)


class Client:
    """Calls the control plane's API. Use it in a `with` statement, or `close()` it; one instance per thread."""

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        project: str = DEFAULT_PROJECT,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.project = project
        self._http = httpx.Client(
            base_url=f"{self.base_url}/api/v1",
            headers={"authorization": f"Bearer {key}", "user-agent": "tetrad-sdk"},
            timeout=timeout_s,
            transport=transport,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def traces(self, *, limit: int = 50, cursor: str | None = None, **filters: str) -> TracePage:
        """Return the newest traces; filters are the API's own, such as `app`, `release`, `status`, `from`, `to`.

        A filter whose name is a Python keyword is given as `traces(**{"from": "2026-01-01T00:00:00Z"})`.
        """
        params = {"limit": str(limit), **filters, **({"cursor": cursor} if cursor else {})}
        found = self._get(self._in_project("traces"), params)
        return TracePage(tuple(_trace(item) for item in found["items"]), found.get("next_cursor"))

    def all_traces(self, **filters: str) -> Iterator[Trace]:
        """Yield every trace that the filters let through, page by page."""
        cursor: str | None = None
        while True:
            page = self.traces(limit=200, cursor=cursor, **filters)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def trace(self, trace_id: str) -> TraceDetail:
        """Return a trace with its spans; `ApiError` with the status 404 where there is none yet."""
        found = self._get(self._in_project("traces", trace_id))
        spans = sorted((_span(item) for item in found["spans"]), key=lambda span: (span.start_ns, span.span_id))
        return TraceDetail(found.get("trace_id", trace_id), tuple(spans), found)

    def apps(self) -> tuple[App, ...]:
        """Return the project's apps."""
        return tuple(_app(item) for item in self._get(self._in_project("apps"))["items"])

    def app(self, name: str) -> App:
        """Return one app and its refs."""
        return _app(self._get(self._in_project("apps", name)))

    def release(self, digest: str) -> ReleaseDetail:
        """Return a release by its digest, such as the one in a response's header `x-tetrad-release`."""
        found = self._get(self._in_project("releases", digest))
        return ReleaseDetail(found.get("digest", digest), found["manifest"], found)

    def _in_project(self, *parts: str) -> str:
        return "/".join(("/projects", quote(self.project, safe=""), *(quote(part, safe=":") for part in parts)))

    def _get(self, path: str, params: Mapping[str, str] | None = None) -> Any:
        try:
            response = self._http.get(path, params=params)
        except httpx.TransportError as error:
            raise Unreachable(
                f"{self.base_url} does not answer: {error}", hint="is Tetrad running, and is TETRAD_CONTROL_URL right?"
            ) from None
        if response.is_success:
            try:
                return response.json()
            except ValueError:
                raise ApiError(
                    f"{self.base_url} answered {path} with no JSON",
                    hint="is this Tetrad's control plane? check TETRAD_CONTROL_URL",
                    status=response.status_code,
                ) from None
        raise _refusal(response)


def connect(*, url: str = "", key: str = "", project: str = "", timeout_s: float = 30.0) -> Client:
    """Return a client of the installation that the environment names.

    The address is `TETRAD_CONTROL_URL`, else `http://127.0.0.1:8401`; the key is `TETRAD_API_KEY`, else the file
    `keys/admin.key` in `TETRAD_HOME` (`~/.tetrad`); the project is `TETRAD_PROJECT`, else `default`. What is given here
    goes first. Raises `NotConfigured` where there is no key.
    """
    return Client(
        url or os.environ.get("TETRAD_CONTROL_URL", "") or DEFAULT_CONTROL_URL,
        key or os.environ.get("TETRAD_API_KEY", "") or _key_of_this_machine(),
        project=project or os.environ.get("TETRAD_PROJECT", "") or DEFAULT_PROJECT,
        timeout_s=timeout_s,
    )


def _key_of_this_machine() -> str:
    home = os.environ.get("TETRAD_HOME", "")
    path = (Path(home) if home else Path.home() / ".tetrad") / "keys" / "admin.key"
    try:
        return path.read_text("utf-8").strip()
    except OSError as error:
        raise NotConfigured(
            f"there is no key: TETRAD_API_KEY is not set, and {str(path)!r} cannot be read ({error.strerror})",
            hint="set TETRAD_API_KEY to a key with the scope control",
        ) from None


def _refusal(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    if not isinstance(body, dict):
        body = {}
    message = str(body.get("detail") or body.get("title") or response.reason_phrase or "refused")
    return ApiError(
        message, hint=str(body.get("hint") or ""), code=str(body.get("code") or ""), status=response.status_code
    )


def _trace(item: Mapping[str, Any]) -> Trace:
    return Trace(
        trace_id=item["trace_id"],
        name=item.get("name", ""),
        status=item.get("status", ""),
        start_ns=int(item.get("start_ns", 0)),
        app=item.get("app", ""),
        release=item.get("release", ""),
        model=item.get("model") or item.get("request_model", ""),
        raw=item,
    )


def _span(item: Mapping[str, Any]) -> Span:
    cost = item.get("cost")
    return Span(
        span_id=item["span_id"],
        parent_id=item.get("parent_id", ""),
        name=item.get("name", ""),
        status=item.get("status", ""),
        start_ns=int(item.get("start_ns", 0)),
        end_ns=int(item.get("end_ns", 0)),
        release=item.get("release", ""),
        cost=None if cost is None else str(cost["amount"] if isinstance(cost, Mapping) else cost),
        raw=item,
    )


def _app(item: Mapping[str, Any]) -> App:
    refs = item.get("refs", {})
    if not isinstance(refs, Mapping):
        refs = {ref.get("ref") or ref["name"]: ref["digest"] for ref in refs}
    return App(item["name"], dict(refs), item)
