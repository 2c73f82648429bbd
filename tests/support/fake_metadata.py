"""What the clouds tell machines about themselves: Amazon's, Google's and Azure's services, spoken on a raw socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from support.raw_server import read_request

ROLE = "gateway-role"


def moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class FakeMetadata:
    """Answers by path; `asked` keeps every request, `lies` replaces the answer of a path, `held` keeps all waiting."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.life_s = 3600.0
        self.asked: list[tuple[str, str, dict[str, str], dict[str, list[str]]]] = []
        self.bodies: list[bytes] = []
        self.lies: dict[str, tuple[int, bytes]] = {}
        self.held: asyncio.Event | None = None
        self.given = 0
        self.tokens: dict[str, float] = {}
        """The tokens of OAuth that were given, and when each ends."""
        self.pairs: dict[str, tuple[str, str, float]] = {}
        """The keys that were given: the secret, the token of the session, and when they end."""
        self.refresh = "refresh-0"
        """What renews a sign-in; each is good for once, as Amazon's are."""

    def count(self, path: str) -> int:
        return sum(each[1] == path for each in self.asked)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head, body = await read_request(reader)
            method, target, _ = head.split("\r\n", 1)[0].split(" ")
            lines = [line.partition(":") for line in head.split("\r\n")[1:] if line]
            headers = {name.lower(): value.strip() for name, _, value in lines}
            parts = urlsplit(target)
            form = parse_qs(body.decode() or parts.query)
            self.bodies.append(body)
            self.asked.append((method, parts.path, headers, form))
            if self.held is not None:
                await self.held.wait()
            status, said = self.lies.get(parts.path) or self.answer(method, parts.path, headers, form)
            flavor = "metadata-flavor: Google\r\n" if parts.path.startswith("/computeMetadata") else ""
            writer.write(f"HTTP/1.1 {status} Said\r\n{flavor}content-length: {len(said)}\r\n\r\n".encode() + said)
            await writer.drain()

    def answer(self, method: str, path: str, headers: dict[str, str], form: dict[str, list[str]]) -> tuple[int, bytes]:
        if path == "/latest/api/token":
            return (200, b"imds-token") if method == "PUT" else (405, b"")
        if path.startswith("/latest/"):
            if headers.get("x-aws-ec2-metadata-token") != "imds-token":
                return 401, b""
            return (200, self.keys()) if path.endswith(ROLE) else (200, ROLE.encode())
        if path in ("/creds", "/v2/credentials/abc"):
            return (200, self.keys()) if headers.get("authorization") in (None, "pod-token") else (403, b"")
        if path == "/sts" and form.get("Action") == ["AssumeRole"]:
            signed = headers.get("authorization", "").startswith("AWS4-HMAC-SHA256 Credential=")
            return (200, self.xml()) if signed and form["RoleArn"] != ["closed"] else (403, b"<Error/>")
        if path == "/federation/credentials":
            known = headers.get("x-amz-sso_bearer_token", "").startswith("sso-token")
            return (200, self.portal()) if known else (401, b"{}")
        if path == "/token":
            return self.renewed(json.loads(self.bodies[-1]))
        if path.startswith("/google/"):
            return self.google(path, headers, form)
        if path == "/sts":
            known = form.get("WebIdentityToken") == ["web-token"] and form["Action"] == ["AssumeRoleWithWebIdentity"]
            return (200, self.xml()) if known else (403, b"<Error/>")
        if path.startswith("/computeMetadata/"):
            return (200, self.token("ya29")) if headers.get("metadata-flavor") == "Google" else (403, b"")
        if path == "/metadata/identity/oauth2/token":
            return (200, self.token("imds", text=True)) if headers.get("metadata") == "true" else (400, b"")
        if path == "/msi":
            return (200, self.token("app")) if headers.get("x-identity-header") == "proof" else (401, b"")
        if path == "/tenant-1/oauth2/v2.0/token":
            known = form.get("client_assertion") == ["web-token"]
            return (200, self.token("entra")) if known else (400, b"{}")
        return 404, b""

    def google(self, path: str, headers: dict[str, str], form: dict[str, list[str]]) -> tuple[int, bytes]:
        """Google's token exchange, sign-in and impersonation, and a stranger's token at a URL."""
        if path == "/google/oauth":
            known = form.get("refresh_token") == ["refresh"] or form["grant_type"][0].endswith(":jwt-bearer")
            return (200, self.token("oauth")) if known else (400, b'{"error":"invalid_grant"}')
        if path == "/google/exchange":
            known = form.get("subject_token") == ["web-token"] and form["audience"] == ["//iam/pool"]
            return (200, self.token("federated")) if known else (400, b'{"error":"invalid_request"}')
        if path == "/google/subject":
            return (200, b'{"value":"web-token"}') if headers.get("authorization") == "proof" else (403, b"")
        if headers.get("authorization", "").startswith(("Bearer federated.", "Bearer oauth.")):
            self.given += 1
            end = moment(self.now_s() + self.life_s)
            return 200, json.dumps({"accessToken": f"impersonated.{self.given}", "expireTime": end}).encode()
        return 403, b"{}"

    def renewed(self, asked: dict[str, str]) -> tuple[int, bytes]:
        """Renew a sign-in of Amazon's (OIDC CreateToken)."""
        right = {
            "grantType": "refresh_token", "clientId": "client", "clientSecret": "client-secret",
            "refreshToken": self.refresh,
        }  # fmt: skip
        if asked != right:
            return 400, b'{"error":"invalid_grant","error_description":"Invalid refresh token provided"}'
        self.given += 1
        self.refresh = f"refresh-{self.given}"
        return 200, json.dumps(
            {"accessToken": f"sso-token-{self.given}", "tokenType": "Bearer", "expiresIn": int(self.life_s),
             "refreshToken": self.refresh}
        ).encode()  # fmt: skip

    def portal(self) -> bytes:
        pair = self.pair()
        role = {
            "accessKeyId": pair["AccessKeyId"], "secretAccessKey": pair["SecretAccessKey"],
            "sessionToken": pair["Token"], "expiration": int((self.now_s() + self.life_s) * 1000),
        }  # fmt: skip
        return json.dumps({"roleCredentials": role}).encode()

    def token(self, prefix: str, *, text: bool = False) -> bytes:
        self.given += 1
        life = str(int(self.life_s)) if text else self.life_s
        self.tokens[token := f"{prefix}.{self.given}"] = self.now_s() + self.life_s
        return json.dumps({"access_token": token, "expires_in": life}).encode()

    def keys(self) -> bytes:
        return json.dumps({"Code": "Success", **self.pair()}).encode()

    def xml(self) -> bytes:
        found = self.pair()
        found["SessionToken"] = found.pop("Token")
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in found.items())
        return f"<AssumeRoleWithWebIdentityResponse><Credentials>{inner}</Credentials></AssumeRole>".encode()

    def pair(self) -> dict[str, Any]:
        self.given += 1
        key, secret, token = f"ASIA{self.given}", f"secret/{self.given}+=", f"session/{self.given}+="
        end = self.now_s() + self.life_s
        self.pairs[key] = secret, token, end
        return {"AccessKeyId": key, "SecretAccessKey": secret, "Token": token, "Expiration": moment(end)}
