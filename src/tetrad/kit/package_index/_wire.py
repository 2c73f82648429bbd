"""HTTP with the machine's proxies, certificates and credentials."""

from __future__ import annotations

import base64
import http.client
import netrc
import random
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from ._errors import IndexUnreachable
from ._settings import IndexSettings, shown

ACCEPT = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, "
    "text/html;q=0.1, application/octet-stream;q=0.01"
)
MAX_PAGE_BYTES = 64 << 20
RETRYABLE = frozenset({408, 425, 429, 500, 502, 503, 504})
LONGEST_BACKOFF_S = 20.0
_OUT_OF_TIME = (9, 10)
"""What OpenSSL calls a certificate that is not valid yet, and one that is not valid any more."""


class _SameSecurity(urllib.request.HTTPRedirectHandler):
    """Follow redirects, but never from https to http, and never carry a password to another host."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> urllib.request.Request | None:
        old, new = urllib.parse.urlsplit(req.full_url), urllib.parse.urlsplit(newurl)
        if new.scheme != old.scheme and new.scheme != "https":
            raise urllib.error.URLError(f"redirected from {old.scheme} to {shown(newurl)}, which is refused")
        request = super().redirect_request(req, fp, code, msg, headers, newurl)
        secret = req.unredirected_hdrs.get("Authorization")
        if request is not None and secret and (old.scheme, old.netloc) == (new.scheme, new.netloc):
            request.add_unredirected_header("Authorization", secret)
        return request


class Wire:
    """Ask indexes, as often as the settings allow."""

    def __init__(self, settings: IndexSettings) -> None:
        self.settings = settings
        self._openers: dict[bool, urllib.request.OpenerDirector] = {}

    def open(self, url: str, headers: Mapping[str, str]) -> Any:
        """Send one GET; raise what urllib raises."""
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise IndexUnreachable(f"{shown(url)} is neither http, https nor a file", hint="correct the index URL")
        bare = urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        request = urllib.request.Request(bare, headers={"User-Agent": "tetrad", **headers})  # noqa: S310 - checked above
        credentials = self._credentials(parts)
        if credentials:
            token = base64.b64encode(credentials.encode()).decode()
            request.add_unredirected_header("Authorization", f"Basic {token}")
        trusted = parts.hostname in self.settings.trusted_hosts or parts.netloc in self.settings.trusted_hosts
        return self._opener(trusted).open(request, timeout=self.settings.timeout_s or None)

    def _credentials(self, parts: urllib.parse.SplitResult) -> str:
        if parts.username:
            return urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        try:
            entry = netrc.netrc().authenticators(parts.hostname or "")
        except (OSError, netrc.NetrcParseError):
            return ""
        return f"{entry[0]}:{entry[2]}" if entry else ""

    def _opener(self, trusted: bool) -> urllib.request.OpenerDirector:
        if trusted not in self._openers:
            proxy = self.settings.proxy
            proxies = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else None)
            secure = urllib.request.HTTPSHandler(context=self._context(trusted))
            self._openers[trusted] = urllib.request.build_opener(proxies, secure, _SameSecurity())
        return self._openers[trusted]

    def _context(self, trusted: bool) -> ssl.SSLContext:
        cert = self.settings.cert
        try:
            if cert and Path(cert).is_dir():
                context = ssl.create_default_context(capath=cert)
            else:
                context = ssl.create_default_context(cafile=cert)
        except (OSError, ssl.SSLError) as error:
            raise IndexUnreachable(
                f"the certificates {cert!r} cannot be read: {error}", hint="correct PIP_CERT or SSL_CERT_FILE"
            ) from None
        if trusted:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def attempts(self) -> Iterator[None]:
        """Yield once per try; pause between them, longer each time."""
        for number in range(self.settings.retries + 1):
            if number:
                pause_s = min(self.settings.first_backoff_s * 2 ** (number - 1), LONGEST_BACKOFF_S)
                time.sleep(pause_s * random.uniform(0.75, 1.25))  # noqa: S311 - spreads retries, guards nothing
            yield

    def page(self, url: str) -> tuple[str, str, str] | None:
        """Return (text, content type, final URL), or None where the index says that there is no such page."""
        last: Exception | None = None
        for _ in self.attempts():
            try:
                with self.open(url, {"Accept": ACCEPT}) as answer:
                    data = answer.read(MAX_PAGE_BYTES + 1)
                    if len(data) > MAX_PAGE_BYTES:
                        raise IndexUnreachable(f"{shown(url)} sent more than {MAX_PAGE_BYTES >> 20} MB")
                    return data.decode("utf-8", "replace"), answer.headers.get_content_type(), answer.geturl()
            except urllib.error.HTTPError as error:
                error.close()
                if error.code in (404, 410):
                    return None
                last = error
                if error.code not in RETRYABLE:
                    break
            except (OSError, http.client.HTTPException) as error:
                last = error
                if hopeless(error):
                    break
        raise unreachable(url, last)


def hopeless(error: Exception) -> bool:
    """Tell whether trying again cannot help: a certificate that is not trusted, a name that does not exist."""
    reason = getattr(error, "reason", error)
    return isinstance(reason, (ssl.SSLCertVerificationError, str))


def unreachable(url: str, error: Exception | None) -> IndexUnreachable:
    """Say why nothing came from there, and what to do."""
    reason = getattr(error, "reason", error)
    if isinstance(error, urllib.error.HTTPError):
        if error.code in (401, 403):
            return IndexUnreachable(
                f"{shown(url)} refused us: HTTP {error.code} {error.reason}",
                hint="give credentials in the index URL or in ~/.netrc",
            )
        # urllib explains redirect loops over several lines
        reason = f"HTTP {error.code} {' '.join(str(error.reason).split())}"
    elif isinstance(reason, ssl.SSLCertVerificationError):
        if reason.verify_code in _OUT_OF_TIME:
            return IndexUnreachable(
                f"{shown(url)} has a certificate that is not valid at this time: {reason.verify_message}",
                hint=f"this machine's clock says {time.strftime('%Y-%m-%d %H:%M %Z')}; correct it where that is wrong",
            )
        return IndexUnreachable(
            f"{shown(url)} has a certificate that this machine does not trust: {reason.verify_message}",
            hint="point PIP_CERT or SSL_CERT_FILE to the certificates of your organisation",
        )
    return IndexUnreachable(
        f"{shown(url)} cannot be reached: {reason}",
        hint="check the network and proxy (HTTPS_PROXY), or set PIP_INDEX_URL to a mirror that this machine may use",
    )
