"""What holds a secret does not show it: a `repr` ends in logs, in messages and in tracebacks that somebody prints."""

from __future__ import annotations

from typing import Any

import pytest

from tetrad.identity._views import SecretBody, SignInBody
from tetrad.kit.http._facts import Credential
from tetrad.kit.seal import Keyring
from tetrad.kit.upstream import BadRequest, Client, parse_address
from tetrad.serving import BindingTarget, RouteTable, Upstream
from tetrad.serving._engines import EngineEndpoint

CANARY = "sk-canary-0123456789-abcdefghij"
UPSTREAM = Upstream(
    "up", "https://h.example/v1", secret=CANARY, secrets=(CANARY,), headers=(("x-key", CANARY),), ca=CANARY
)


@pytest.mark.parametrize(
    "holder",
    [
        UPSTREAM,
        BindingTarget("m", CANARY),
        RouteTable(version=1, made_ns=1, upstreams={"up": UPSTREAM}),
        EngineEndpoint("http://127.0.0.1:1/v1", CANARY),
        Client.prepare("POST", parse_address("https://h.example"), "/x", [("authorization", f"Bearer {CANARY}")]),
        Keyring(CANARY[:16].encode() * 2),
        SecretBody(value=CANARY),
        SignInBody(token=CANARY),
        Credential("bearer", CANARY),
    ],
    ids=lambda holder: type(holder).__name__,
)
def test_a_secret_is_not_in_what_is_printed(holder: Any) -> None:
    for shown in (repr(holder), str(holder), f"{holder!r:>5}"):
        assert CANARY not in shown
        assert CANARY[:16] not in shown


def test_a_header_that_cannot_be_sent_is_refused_without_its_value() -> None:
    with pytest.raises(BadRequest) as refused:
        Client.prepare(
            "POST", parse_address("https://h.example"), "/x", [("authorization", f"Bearer {CANARY}\r\nx: y")]
        )
    assert CANARY not in f"{refused.value} {refused.value.hint}"
