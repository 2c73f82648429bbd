"""The first thing a request meets: pure ASGI, before any route.

Checks Host (DNS rebinding), Origin and Fetch Metadata (cross-site requests), the address, size and pace of the body,
concurrency; finds out who calls before a byte of the body is read; gives every answer a request id and the security
headers.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tetrad.kernel import Forbidden, InvalidInput, Overloaded, TetradError, TooLarge, uuid7
from tetrad.kit import http_settings as named
from tetrad.kit.http._authorise import PUBLIC, SAFE_METHODS, identify
from tetrad.kit.http._facts import Authenticator, Credential, RequestFacts, note_facts
from tetrad.kit.http._problems import problem_response
from tetrad.kit.settings import Settings

log = logging.getLogger("tetrad.http")
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?")
_MAX_CREDENTIAL_CHARS = 512


@dataclass(frozen=True, slots=True)
class Upload:
    """Paths whose bodies are files: a limit and a time of their own. `setting` is what raises the limit."""

    path: re.Pattern[str]
    max_bytes: int
    setting: str
    total_timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class GuardPolicy:
    """What the guard lets through. Times in seconds, sizes in bytes."""

    allowed_hosts: frozenset[str] = LOOPBACK
    allowed_origins: frozenset[str] = frozenset()
    cookie_name: str = "tetrad_session"
    max_body_bytes: int = 16 * 2**20
    body_limits: tuple[tuple[str, int], ...] = (("/internal/", 64 * 2**20),)
    body_idle_timeout_s: float = 15.0
    body_total_timeout_s: float = 300.0
    max_concurrent: int = 512
    protected: tuple[str, ...] = ("/api/", "/internal/", "/ofrep/", "/v1/")
    any_host: frozenset[str] = frozenset({"/healthz", "/readyz"})
    script_hashes: tuple[str, ...] = ()
    uploads: tuple[Upload, ...] = ()

    @classmethod
    def from_settings(
        cls,
        settings: Settings,
        *,
        host: str = "127.0.0.1",
        script_hashes: Iterable[str] = (),
        uploads: Iterable[Upload] = (),
    ) -> GuardPolicy:
        """Read the policy from settings; the address we listen at is allowed too, unless it is a wildcard."""
        own = {host.lower().strip("[]")} - {"0.0.0.0", "::", ""}  # noqa: S104 - a wildcard is no name
        return cls(
            allowed_hosts=LOOPBACK | own | _names(settings.get(named.ALLOWED_HOSTS)),
            allowed_origins=_names(settings.get(named.ALLOWED_ORIGINS)),
            cookie_name=named.session_cookie(settings),
            max_body_bytes=settings.get(named.MAX_BODY_BYTES),
            body_limits=(("/internal/", settings.get(named.MAX_INTERNAL_BODY_BYTES)),),
            body_idle_timeout_s=settings.get(named.BODY_IDLE_TIMEOUT_S),
            body_total_timeout_s=settings.get(named.BODY_TOTAL_TIMEOUT_S),
            max_concurrent=settings.get(named.MAX_CONCURRENT_REQUESTS),
            script_hashes=tuple(script_hashes),
            uploads=tuple(uploads),
        )

    def upload(self, path: str) -> Upload | None:
        """Return the rule of a path whose body is a file."""
        return next((upload for upload in self.uploads if upload.path.fullmatch(path)), None)

    def body_limit(self, path: str) -> int:
        """Return the limit for a path: that of files, else that of the longest prefix that matches."""
        if (upload := self.upload(path)) is not None:
            return upload.max_bytes
        matching = [(len(prefix), limit) for prefix, limit in self.body_limits if path.startswith(prefix)]
        return max(matching)[1] if matching else self.max_body_bytes


def _names(text: str) -> frozenset[str]:
    return frozenset(part.strip().rstrip("/").lower() for part in text.split(",") if part.strip())


class Guard:
    """ASGI middleware that stands before the control plane's app."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, policy: GuardPolicy | None = None) -> None:
        self.app = app
        self.authenticator = authenticator
        self.policy = policy or GuardPolicy()
        self._active = 0
        self._headers = security_headers(self.policy.script_hashes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": "no WebSocket is served here"})
        elif scope["type"] == "http":
            await self._http(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        facts = RequestFacts(_request_id(headers), authenticator=self.authenticator)
        note_facts(scope, facts)
        exchange = _Exchange(scope, receive, send, self.policy, facts.request_id, self._headers)
        self._active += 1
        try:
            self._check(scope, headers, facts)
            await self._find_out_who(scope, facts)
            await self.app(scope, exchange.receive, exchange.send)
        except TetradError as error:
            if error.status >= 500:
                log.exception("%s: %s", error.code, error.message, extra={"request_id": facts.request_id})
            await exchange.refuse(error)
        except ClientDisconnect:
            log.debug("client left", extra={"request_id": facts.request_id})
        except Exception:
            log.exception(
                "unexpected error in %s %s", scope["method"], scope["path"], extra={"request_id": facts.request_id}
            )
            if exchange.status:
                raise  # half an answer is out: the server must cut the connection
            await exchange.refuse(_unexpected())
        finally:
            self._active -= 1
            exchange.log(facts)

    def _check(self, scope: Scope, headers: Headers, facts: RequestFacts) -> None:
        path: str = scope["path"]
        if self._active > self.policy.max_concurrent and not path.startswith("/internal/"):
            raise Overloaded(
                f"{self.policy.max_concurrent} requests are being handled already",
                hint="try again, or raise the setting max_concurrent_requests",
                status=503,
                retry_after_s=1,
            )
        if path not in self.policy.any_host:
            check_host(headers.getlist("host"), self.policy)
        check_origin(scope["method"], headers, self.policy)
        check_address(path, scope["query_string"])
        facts.credential = find_credential(headers, self.policy.cookie_name)
        if facts.credential is not None and facts.credential.kind == "session":
            check_forgery(scope["method"], headers)
        exceeds = headers.get("content-length", "0")
        if exceeds.isdecimal() and int(exceeds) > self.policy.body_limit(path):
            raise _too_large(self.policy, path)

    async def _find_out_who(self, scope: Scope, facts: RequestFacts) -> None:
        if scope["path"].startswith(self.policy.protected) and (scope["method"], scope["path"]) not in PUBLIC:
            await identify(facts)


@dataclass(slots=True)
class _Exchange:
    """One request's `receive` and `send`, with limits on the one and headers on the other."""

    scope: Scope
    inner_receive: Receive
    inner_send: Send
    policy: GuardPolicy
    request_id: str
    security: Mapping[str, str]
    status: int = 0
    seen_bytes: int = 0
    body_done: bool = False
    refusal: TetradError | None = None
    began: float = field(default_factory=time.monotonic)

    async def receive(self) -> Message:
        if self.body_done:
            return await self.inner_receive()
        upload = self.policy.upload(self.scope["path"])
        total_s = upload.total_timeout_s if upload else self.policy.body_total_timeout_s
        left_s = self.began + total_s - time.monotonic()
        try:
            if left_s <= 0:
                raise TimeoutError  # a body that never makes us wait would never meet a timer
            async with asyncio.timeout(min(left_s, self.policy.body_idle_timeout_s)):
                message = await self.inner_receive()
        except TimeoutError:
            raise self._fail(
                InvalidInput(
                    "the request's body came too slowly", hint="send it faster", code="body_timeout", status=408
                )
            ) from None
        if message["type"] != "http.request":
            return message
        self.seen_bytes += len(message.get("body", b""))
        self.body_done = not message.get("more_body", False)
        limit = self.policy.body_limit(self.scope["path"])
        if self.seen_bytes > limit:
            raise self._fail(_too_large(self.policy, self.scope["path"]))
        return message

    def _fail(self, error: TetradError) -> TetradError:
        # Frameworks wrap what `receive` raises into errors of their own; `send` puts ours back.
        self.refusal = error
        return error

    async def send(self, message: Message) -> None:
        if self.refusal is not None and not self.status:
            await self.refuse(self.refusal)
            return
        if self.refusal is not None and self.status == self.refusal.status and message["type"] != "http.response.start":
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(raw=message["headers"])
            headers["x-request-id"] = self.request_id
            for name, value in self.security.items():
                headers.setdefault(name, value)
            if self.scope["path"].startswith(self.policy.protected):
                headers.setdefault("cache-control", "no-store")
        await self.inner_send(message)

    async def refuse(self, error: TetradError) -> None:
        if self.status:
            return
        refusal, self.refusal = self.refusal, None
        response = problem_response(error, request_id=self.request_id)
        if not self.body_done:
            response.headers["connection"] = "close"  # what is left of the body must not be read as a request
        await response(self.scope, self.inner_receive, self.send)
        self.refusal = refusal

    def log(self, facts: RequestFacts) -> None:
        log.info(
            "%s %s %s",
            self.scope["method"],
            self.scope["path"],
            self.status or "-",
            extra={
                "request_id": self.request_id,
                "status": self.status,
                "duration_ms": round((time.monotonic() - self.began) * 1000, 1),
                "principal": facts.principal.id if facts.principal else "",
            },
        )


def check_host(hosts: list[str], policy: GuardPolicy) -> None:
    """Refuse requests that a foreign name led here (DNS rebinding)."""
    match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
    name = ((match.group(1) or match.group(2)) if match else "").lower().rstrip(".")
    if name in policy.allowed_hosts or any(
        name.endswith(allowed[1:]) for allowed in policy.allowed_hosts if allowed.startswith("*.")
    ):
        return
    raise InvalidInput(
        f"the Host {', '.join(hosts)[:100]!r} is not served here",
        hint="call it by 127.0.0.1 or localhost, or add the name to the setting allowed_hosts",
        code="host_not_allowed",
        status=421,
    )


def check_origin(method: str, headers: Headers, policy: GuardPolicy) -> None:
    """Refuse what a page of another origin makes a browser send; following a link here is fine."""
    origin = headers.get("origin")
    if origin is not None:
        if _same_origin(origin, headers.get("host", "")) or origin.lower() in policy.allowed_origins:
            return
        raise _cross_origin(f"from {origin[:100]!r}")
    site = headers.get("sec-fetch-site", "")
    navigation = method in SAFE_METHODS and headers.get("sec-fetch-mode") == "navigate"
    embedded = headers.get("sec-fetch-dest", "document") not in ("document", "empty")
    if site in ("cross-site", "same-site") and (not navigation or embedded):
        raise _cross_origin(f"({site})")


def check_address(path: str, query: bytes) -> None:
    """Refuse an address with a NUL, which no name has and PostgreSQL cannot even look for."""
    place = "path" if "\0" in path else "query" if b"%00" in query or b"\0" in query else ""
    if place:
        raise InvalidInput(
            f"the {place} of the address holds a NUL character (%00), which no name here has",
            hint="leave it out; a literal %00 is written %2500",
            code="bad_address",
        )


def check_forgery(method: str, headers: Headers) -> None:
    """Refuse a change by cookie that does not prove to come from our own page."""
    if method in SAFE_METHODS or headers.get("origin") is not None:
        return  # a foreign Origin was refused before
    if headers.get("sec-fetch-site") != "same-origin":
        raise Forbidden(
            "a signed-in session may change things from the console's own pages only",
            hint="scripts send `Authorization: Bearer <key>` instead of the cookie",
            code="cross_origin",
        )


def _cross_origin(whence: str) -> Forbidden:
    return Forbidden(
        f"a page of another origin {whence} may not call this",
        hint="open the console at its own address, or add the origin to the setting allowed_origins",
        code="cross_origin",
    )


def _same_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and _without_default_port(parts.netloc) == _without_default_port(host)


def _without_default_port(netloc: str) -> str:
    return re.sub(r":(?:80|443)$", "", netloc.lower())


def find_credential(headers: Headers, cookie_name: str) -> Credential | None:
    """Return what the caller shows. A header beats the cookie, and a bad header is not saved by a good cookie."""
    authorization = headers.get("authorization")
    if authorization is not None:
        scheme, _, secret = authorization.partition(" ")
        if scheme.lower() != "bearer":
            secret = ""
        return Credential("bearer", secret.strip()[:_MAX_CREDENTIAL_CHARS])
    key = headers.get("x-api-key")
    if key is not None:
        return Credential("bearer", key.strip()[:_MAX_CREDENTIAL_CHARS])
    try:
        cookies: SimpleCookie = SimpleCookie("; ".join(headers.getlist("cookie"))[:8192])
    except CookieError:
        return None
    found = cookies.get(cookie_name)
    return Credential("session", found.value[:_MAX_CREDENTIAL_CHARS]) if found is not None and found.value else None


def security_headers(script_hashes: Iterable[str] = ()) -> dict[str, str]:
    """Return the headers of every answer. The policy fits a built Vite console; inline scripts need their hash.

    Styles may be inline: component libraries set them on elements. Workers may come from blobs: layout runs in one.
    """
    scripts = " ".join(["'self'", *(f"'{each}'" for each in script_hashes)])
    policy = (
        f"default-src 'none'; script-src {scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
        "font-src 'self' data:; connect-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; "
        "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'"
    )
    return {
        "content-security-policy": policy,
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
        "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    }


def inline_script_hashes(html: str) -> tuple[str, ...]:
    """Return the CSP hashes of a page's inline scripts, such as the one that sets the colour scheme early."""
    import base64
    import hashlib

    found = re.findall(r"<script(?![^>]*\ssrc=)[^>]*>(.*?)</script>", html, flags=re.DOTALL | re.IGNORECASE)
    return tuple("sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in found)


def _request_id(headers: Headers) -> str:
    sent = headers.get("x-request-id", "")
    return sent if _REQUEST_ID.fullmatch(sent) else uuid7().hex


def _too_large(policy: GuardPolicy, path: str) -> TooLarge:
    upload = policy.upload(path)
    return TooLarge(
        f"the request's body is larger than {policy.body_limit(path):,} bytes",
        hint=f"send less, or raise the setting {upload.setting if upload else 'max_body_bytes'}",
    )


def _unexpected() -> TetradError:
    return TetradError(
        "something unexpected went wrong", hint="the log of control tells more under this request id", code="internal"
    )
