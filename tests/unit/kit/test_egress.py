"""Where connections may go: by their looks, and by what a name resolves to at the moment of the connection."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.raw_server import answering, raw_server
from tetrad.kernel import InvalidInput
from tetrad.kit.egress import (
    MAX_CA_BYTES,
    MAX_RULES,
    Egress,
    EgressRefused,
    Reach,
    address_kind,
    check_ca,
    looks_inner,
    parse_egress,
)
from tetrad.kit.settings import BadSettings
from tetrad.kit.upstream import BadRequest, Client, ConnectFailed, NotAllowed, parse_address

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"
NEVER = [
    "http://169.254.169.254/latest/meta-data",
    "http://169.254.170.2",
    "http://[fd00:ec2::254]",
    "http://[fe80::1]",
    "http://[::ffff:169.254.169.254]",
    "http://[::ffff:a9fe:a9fe]",
    "http://[64:ff9b::a9fe:a9fe]",
    "http://[2002:a9fe:a9fe::]",
    "http://[64:ff9b:1::a9fe:a9fe]",
    "http://[::ffff:0:169.254.169.254]",
    "http://[2001:4860::5efe:169.254.169.254]",
    "http://[2001:4860::200:5efe:169.254.169.254]",
    "http://[::169.254.169.254]",
    "http://metadata.google.internal",
    "http://METADATA.google.internal.",
    "http://metadata",
    "http://instance-data",
    "http://100.100.100.200",
    "http://168.63.129.16",
    "http://0.0.0.0",
    "http://0",
    "http://[::]",
    "http://224.0.0.1",
    "http://255.255.255.255",
    "http://2852039166",
    "http://0xa9fea9fe",
    "http://0xA9.0xFE.0xA9.0xFE",
    "http://0251.0376.0251.0376",
    "http://169.254.43518",
    "http://127.1",
    "http://2130706433",
    "http://0x7f000001",
    "http://0177.0.0.1",
    "http://127.0.0.01",
    "http://evil.example.0x7f",
    "http://1.2.3.4.5",
]
INNER = [
    "http://[64:ff9b:1::808:808]",
    "http://[::ffff:0:127.0.0.1]",
    "http://[2001:4860::5efe:10.0.0.1]",
    "http://[5f00::1]",
    "http://[3fff::1]",
    "http://127.0.0.1:8401",
    "http://127.8.9.10",
    "http://localhost",
    "http://LOCALHOST.",
    "http://a.localhost",
    "http://10.0.0.8",
    "http://172.16.0.1",
    "http://192.168.1.1",
    "http://100.64.0.1",
    "http://198.18.0.1",
    "http://[::1]",
    "http://[fd12:3456::1]",
    "http://[fec0::1]",
    "http://[::ffff:127.0.0.1]",
    "http://[::ffff:7f00:1]",
    "http://[64:ff9b::10.0.0.1]",
    "http://[2002:0a00:0001::]",
    "http://[2001:0:0a00:0001::]",
    "http://vllm:8000",
    "http://vllm.models.svc.cluster.local",
    "http://box.internal",
]
PUBLIC = ["https://api.openai.com/v1", "http://8.8.8.8", "https://[2606:4700::1111]", "https://xn--bcher-kva.example"]
INTERNAL = Reach(internal=True)


@pytest.mark.parametrize("url", NEVER)
@pytest.mark.parametrize("reach", [Reach(), INTERNAL, Reach(parse_egress("*,0.0.0.0/0,::/0,public"), internal=True)])
def test_nobody_can_allow_metadata_reserved_addresses_or_odd_spellings(url: str, reach: Reach) -> None:
    with pytest.raises((EgressRefused, BadRequest)):
        parse_address(url, reach)


@pytest.mark.parametrize("url", INNER)
def test_private_addresses_are_for_those_that_an_administrator_put_there(url: str) -> None:
    with pytest.raises(EgressRefused, match="inside a network"):
        parse_address(url, Reach())
    assert parse_address(url, INTERNAL).reach is INTERNAL


@pytest.mark.parametrize("url", PUBLIC)
def test_the_internet_may_be_called(url: str) -> None:
    parse_address(url, Reach())
    with pytest.raises(EgressRefused, match="not among"):
        parse_address(url, Reach(parse_egress("models.example.com")))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1@example.com",
        "http://user:pass@example.com",
        "http://example.com\\@127.0.0.1",
        "http://example.com#@127.0.0.1",
        "http://example.com?@127.0.0.1",
        "http://exa mple.com",
        "http://ⓛocalhost",
        "http://127。0。0。1",
        "http://[fe80::1%25eth0]",
        "file:///etc/passwd",
        "gopher://127.0.0.1:25/x",
        "unix:///run/docker.sock",
        "unix:///etc/../run/docker.sock#/v1",
    ],
)
def test_what_only_some_readers_take_for_another_host_is_refused(url: str) -> None:
    with pytest.raises((EgressRefused, BadRequest)):
        parse_address(url, INTERNAL)


@pytest.mark.parametrize(
    ("rule", "url"),
    [
        ("public,10.2.0.0/16", "http://10.2.3.4"),
        ("127.0.0.1", "http://127.0.0.1:11434"),
        ("fd12::/16", "http://[fd12::9]"),
        ("*.svc.cluster.local", "http://vllm.models.svc.cluster.local"),
        ("OLLAMA", "http://ollama:11434"),
        ("public, vllm", "http://vllm"),
    ],
)
def test_what_the_setting_lists_may_be_called(rule: str, url: str) -> None:
    parse_address(url, Reach(parse_egress(rule)))


@pytest.mark.parametrize(
    "rule", ["10.0.0.0/33", "http://x", "a b", "10.0.0.1/8", "2130706433", "x/y", "a," * 300 + "b"]
)
def test_a_rule_that_means_nothing_is_told(rule: str) -> None:
    with pytest.raises(BadSettings):
        parse_egress(rule)


def test_so_many_rules_and_no_more() -> None:
    assert len(parse_egress(",".join(f"h{number}" for number in range(MAX_RULES))).names) == MAX_RULES


@given(st.integers(0, 2**32 - 1))
def test_an_address_inside_another_is_judged_as_itself(number: int) -> None:
    plain = address_kind(ipaddress.IPv4Address(number))
    assert address_kind(ipaddress.IPv6Address((0xFFFF << 32) | number)) == plain
    assert address_kind(ipaddress.IPv6Address((0x64FF9B << 96) | number)) == plain
    assert address_kind(ipaddress.IPv6Address((0xFFFF << 48) | number)) == plain
    assert address_kind(ipaddress.IPv6Address((0x20014860 << 96) | (0x5EFE << 32) | number)) == plain
    if plain != "public":
        assert address_kind(ipaddress.IPv6Address((0x2002 << 112) | (number << 80))) != "public"


def test_names_say_little_and_are_looked_at_again_when_they_resolve() -> None:
    assert looks_inner("ollama")
    assert not looks_inner("rebind.attacker.example")


class _Names:
    """A resolver that gives one answer after another, for the names that it knows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: Sequence[Sequence[str]]) -> None:
        self.asked = 0
        self._answers = answers
        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", self)

    async def __call__(self, host: Any, port: Any, **_: Any) -> list[tuple[Any, ...]]:
        with contextlib.suppress(ValueError):
            ipaddress.ip_address(host)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]  # asyncio asks for plain addresses too
        addresses = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]


async def _fetch(client: Client, url: str, reach: Reach | None) -> bytes:
    response = await client.send(client.prepare("POST", parse_address(url, reach), "/x"), b"{}")
    return await response.read_all(1024)


@pytest.mark.parametrize(
    "addresses", [["127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "10.0.0.1"], ["::ffff:127.0.0.1"], ["0.0.0.0"]]
)
async def test_a_public_name_that_resolves_inside_is_refused_at_connect(
    monkeypatch: pytest.MonkeyPatch, addresses: list[str]
) -> None:
    client = Client()
    async with raw_server(answering(OK)) as server:
        _Names(monkeypatch, [addresses])
        with pytest.raises(NotAllowed) as refused:
            await _fetch(client, f"http://rebind.example:{server.port}", Reach())
        assert server.accepted == 0
    assert not any(each in refused.value.message for each in addresses), "a refusal draws no map of the network"
    await client.close()


async def test_what_was_looked_at_is_what_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    async with raw_server(answering(OK)) as server:
        names = _Names(monkeypatch, [["127.0.0.1"], ["169.254.169.254"]])
        url = f"http://ollama:{server.port}"
        assert await _fetch(client, url, INTERNAL) == b"hi"
        assert names.asked == 1, "a second look-up could have had another answer"
        await client.close()
        again = Client()
        with pytest.raises(NotAllowed):
            await _fetch(again, url, INTERNAL)
        await again.close()


async def test_the_next_address_is_tried_where_one_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client()
    async with raw_server(answering(OK)) as server:
        _Names(monkeypatch, [["127.9.9.9", "127.0.0.1"]])
        assert await _fetch(client, f"http://ollama:{server.port}", INTERNAL) == b"hi"
    await client.close()


async def test_a_connection_is_not_shared_with_those_who_may_not_make_it() -> None:
    client = Client()
    async with raw_server(answering(OK)) as server:
        assert await _fetch(client, server.url, INTERNAL) == b"hi"
        strict = client.prepare("POST", parse_address(server.url), "/x")
        with pytest.raises(NotAllowed):
            await client.send(type(strict)(strict.method, strict.origin, strict.head, Reach()), b"{}")
        assert server.accepted == 1
    await client.close()


async def test_a_bounded_client_reaches_nothing_inside_for_those_who_forget_to_ask() -> None:
    client = Client(bounded=True)
    async with raw_server(answering(OK)) as server:
        with pytest.raises(NotAllowed):
            await _fetch(client, server.url, None)
        assert server.accepted == 0
    await client.close()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return key, certificate


async def test_a_provider_may_bring_the_certificates_that_it_is_believed_by(certificate: tuple[Path, Path]) -> None:
    key, signed = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(signed, key)
    server = await asyncio.start_server(answering(OK), "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    client = Client()
    with pytest.raises(ConnectFailed, match="not trusted"):
        await _fetch(client, f"https://localhost:{port}", INTERNAL)
    trusting = Reach(internal=True, ca=signed.read_text())
    assert await _fetch(client, f"https://localhost:{port}", trusting) == b"hi"
    with pytest.raises(ConnectFailed, match="not trusted"):  # the name is checked all the same
        await _fetch(client, f"https://127.0.0.1:{port}", trusting)
    with pytest.raises(ConnectFailed, match="not trusted"):  # and nobody else believes it now
        await _fetch(client, f"https://localhost:{port}", INTERNAL)
    await client.close()
    server.close()


def test_a_bundle_of_certificates_is_checked_when_it_is_given(certificate: tuple[Path, Path]) -> None:
    key, signed = certificate
    check_ca(signed.read_text())
    for text in (
        "",
        "nothing",
        key.read_text() + signed.read_text(),
        signed.read_text()[:-200],
        "x" * (MAX_CA_BYTES + 1),
    ):
        with pytest.raises(InvalidInput):
            check_ca(text)


def test_a_reach_tells_no_certificates() -> None:
    assert "BEGIN" not in repr(Reach(Egress(), ca="-----BEGIN"))
