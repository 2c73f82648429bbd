"""What is taken for an answer at a glance, the parser takes for the same answer."""

from __future__ import annotations

import httptools
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kit.upstream._usual import headers_of, whole_answer

_NAMES = ("Content-Type", "date", "x-request-id", "Content-Length", "content-length", "Transfer-Encoding",
          "Connection", "Retry-After", "upgrade", "Server ", "x y", "", "Content-Length-")  # fmt: skip
_VALUES = ("application/json", "5", "05", " 5", "5 ", "+5", "5,5", "0", "chunked", "close", "keep-alive", "Keep-Alive",
           "", "a:b", "\tx\t", "ä", "a\x00b", "a\rb", "a\nb", "\x7f", "h2c")  # fmt: skip
_STARTS = ("HTTP/1.1 200 OK", "HTTP/1.1 200 ", "HTTP/1.1 200", "HTTP/1.0 200 OK", "HTTP/1.1 204 No Content",
           "HTTP/1.1 200 \xe4", "HTTP/1.1 2000 OK", "http/1.1 200 OK", "HTTP/1.1 101 x")  # fmt: skip
_colons = st.sampled_from((":", ": ", ":  ", " : ", ""))
_latin = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
_lines = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(_NAMES), _colons, st.sampled_from(_VALUES)).map("".join),
        st.just("content-length: 5"),
        st.text(alphabet="aZ: \t\r\n,;=ä", max_size=6),
    ),
    max_size=5,
)
_bodies = st.sampled_from((b"", b"hello", b"hell", b"helloo", b"helloHTTP/1.1 200 OK\r\n\r\n"))


class _Read:
    """What the parser makes of an answer."""

    def __init__(self, data: bytes) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.answers = 0
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.answers += 1
        self.keeps = self.parser.should_keep_alive()


@given(st.sampled_from(_STARTS), _lines, st.sampled_from(("\r\n", "\r\n", "\r\n", "\n")), _bodies)
def test_the_parser_agrees(start: str, lines: list[str], line_break: str, body: bytes) -> None:
    data = line_break.join([start, *lines, "", ""]).encode("latin-1") + body
    glimpsed = whole_answer(data)
    if glimpsed is None:
        return
    head, read = glimpsed.head, _Read(data)
    assert (read.answers, read.keeps, read.parser.get_status_code()) == (1, True, 200)
    assert read.body == data[len(head) :]
    assert read.headers == headers_of(data[: len(head)])


@given(
    st.lists(
        st.tuples(
            st.from_regex(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,12}", fullmatch=True).map(lambda name: f"x-{name}"),
            st.text(
                alphabet=st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=20
            ),
        ),
        max_size=20,
    ),
    st.binary(max_size=200),
    st.sampled_from(("Content-Length", "content-length", "CONTENT-LENGTH")),
)
def test_what_upstreams_usually_say_is_seen(headers: list[tuple[str, str]], body: bytes, length: str) -> None:
    lines = [f"{name}: {value}" for name, value in [*headers, (length, str(len(body))), ("Connection", "keep-alive")]]
    data = "\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode("latin-1") + body
    glimpsed = whole_answer(data)
    assert glimpsed is not None
    assert not glimpsed.noted
    head = glimpsed.head
    assert head == data[: len(data) - len(body)].lower()
    assert _Read(data).headers == headers_of(data[: len(head)])


@given(st.sampled_from(("Retry-After: 5", "retry-after-ms: 5", "X-Should-Retry: true", "Content-Encoding: gzip")))
def test_what_asks_for_a_longer_look_is_noted(line: str) -> None:
    for lines in ((line, "content-length: 0"), ("content-length: 0", line)):
        glimpsed = whole_answer("\r\n".join(["HTTP/1.1 200 OK", *lines, "", ""]).encode())
        assert glimpsed is not None
        assert glimpsed.noted
