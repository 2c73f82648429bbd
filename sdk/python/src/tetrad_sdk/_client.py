"""A small client of the control plane: traces, apps and releases, read only."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx

from tetrad_sdk._errors import ApiError, NotConfigured, Unreachable

DEFAULT_CONTROL_URL = "http://127.0.0.1:8401"
DEFAULT_PROJECT = "default"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Trace:
    """A trace in a list. `cost` is decimal text, None where no price is known; `raw` holds all that the API sent."""

    trace_id: str
    name: str
    status: str
    start_ns: int
    duration_ms: float
    app: str
    ref: str
    release: str
    model: str
    session: str
    user: str
    code_match: str
    cost: str | None
    currency: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a trace; contents are previews, in `raw`. `cost` is decimal text, None where it is unknown."""

    span_id: str
    parent_id: str
    name: str
    status: str
    start_ns: int
    end_ns: int
    release: str
    code_match: str
    request_model: str
    response_model: str
    cost: str | None
    currency: str
    raw: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True, slots=True)
class TraceDetail:
    """A trace with all its spans, in the order of their start."""

    trace: Trace
    spans: tuple[Span, ...]


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
    """A release: its digest, its app, its manifest, and with it (`raw`) the parts as the API resolved them."""

    digest: str
    app: str
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
        """Return the newest traces of the last 24 hours, or of another window.

        Filters are the API's own: `app`, `release`, `ref`, `model`, `status`, `session`, `user`, `from`, `to`, `sort`.
        A filter whose name is a Python keyword is given as `traces(**{"from": "2026-01-01T00:00:00Z"})`.
        """
        params = {"limit": str(limit), **filters, **({"cursor": cursor} if cursor else {})}
        found = self._get(self._in_project("traces"), params)
        return TracePage(tuple(_taken(Trace, item) for item in found["items"]), found["next_cursor"])

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
        """Return a trace with all its spans; `ApiError` with the status 404 where there is none yet."""
        path, spans, params = self._in_project("traces", trace_id), list[Span](), dict[str, str]()
        while True:
            found = self._get(path, params)
            spans += [_taken(Span, item) for item in found["spans"]]
            if not found.get("next_cursor"):
                return TraceDetail(_taken(Trace, found["trace"]), tuple(spans))
            params = {"cursor": found["next_cursor"]}

    def apps(self) -> tuple[App, ...]:
        """Return all apps of the project."""
        apps, params = list[App](), {"limit": "200"}
        while True:
            found = self._get(self._in_project("apps"), params)
            apps += [_app(item) for item in found["items"]]
            if not found["next_cursor"]:
                return tuple(apps)
            params = {"limit": "200", "cursor": found["next_cursor"]}

    def app(self, name: str) -> App:
        """Return one app and its refs."""
        return _app(self._get(self._in_project("apps", name)))

    def release(self, digest: str) -> ReleaseDetail:
        """Return a release by its digest, such as the one in a response's header `x-tetrad-release`."""
        found = self._get(self._in_project("releases", digest))
        return ReleaseDetail(found["digest"], found["app"], found["manifest"], found)

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
    try:
        path = (Path(home) if home else Path.home() / ".tetrad") / "keys" / "admin.key"
    except RuntimeError:
        raise NotConfigured(
            "there is no key: TETRAD_API_KEY and TETRAD_HOME are not set, and this account has no folder of its own",
            hint="set TETRAD_API_KEY to a key with the scope control",
        ) from None
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


def _taken(kind: type[_T], item: Mapping[str, Any]) -> _T:
    """Take a value's fields out of the API's object; nanoseconds come as text, since JSON numbers would lose some."""
    names = [one.name for one in fields(kind) if one.name != "raw"]  # type: ignore[arg-type] # only our dataclasses
    make: Callable[..., _T] = kind
    return make(**{name: int(item[name]) if name.endswith("_ns") else item[name] for name in names}, raw=item)


def _app(item: Mapping[str, Any]) -> App:
    return App(item["name"], {ref["name"]: ref["digest"] for ref in item["refs"]}, item)
