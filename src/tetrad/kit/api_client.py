"""Call the control plane's API: for the CLI, workers and scripts of this installation."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import httpx

from tetrad.kernel import TetradError
from tetrad.kit.home import API_KEY
from tetrad.kit.home import SETTINGS as INSTALLATION
from tetrad.kit.light_client import ApiError, ControlUnreachable, key_of, path_part, refusal
from tetrad.kit.running import running_control
from tetrad.kit.settings import Settings, load_settings
from tetrad.kit.trust import believed

_ATTEMPTS = 4
_RETRIED = frozenset({429, 502, 503, 504})
_FIRST_PAUSE_S = 0.2


class ApiClient:
    """A small synchronous client: paths in, JSON out, refusals as `TetradError` with their hint.

    GETs are repeated (at most three times, with growing pauses) when the connection fails or the server asks to; other
    methods are not, since they might happen twice. One instance per thread.
    """

    def __init__(
        self,
        base_url: str,
        key: str,
        *,
        timeout_s: float = 60.0,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._sleep = sleep
        self._http = httpx.Client(
            base_url=self.base_url,
            headers={"authorization": f"Bearer {key}", "accept": "application/json", "user-agent": "tetrad-cli"},
            timeout=httpx.Timeout(timeout_s, connect=5.0),
            transport=transport,
            verify=believed(self.base_url),
            limits=httpx.Limits(max_keepalive_connections=0),  # nothing stays open where nobody calls close()
            trust_env=False,  # a proxy of the environment must not see the key of a loopback call
        )

    @classmethod
    def from_environment(cls, settings: Settings | None = None) -> ApiClient:
        """Return a client of this installation.

        The address is `TETRAD_CONTROL_URL`, else where the installation that runs in the home folder answers, else host
        and control port of the settings; the key is `TETRAD_API_KEY`,
        else the file `keys/admin.key` of the home folder.
        """
        chosen = settings or load_settings([INSTALLATION], partial=True)
        return cls(
            running_control(chosen),
            chosen.get(API_KEY) or key_of(chosen),
        )

    def get(self, path: str, **params: str | float | bool | None) -> Any:
        """GET a path; parameters that are None are left out."""
        return self.request("GET", path, params=params)

    def post(self, path: str, body: object = None) -> Any:
        """POST a JSON body."""
        return self.request("POST", path, body=body)

    def upload(
        self,
        path: str,
        data: bytes | Iterable[bytes],
        *,
        content_type: str,
        answer_timeout_s: float | None = None,
        **params: str | float | bool | None,
    ) -> Any:
        """POST bytes as they are; from an iterable they are sent as they come, so that a file need not fit memory."""
        return self.request(
            "POST", path, params=params, content=data, headers={"content-type": content_type},
            timeout_s=answer_timeout_s,
        )  # fmt: skip

    def download(self, path: str, *, idle_s: float = 300.0, **params: str | float | bool | None) -> Iterator[bytes]:
        """GET a path and yield the bytes of the answer as they come."""
        given = {name: value for name, value in params.items() if value is not None}
        timeout = httpx.Timeout(idle_s, connect=5.0)
        try:
            with self._http.stream("GET", path, params=given, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                yield from answer.iter_bytes()
        except httpx.TransportError as error:
            raise ControlUnreachable(
                f"the answer of {self.base_url} broke off ({type(error).__name__})",
                hint="try again; `tetrad logs control` tells what happened there",
            ) from None

    def put(self, path: str, body: object = None, *, headers: Mapping[str, str] | None = None) -> Any:
        """PUT a JSON body."""
        return self.request("PUT", path, body=body, headers=headers)

    def delete(self, path: str) -> Any:
        """DELETE a path."""
        return self.request("DELETE", path)

    def items(self, path: str, *, most: int = 1000, **params: str | float | bool | None) -> Iterator[dict[str, Any]]:
        """Go through a list page by page, up to `most` items."""
        cursor, left = None, most
        while left > 0:
            page = self.get(path, **{**params, "limit": min(left, 200), "cursor": cursor})
            yield from page["items"][:left]
            left -= len(page["items"])
            cursor = page["next_cursor"]
            if cursor is None:
                return

    def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int | float | bool | None] | None = None,
        body: object = None,
        content: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> Any:
        """Send one request and return the decoded JSON, None for an empty answer."""
        given = {name: value for name, value in (params or {}).items() if value is not None}
        attempts = _ATTEMPTS if method == "GET" else 1
        for attempt in range(1, attempts + 1):
            try:
                answer = self._http.request(
                    method, path, params=given or None, json=body, content=content, headers=dict(headers or {}),
                    timeout=httpx.USE_CLIENT_DEFAULT if timeout_s is None else httpx.Timeout(timeout_s, connect=5.0),
                )  # fmt: skip
            except httpx.ConnectError as error:
                problem: TetradError = ControlUnreachable(
                    f"control does not answer at {self.base_url} ({error})",
                    hint="control is not running: run `tetrad up`, or set TETRAD_CONTROL_URL",
                )
                # Nobody listens: waiting helps only while it starts, and that is `tetrad up`'s own business.
                raise problem from None
            except httpx.TransportError as error:
                problem = ControlUnreachable(
                    f"the answer of {self.base_url} broke off ({type(error).__name__})",
                    hint="try again; `tetrad logs control` tells what happened there",
                )
            else:
                if answer.is_success:
                    return answer.json() if answer.content else None
                problem = _refusal(answer)
            if attempt == attempts or (isinstance(problem, ApiError) and problem.status not in _RETRIED):
                raise problem
            self._sleep(problem.retry_after_s or _FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1))  # noqa: S311
        raise AssertionError("unreachable")  # pragma: no cover

    def events(
        self, path: str, *, last_id: str = "", idle_s: float = 60.0, **params: str | float | bool | None
    ) -> Iterator[tuple[str, str, str]]:
        """Yield server-sent events as (event, id, data) until the server ends the stream.

        Raises `ControlUnreachable` when the connection fails or nothing, not even a heartbeat, comes for `idle_s`.
        """
        given = {name: value for name, value in params.items() if value is not None}
        headers = {"accept": "text/event-stream", **({"last-event-id": last_id} if last_id else {})}
        timeout = httpx.Timeout(idle_s, connect=5.0)
        try:
            with self._http.stream("GET", path, params=given, headers=headers, timeout=timeout) as answer:
                if not answer.is_success:
                    answer.read()
                    raise _refusal(answer)
                event, identity, data = "message", "", ""
                for line in answer.iter_lines():
                    field, _, value = line.partition(":")
                    value = value.removeprefix(" ")
                    if not line:
                        if data:
                            yield event, identity, data
                        event, data = "message", ""
                    elif field == "event":
                        event = value
                    elif field == "id":
                        identity = value
                    elif field == "data":
                        data = f"{data}\n{value}" if data else value
        except httpx.TransportError as error:
            raise ControlUnreachable(
                f"the stream of {self.base_url} broke off ({type(error).__name__})",
                hint="is control running? `tetrad status` tells",
            ) from None

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


def _refusal(answer: httpx.Response) -> ApiError:
    return refusal(str(answer.request.url), answer.status_code, answer.content, answer.headers.get("retry-after", ""))


__all__ = ["ApiClient", "ApiError", "ControlUnreachable", "path_part"]
