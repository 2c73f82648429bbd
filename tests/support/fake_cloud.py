"""A cloud that believes nobody: signatures, statements and tokens are checked for real, and end when they say so."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from support.fake_bedrock import FakeBedrock
from support.fake_gemini import FakeGemini
from support.fake_metadata import FakeMetadata
from support.raw_server import Act, RawServer, raw_server

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([^,]+), Signature=(\w{64})"
)
_SKEW_S = 300
Keys = Callable[[str], tuple[str, str, float] | None]
"""The secret, the token of the session and the end of an access key; None where it is none."""


def why_not(
    method: str, target: str, headers: Mapping[str, str], body: bytes, *, keys: Keys, region: str, service: str
) -> str:
    """Return why AWS would refuse a request, by botocore's own reckoning of its signature; else nothing."""
    found = _SIGNED.fullmatch(headers.get("authorization", ""))
    if found is None:
        return "MissingAuthenticationTokenException"
    key, day, scope_region, scope_service, names, signature = found.groups()
    known = keys(key)
    if known is None:
        return "UnrecognizedClientException"
    secret, token, end = known
    if end <= time.time():
        return "ExpiredTokenException"
    if headers.get("x-amz-security-token", "") != token or (scope_region, scope_service) != (region, service):
        return "InvalidClientTokenId"
    at = headers.get("x-amz-date", "")
    stamp = time.strptime(at, "%Y%m%dT%H%M%SZ")
    drift = abs(time.time() - (time.mktime(stamp) - time.timezone))
    signed = names.split(";")
    if drift > _SKEW_S or at[:8] != day or not {"host", "x-amz-date"} <= set(signed):
        return "SignatureDoesNotMatch"
    if token and "x-amz-security-token" not in signed:
        return "SignatureDoesNotMatch"
    request = AWSRequest(method, f"http://{headers['host']}{target}", data=body)
    for name in signed:
        request.headers[name] = headers[name]
    request.context["timestamp"] = at
    signer = SigV4Auth(Credentials(key, secret), service, region)
    right = signer.signature(signer.string_to_sign(request, signer.canonical_request(request)), request)
    return "" if right == signature else "SignatureDoesNotMatch"


@dataclass
class CheckedBedrock(FakeBedrock):
    """Bedrock of one region, for those whom a cloud gave keys."""

    cloud: CheckedCloud | None = None
    refused: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """The access keys of the calls that were let in."""

    def refusal(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[int, object] | None:
        assert self.cloud is not None
        why = why_not(
            method, target, headers, raw, keys=self.cloud.pairs.get, region="eu-west-1", service="bedrock"
        )  # fmt: skip
        if why:
            self.refused.append(why)
            return 403, {"message": f"{why}: {headers.get('authorization')}"}
        self.used.append(headers["authorization"].split("=")[1].split("/")[0])
        return None


@dataclass
class CheckedVertex(FakeGemini):
    """Vertex, for those whom a cloud gave a token."""

    cloud: CheckedCloud | None = None
    refused: list[str] = field(default_factory=list)
    used: list[str] = field(default_factory=list)
    """The tokens of the calls that were let in."""

    def refusal(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[int, object] | None:
        assert self.cloud is not None
        said = headers.get("authorization", "")
        token = said.removeprefix("Bearer ")
        if self.cloud.tokens.get(token, 0) <= time.time() or not said.startswith("Bearer "):
            self.refused.append(said)
            return 401, {"error": {"code": 401, "message": f"{said} is invalid", "status": "UNAUTHENTICATED"}}
        self.used.append(token)
        return None


class CheckedCloud(FakeMetadata):
    """STS and Google's OAuth for those who prove who they are; `switched_off` ends every connection unanswered."""

    def __init__(self) -> None:
        super().__init__(time.time)
        self.users: dict[str, str] = {}
        """Secrets of access keys that may assume roles."""
        self.accounts: dict[str, rsa.RSAPublicKey] = {}
        """Public keys of service accounts, by the id of the key."""
        self.subjects: set[str] = set()
        """Tokens of another identity provider that the pool trusts."""
        self.switched_off = False
        self.proofs: list[str] = []
        """By what those proved who they are who were given something."""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.switched_off:
            await super().__call__(reader, writer)

    def answer(self, method: str, path: str, headers: dict[str, str], form: dict[str, list[str]]) -> tuple[int, bytes]:
        if self.switched_off:
            raise ConnectionResetError
        if path in ("/token", "/federation/credentials"):  # a sign-in of AWS
            return super().answer(method, path, headers, form)
        proof = ""
        if path == "/sts":
            keys = {key: (secret, "", float("inf")) for key, secret in self.users.items()}
            why = why_not(
                method, path, headers, self.bodies[-1], keys=keys.get, region="eu-west-1", service="sts"
            )  # fmt: skip
            if why:
                return 403, f"<ErrorResponse><Error><Code>{why}</Code></Error></ErrorResponse>".encode()
            proof = headers["authorization"].split("=")[1].split("/")[0]
        elif path == "/google/oauth":
            proof = self._stated(form["assertion"][0], f"http://{headers['host']}{path}")
        elif path == "/google/exchange":
            proof = form["subject_token"][0] if form["subject_token"][0] in self.subjects else ""
        if not proof:
            return 400, b'{"error":"invalid_grant"}'
        self.proofs.append(proof)
        if path == "/sts":
            return 200, self.xml()
        return 200, self.token("ya29")

    def _stated(self, statement: str, audience: str) -> str:
        """Return the id of the key by which a statement is signed rightly, and nothing for any other."""
        signed, _, signature = statement.rpartition(".")
        head, claims = (json.loads(_decoded(part)) for part in signed.split("."))
        key = self.accounts.get(head.get("kid", ""))
        now = time.time()
        if key is None or claims["aud"] != audience or not claims["iat"] - 60 <= now < claims["exp"] <= now + 3660:
            return ""
        try:
            key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), SHA256())
        except InvalidSignature:
            return ""
        return str(head["kid"])


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class Threaded:
    """A server in a thread of its own."""

    def __init__(self, server: RawServer, loop: asyncio.AbstractEventLoop) -> None:
        self.url = server.url
        self._loop = loop

    def hold(self, cloud: FakeMetadata) -> Callable[[], None]:
        """Let a cloud answer nobody until the function that is returned is called."""
        held = cloud.held = asyncio.Event()

        def release() -> None:
            cloud.held = None
            self._loop.call_soon_threadsafe(held.set)

        return release


@contextlib.contextmanager
def in_a_thread(act: Act) -> Iterator[Threaded]:
    """Serve an act on a free port while the test does something else."""
    loop = asyncio.new_event_loop()
    ready, found, stop = threading.Event(), list[RawServer](), asyncio.Event()

    async def serve() -> None:
        async with raw_server(act) as server:
            found.append(server)
            ready.set()
            await stop.wait()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield Threaded(found[0], loop)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()
