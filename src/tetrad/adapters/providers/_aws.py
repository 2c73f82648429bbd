"""Amazon's signatures and event streams.

Sources: "Create a signed AWS API request" (docs.aws.amazon.com/IAM, Signature Version 4) and the event stream encoding
`application/vnd.amazon.eventstream` (smithy.io, "Amazon Event Stream Specification").
"""

from __future__ import annotations

import hashlib
import hmac
import re
import struct
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from tetrad.kernel import UNREADABLE, Clock, InvalidInput
from tetrad.kit.upstream import Address, BrokenAnswer
from tetrad.serving import Upstream

MAX_FRAME = 16 * 1024 * 1024
"""The largest message of an event stream, by its specification."""
_REGION = re.compile(r"://[a-z0-9.-]+\.([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.com")
_ALGORITHM = "AWS4-HMAC-SHA256"
_PRELUDE, _CHECK = 12, 4
_FIXED_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""How many bytes a header's value has, by its type; 6 and 7 name their length."""


class AwsCredential(msgspec.Struct, frozen=True):
    """The secret of an AWS upstream: a JSON object with these fields, as `aws sts` and instance metadata say them."""

    access_key_id: str = ""
    secret_access_key: str = ""
    session_token: str = ""
    region: str = ""


def read_credential(upstream: Upstream) -> AwsCredential:
    """Read the secret: a JSON object, or `ACCESS_KEY:SECRET_KEY[:SESSION_TOKEN]`; raises `InvalidInput`."""
    text = upstream.secret.strip()
    if text.startswith("{"):
        try:
            given = msgspec.json.decode(text, type=dict[str, str])
        except UNREADABLE:
            given = {}
        plain = {name.replace("_", "").replace("-", "").lower(): value for name, value in given.items()}
        found = AwsCredential(
            plain.get("accesskeyid") or plain.get("awsaccesskeyid", ""),
            plain.get("secretaccesskey") or plain.get("awssecretaccesskey", ""),
            plain.get("sessiontoken") or plain.get("awssessiontoken", ""),
            plain.get("region", ""),
        )
    else:
        key, _, rest = text.partition(":")
        secret, _, token = rest.partition(":")
        found = AwsCredential(key, secret, token)
    sent = found.access_key_id + found.session_token
    if not (found.access_key_id and found.secret_access_key) or not re.fullmatch(r"[\x21-\x7e]+", sent):
        raise InvalidInput(
            f"the secret of the upstream {upstream.name!r} holds no AWS credential",
            hint='keep {"access_key_id": "...", "secret_access_key": "...", "session_token": "..."} as the secret',
            code="bad_credential",
        )
    return found


class Signed:
    """A login that signs every call with an access key (Signature Version 4)."""

    each = True
    headers: tuple[tuple[str, str], ...] = ()
    query = ""

    def __init__(self, upstream: Upstream, clock: Clock, service: str, credential: AwsCredential | None = None) -> None:
        credential = credential or read_credential(upstream)
        self._credential = credential
        self._region = upstream.options.get("region") or credential.region or _region_of(upstream.base_url)
        self._service = upstream.options.get("service") or service
        self._clock = clock
        self._key: tuple[str, bytes] = ("", b"")
        self.secrets: tuple[bytes, ...] = tuple(
            each.encode() for each in (credential.secret_access_key, credential.session_token) if each
        )
        if not self._region:
            raise InvalidInput(
                f"the upstream {upstream.name!r} names no AWS region", hint="set the option region", code="bad_login"
            )

    async def lines(self, method: str, address: Address, target: str, body: bytes) -> bytes:
        now = datetime.fromtimestamp(self._clock.now_ns() / 1e9, UTC)
        headers = {"host": address.authority}
        if method == "POST":
            headers["content-type"] = "application/json"
        return "".join(f"{name}: {value}\r\n" for name, value in self.sign(method, target, headers, body, now)).encode()

    def sign(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes, now: datetime
    ) -> list[tuple[str, str]]:
        """Return the headers that a request needs besides `headers`, all of which are signed with them.

        `target` is encoded as it is sent; its path is encoded once more, as every service but S3 wants it.
        """
        at, credential = now.strftime("%Y%m%dT%H%M%SZ"), self._credential
        added = {"x-amz-date": at}
        if credential.session_token:
            added["x-amz-security-token"] = credential.session_token
        everything = {name.lower(): " ".join(value.split()) for name, value in {**headers, **added}.items()}
        names = ";".join(sorted(everything))
        path, _, query = target.partition("?")
        request = "\n".join(
            (
                method,
                quote(path or "/", safe="/-_.~"),
                "&".join(sorted(part if "=" in part else f"{part}=" for part in query.split("&") if part)),
                *(f"{name}:{everything[name]}" for name in sorted(everything)),
                "",
                names,
                hashlib.sha256(body).hexdigest(),
            )
        )
        scope = f"{at[:8]}/{self._region}/{self._service}/aws4_request"
        text = f"{_ALGORITHM}\n{at}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
        signature = hmac.new(self._day_key(at[:8]), text.encode(), hashlib.sha256).hexdigest()
        added["authorization"] = (
            f"{_ALGORITHM} Credential={credential.access_key_id}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        return list(added.items())

    def _day_key(self, day: str) -> bytes:
        """Return the key of a day; it is made once."""
        if self._key[0] != day:
            key = f"AWS4{self._credential.secret_access_key}".encode()
            for part in (day, self._region, self._service, "aws4_request"):
                key = hmac.new(key, part.encode(), hashlib.sha256).digest()
            self._key = (day, key)
        return self._key[1]


def _region_of(url: str) -> str:
    found = _REGION.search(url)
    return found[1] if found else ""


class Frame(NamedTuple):
    """One message of an event stream; of its headers those that are texts."""

    headers: dict[str, str]
    payload: bytes


class FrameReader:
    """Take messages out of the bytes of an event stream, torn anywhere. Both checksums are held."""

    def __init__(self) -> None:
        self._pending = bytearray()

    @property
    def torn(self) -> bool:
        """Tell whether a message has begun and not ended."""
        return bool(self._pending)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the messages that `data` completes; raises `BrokenAnswer` for what is none."""
        pending = self._pending
        pending += data
        found = []
        while len(pending) >= _PRELUDE:
            total, headers, check = struct.unpack_from(">III", pending)
            if zlib.crc32(pending[:8]) != check:
                raise BrokenAnswer("the upstream's event stream is damaged: the checksum of a prelude is wrong")
            if not _PRELUDE + _CHECK + headers <= total <= MAX_FRAME:
                raise BrokenAnswer(f"the upstream's event stream holds a message of {total:,} bytes")
            if len(pending) < total:
                break
            frame = bytes(pending[:total])
            del pending[:total]
            if zlib.crc32(frame[:-_CHECK]) != int.from_bytes(frame[-_CHECK:], "big"):
                raise BrokenAnswer("the upstream's event stream is damaged: the checksum of a message is wrong")
            end = _PRELUDE + headers
            found.append(Frame(_headers(frame[_PRELUDE:end]), frame[end:-_CHECK]))
        return found


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode("ascii")
            at += 1 + size
            kind = data[at]
            at += 1
            if kind in (6, 7):
                length = struct.unpack_from(">H", data, at)[0]
                at += 2
                if kind == 7:
                    found[name] = data[at : at + length].decode("utf-8", "replace")
                at += length
            else:
                at += _FIXED_SIZES[kind]
        if at != len(data):
            raise ValueError("a value is cut short")
    except (IndexError, KeyError, ValueError, struct.error) as error:
        raise BrokenAnswer(f"the headers of a message in the upstream's event stream cannot be read: {error}") from None
    return found
