"""Which pages in browsers may read answers, against whatever pages and clients send."""

from __future__ import annotations

import asyncio
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.fed_http import feed
from tetrad.kit.settings import BadSettings, load_settings
from tetrad.processes.gateway._cors import Cors, cors_of
from tetrad.processes.gateway._settings import SETTINGS

ALLOWED = b"https://app.example.com"
SETTING = "https://app.example.com, HTTP://Dev.example.com:8080 ,https://same.example.com:443,http://[::1]:5173"
NEAR = (
    b"null", b"*", b"", b"https://app.example.com.", b"https://app.example.com:443", b"https://app.example.com:8443",
    b"http://app.example.com", b"https://app.example.com.evil.example", b"https://evil.example/https://app.example.com",
    b"https://APP.example.com", b"https://app.example.com/", b"https://app.example.com, https://evil.example",
    b"https://user@app.example.com", b"https://app.example.com@evil.example", b"https://app.example.com\t",
    b"https://xapp.example.com", b"https://app-example.com", b"file://", b"https://app.example.com\xc2\xa0",
    b"https://app.example.com%2eevil", b"https://app.example.co", b"https://app.example.comm",
)  # fmt: skip
"""What is like an origin that is allowed, and is another."""
SHOWN = (
    b"x-request-id", b"x-tetrad-release", b"idempotent-replayed", b"x-ratelimit-remaining-tokens",
    b"anthropic-ratelimit-requests-limit", b"anthropic-ratelimit-output-tokens-reset",
)  # fmt: skip
OPEN = cors_of(SETTING)


def head(method: str, path: str, *headers: tuple[bytes, bytes]) -> bytes:
    lines = b"".join(b"%s: %s\r\n" % each for each in headers)
    return b"%s %s HTTP/1.1\r\nhost: x\r\n%s\r\n" % (method.encode(), path.encode(), lines)


def answered(data: bytes, cors: Cors | None = OPEN) -> list[dict[bytes, bytes]]:
    """Return the headers of all answers of the gateway's own front end, the status among them."""
    written = asyncio.run(feed([data], cors=cors)).written
    heads = [part.partition(b"\r\n\r\n")[0].split(b"\r\n") for part in written.split(b"HTTP/1.1 ")[1:]]
    return [
        {b"status": lines[0][:3], **{name.lower(): value for name, _, value in (x.partition(b": ") for x in lines[1:])}}
        for lines in heads
    ]


ORIGINS = st.one_of(
    st.sampled_from(NEAR),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=60).map(str.encode),
    st.builds(
        lambda at, piece: ALLOWED[:at] + piece + ALLOWED[at:],
        st.integers(0, len(ALLOWED)),
        st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=3).map(str.encode),
    ),
).filter(lambda origin: origin.strip() != ALLOWED)


@given(ORIGINS)
def test_a_page_whose_origin_is_only_like_one_that_is_named_reads_nothing(origin: bytes) -> None:
    call = head("POST", "/v1/embeddings", (b"origin", origin), (b"content-length", b"2")) + b"{}"
    asks = head("OPTIONS", "/v1/embeddings", (b"origin", origin), (b"access-control-request-method", b"POST"))
    for told in answered(call + asks + head("GET", "/v1/models", (b"origin", origin))):
        assert not [name for name in told if name.startswith(b"access-control-")]


@pytest.mark.parametrize(
    "origin",
    [ALLOWED, b"http://dev.example.com:8080", b"https://same.example.com", b"http://[::1]:5173"],
)
def test_a_page_whose_origin_is_named_may_ask_and_read(origin: bytes) -> None:
    asks = head(
        "OPTIONS", "/v1/chat/completions", (b"origin", origin), (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", b"authorization,content-type,x-stainless-lang"),
    )  # fmt: skip
    call = head("POST", "/v1/embeddings", (b"origin", origin), (b"content-length", b"2")) + b"{}"
    preflight, *others = answered(asks + call * 4 + head("GET", "/openai/v1/models", (b"origin", origin)))
    assert (preflight[b"status"], preflight[b"access-control-allow-methods"]) == (b"200", b"GET, POST, DELETE")
    assert preflight[b"access-control-allow-headers"] == b"authorization, content-type, x-stainless-lang"
    assert len(others) == 5
    for told in (preflight, *others):
        assert (told[b"access-control-allow-origin"], told[b"vary"]) == (origin, b"origin")
        shown = told[b"access-control-expose-headers"].split(b", ")
        assert set(SHOWN) <= set(shown)
        assert len(set(shown)) == len(shown)
        assert b"access-control-allow-credentials" not in told


@given(st.binary(max_size=200).filter(lambda sent: not set(sent) & {0, 10, 13}))
def test_what_a_browser_is_said_to_ask_for_is_repeated_only_where_it_names_headers(asked: bytes) -> None:
    sent = head(
        "OPTIONS", "/v1/files", (b"origin", ALLOWED), (b"access-control-request-method", b"POST"),
        (b"access-control-request-headers", asked),
    )  # fmt: skip
    for told in answered(sent):  # what is no request is refused
        names = told.get(b"access-control-allow-headers", b"x").split(b", ")
        assert all(re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name) for name in names)


def test_so_many_headers_are_not_repeated_and_how_the_gateway_does_is_not_shown() -> None:
    many = b", ".join(b"x-%d" % number for number in range(500))
    ask = (b"origin", ALLOWED), (b"access-control-request-method", b"POST")
    sent = head("OPTIONS", "/mcp", *ask, (b"access-control-request-headers", many))
    assert answered(sent)[0][b"access-control-allow-headers"].count(b",") == 63
    for told in answered(head("GET", "/metrics", (b"origin", ALLOWED)) + head("OPTIONS", "/healthz", *ask)):
        assert not [name for name in told if name.startswith(b"access-control-")]


def test_a_question_that_is_no_preflight_is_answered_as_before() -> None:
    for sent in (head("OPTIONS", "/v1/models", (b"origin", ALLOWED)), head("OPTIONS", "/v1/models")):
        assert b"access-control-allow-methods" not in answered(sent)[0]
    off = answered(
        head("OPTIONS", "/v1/models", (b"origin", ALLOWED), (b"access-control-request-method", b"GET")), None
    )
    assert not [name for name in off[0] if name.startswith((b"access-control-", b"vary"))]


@pytest.mark.parametrize(
    "listed",
    [
        "*", "null", "https://*", "https://*.example.com", "example.com", "https://app.example.com/", "//a", "https://",
        "https://a b", "https://user@a", "https://a:0", "https://a:65536", "https://a:", "ftp://a", "https://a?x",
        "https://good.example, *", "https://-a", "https://a#b", "https://\u00e9.example", "http://[::1::]",
        "http://[1.2.3.4]", "http://[:]", "http://[12345::]",
    ],
)  # fmt: skip
def test_what_is_no_origin_is_refused_before_anything_starts(listed: str) -> None:
    with pytest.raises(BadSettings, match="TETRAD_GATEWAY_CORS_ORIGINS sets gateway_cors_origins"):
        load_settings((SETTINGS,), environ={"TETRAD_GATEWAY_CORS_ORIGINS": listed, "TETRAD_CONFIG": ""})


@pytest.mark.parametrize(
    ("listed", "sent"),
    [
        ("http://[0:0:0:0:0:0:0:1]:5173", b"http://[::1]:5173"),
        ("https://[2001:DB8:0:0:1:0:0:1]", b"https://[2001:db8::1:0:0:1]"),
        ("http://[::ffff:127.0.0.1]", b"http://[::ffff:7f00:1]"),
        ("http://my_app:3000", b"http://my_app:3000"),
        ("https://_dev.example.com", b"https://_dev.example.com"),
    ],
)
def test_an_origin_is_known_however_it_was_written(listed: str, sent: bytes) -> None:
    (told,) = answered(head("GET", "/v1/models", (b"origin", sent)), cors_of(listed))
    assert told[b"access-control-allow-origin"] == sent


def test_nobody_is_let_in_by_default() -> None:
    assert cors_of("") is cors_of(" , ") is None
