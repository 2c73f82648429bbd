"""Requests as clients may send them, as they should not, and what another parser (h11) makes of them."""

from __future__ import annotations

import h11
from hypothesis import assume
from hypothesis import strategies as st

CHAT = b"/v1/chat/completions"
HIDDEN = b"GET /hidden HTTP/1.1\r\nhost: x\r\n\r\n"
NAMES = st.sampled_from(
    [
        b"x-a",
        b"accept",
        b"user-agent",
        b"x-tetrad-user",
        b"te",
        b"trailer",
        b"keep-alive",
        b"content-lengthy",
        b"expects",
    ]
)
TOKENS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-!#$%&'*+.^_`|~", min_size=1, max_size=12).map(str.encode)
VALUES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E) | st.sampled_from(" \t"), max_size=30).map(
    lambda text: text.strip().encode()
)
BODIES = st.binary(max_size=60) | st.just(HIDDEN) | st.just(b'{"model":"m"}')


@st.composite
def cased(draw: st.DrawFn, name: bytes) -> bytes:
    """Write a header's name in letters of any case."""
    return bytes(byte ^ 0x20 if chr(byte).isalpha() and draw(st.booleans()) else byte for byte in name)


@st.composite
def framed(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """Return a body and how it is framed: its bytes on the wire, and the headers that say so."""
    body = draw(BODIES)
    space = draw(st.sampled_from([b"", b" ", b"\t", b"   "]))
    if draw(st.booleans()):
        zeros = draw(st.sampled_from([b"", b"0", b"000"]))
        return body, [draw(cased(b"content-length")) + b":" + space + zeros + b"%d" % len(body), body]
    pieces, at = [], 0
    while at < len(body):
        size = draw(st.integers(1, len(body) - at))
        extension = draw(st.sampled_from([b"", b";a", b";a=b", b';a="b c"', b";a=b;c=d"]))
        digits = b"%x" % size
        digits = digits.upper() if draw(st.booleans()) else digits
        pieces.append(digits + extension + b"\r\n" + body[at : at + size] + b"\r\n")
        at += size
    trailers = draw(st.sampled_from([b"", b"x-t: 1\r\n", b"host: evil\r\nauthorization: x\r\n"]))
    pieces.append(b"0\r\n" + trailers + b"\r\n")
    return body, [draw(cased(b"transfer-encoding")) + b":" + space + b"chunked", b"".join(pieces)]


@st.composite
def good_requests(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Return (a request as RFC 9112 has it, its body), with everything in it that a client may vary."""
    body, (framing, wire) = draw(framed())
    target = draw(st.sampled_from([CHAT, CHAT + b"?a=b", b"http://x" + CHAT, b"https://x:1" + CHAT + b"?q"]))
    headers = [draw(cased(b"host")) + b": x", framing]
    headers += [draw(cased(draw(NAMES | TOKENS))) + b": " + draw(VALUES) for _ in range(draw(st.integers(0, 3)))]
    if draw(st.booleans()):
        headers += [draw(cased(b"upgrade")) + b": h2c", b"Connection: Upgrade, HTTP2-Settings"]
    names = [header.partition(b":")[0].lower() for header in headers]
    known = {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"x-api-key",
        b"upgrade",
        b"connection",
    }
    assume(all(names.count(name) <= 1 for name in (*known, b"connection")) and b"expect" not in names)
    order = draw(st.permutations(headers))
    return b"POST " + target + b" HTTP/1.1\r\n" + b"\r\n".join(order) + b"\r\n\r\n" + wire, body


@st.composite
def pieces_of(draw: st.DrawFn, whole: bytes) -> list[bytes]:
    """Cut bytes anywhere."""
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(whole) - 1)), max_size=6)))
    return [part for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True) if (part := whole[a:b])]


BREAKS = (
    b"content-length: 5", b"content-length: +3", b"content-length: 3, 3", b"content-length: 0x3", b"content-length:",
    b"Content-Length : 3", b"transfer-encoding: chunked", b"transfer-encoding: xchunked", b"transfer-encoding: gzip",
    b"transfer-encoding: chunked, identity", b"transfer-encoding:\x0bchunked", b"transfer_encoding: chunked",
    b" folded: value", b"\tcontent-length: 3", b"x: a\r\n content-length: 3", b"x: a\nContent-Length: 3",
    b"x: a\rTransfer-Encoding: chunked", b"x: a\x00b", b"x\x00: a", b"x y: a", b": empty", b"host: y", b"nothing",
    b"x: \xff\xfe", b"connection: close", b"expect: 100-continue", b"upgrade: websocket", b"x: " + b"a" * 5_000,
    b"http2-settings: AAMAAABkAAQCAAAAAAIAAAAA", b"x-forwarded-for: 1\r\n\r\nGET /split HTTP/1.1\r\nhost: x",
)  # fmt: skip


@st.composite
def odd_requests(draw: st.DrawFn) -> bytes:
    """Return a request with something in it that a client should not send, and a hidden one behind it."""
    method = draw(st.sampled_from([b"POST", b"GET", b"HEAD", b"CONNECT", b"post", b"PO ST", b"", b"\x00"]))
    target = draw(st.sampled_from([CHAT, b"/", b"*", b"x:1", b"http://", b"/a b", b"/\x00", b"//evil" + CHAT, b"/%00"]))
    version = draw(
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.1 ", b"http/1.1", b""])
    )
    headers = [b"host: x", *draw(st.lists(st.sampled_from(BREAKS), max_size=4))]
    newline = draw(st.sampled_from([b"\r\n"] * 6 + [b"\n", b"\r"]))
    chunks = [
        b"", b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"3\nabc\n0\n\n", b"0\r\n\r\n", b"3;a=b\r\nabc\r\n0\r\n\r\n",
        b"-1\r\n\r\n", b"3\r\nabcd\r\n0\r\n\r\n", b"fffffffffffffffff\r\n",
        b"3 \r\nabc\r\n0\r\n\r\n", b"0\r\nhost: y\r\n\r\n",
    ]  # fmt: skip
    head = b" ".join([method, target, version]) + newline + newline.join(draw(st.permutations(headers)))
    return head + newline * 2 + draw(st.sampled_from(chunks) | st.binary(max_size=20)) + HIDDEN


def read_by_h11(data: bytes) -> tuple[list[tuple[str, bytes]], bool]:
    """Return what another parser reads: (method, body) of each whole request, and whether it found a fault."""
    found: list[tuple[str, bytes]] = []
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1_000_000)
    connection.receive_data(data)
    method, body = "", b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, body = event.method.decode(), b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                found.append((method, body))
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                if connection.our_state is h11.MUST_CLOSE:
                    return found, False
                connection.start_next_cycle()
            else:
                return found, False
    except h11.LocalProtocolError:
        return found, False
    except h11.RemoteProtocolError:
        return found, True
