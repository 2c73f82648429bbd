"""Files, batches and conversations, over control: bodies and answers pass through as they come."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from tetrad.kernel import TetradError, Unavailable
from tetrad.kit.upstream import Address, Client, Timeouts
from tetrad.serving import AnswerTorn, KeyEntry, Reply, RequestRefused

PREFIXES = ("/v1/files", "/v1/batches", "/v1/messages/batches", "/v1/conversations")
_METHODS = ("GET", "POST", "DELETE")
_PATH = re.compile(r"(?:/[A-Za-z0-9_-]{1,64}){2,6}")
_QUERY = re.compile(r"[\x21-\x7e]{0,2000}")
_HOST = re.compile(rb"[A-Za-z0-9.:\[\]_-]{1,255}")
_TIMEOUTS = Timeouts(connect_s=2.0, first_byte_s=86_400.0, idle_s=60.0, total_s=86_400.0)
"""How long a whole upload may take is bounded by how long the client may pause in it, and by its size."""
_MOST_PROBLEM = 1024 * 1024
_PASSED = (400, 403, 404, 405, 408, 409, 413, 415, 422, 429)
_KEPT = frozenset((b"content-type", b"content-disposition"))


class _Problem(msgspec.Struct, frozen=True):
    detail: str = ""
    title: str = ""
    hint: str = ""
    code: str = ""


def relayed(path: str) -> bool:
    """Tell whether a page is about files, batches or conversations, which control keeps."""
    return path.startswith(PREFIXES) and any(path == each or path.startswith(each + "/") for each in PREFIXES)


class ControlRelay:
    """Passes requests of authenticated clients on to control, and says whose they are."""

    def __init__(self, client: Client, control: Address, token: Callable[[], str]) -> None:
        self._client = client
        self._control = control
        self._token = token

    async def answer(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[bytes, bytes],
        key: KeyEntry,
        body: AsyncIterator[bytes],
        reply: Reply,
        request_id: str,
    ) -> None:
        """Answer a request, which control knows by its id too.

        Raises `TetradError` before anything is answered, and `AnswerTorn` in the middle.
        """
        if not _PATH.fullmatch(path) or not _QUERY.fullmatch(query):
            raise RequestRefused(f"there is nothing at {path[:200]}", status=404, code="unknown_url")
        if method not in _METHODS:
            raise RequestRefused(
                f"{method} is not allowed here", hint="use GET, POST or DELETE", status=405, code="method_not_allowed"
            )
        target = "/internal/v1/data" + path.removeprefix("/v1") + (f"?{query}" if query else "")
        request = self._client.prepare(method, self._control, target, self._headers(headers, key, request_id))
        try:
            if method == "POST":
                response = await self._client.upload(request, body, timeouts=_TIMEOUTS)
            else:
                response = await self._client.send(request, timeouts=_TIMEOUTS)
        except RequestRefused:
            raise
        except (TetradError, OSError):
            raise _away() from None
        try:
            if response.status >= 400:
                raise _refusal(response.status, await _all(response.read_all(_MOST_PROBLEM)))
            kept = [(name, value) for name, value in response.headers if name in _KEPT]
            piece = await response.read()
            if response.complete:
                await reply.whole(response.status, kept, piece + await response.read())
                return
            await reply.begin(response.status, kept)
            try:
                while piece:
                    await reply.write(piece)
                    piece = await response.read()
            except (TetradError, OSError) as error:
                raise AnswerTorn(f"control's answer broke off: {error}") from error
            await reply.end(b"")
        finally:
            response.close()

    def _headers(self, headers: Mapping[bytes, bytes], key: KeyEntry, request_id: str) -> list[tuple[str, str]]:
        scheme = "https" if headers.get(b"x-forwarded-proto") == b"https" else "http"
        host = headers.get(b"host", b"")
        origin = f"{scheme}://{host.decode('latin-1')}" if _HOST.fullmatch(host) else ""
        return [
            ("authorization", f"Bearer {self._token()}"),
            ("content-type", headers.get(b"content-type", b"application/json").decode("latin-1")),
            ("x-tetrad-project", key.project),
            ("x-tetrad-key-id", key.id),
            ("x-tetrad-origin", origin),
            ("x-request-id", request_id),
        ]


async def _all(reading: object) -> bytes:
    try:
        return await reading  # type: ignore[misc, no-any-return]
    except (TetradError, OSError):
        raise _away() from None


def _refusal(status: int, body: bytes) -> TetradError:
    try:
        problem = msgspec.json.decode(body, type=_Problem)
    except msgspec.MsgspecError:
        problem = _Problem()
    if status not in _PASSED:
        return Unavailable(
            problem.detail or f"control answered {status}",
            hint=problem.hint or "try again in a moment",
            code=problem.code or "state_unavailable",
            retry_after_s=2.0,
        )
    return RequestRefused(
        problem.detail or problem.title or f"control answered {status}",
        hint=problem.hint,
        code=problem.code or None,
        status=status,
    )


def _away() -> Unavailable:
    return Unavailable(
        "files and batches cannot be had now: the control plane does not answer",
        hint="try again in a moment",
        code="state_unavailable",
        retry_after_s=2.0,
    )
