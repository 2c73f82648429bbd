"""Who makes plain calls reads no authorities, and is no way around the check of encrypted ones."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import httpx
import pytest

from tetrad.kit.trust import believed


@pytest.mark.parametrize("url", ["http://127.0.0.1:8401", "HTTP://[::1]:8401/api"])
def test_a_client_of_a_plain_address_believes_nobody(url: str) -> None:
    context = believed(url)
    assert isinstance(context, ssl.SSLContext)
    assert context.get_ca_certs() == []
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("url", ["https://tetrad.example", "HTTPS://tetrad.example", "tetrad.example", ""])
def test_any_other_client_believes_the_usual_authorities(url: str) -> None:
    assert believed(url) is True


def test_a_plain_clients_call_that_strays_to_an_encrypted_address_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "k.pem", tmp_path / "c.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def shake_hands() -> None:
            raw, _ = listening.accept()
            with raw, pytest.raises(ssl.SSLError, match="unknown ca"):
                context.wrap_socket(raw, server_side=True)

        server = threading.Thread(target=shake_hands)
        server.start()
        plain = httpx.Client(base_url="http://127.0.0.1", verify=believed("http://127.0.0.1"), trust_env=False)
        with plain, pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            plain.get(f"https://localhost:{listening.getsockname()[1]}")
        server.join(20)
        assert not server.is_alive()
