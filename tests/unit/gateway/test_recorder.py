"""What of an exchange is kept, and what is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.kit.spool import SpoolFolder, SpoolWriter
from tetrad.processes.gateway._metrics import Metrics, read_snapshots, render, write_snapshot
from tetrad.processes.gateway._recorder import Recorder, redacted
from tetrad.serving import CHAT, Attempt, Exchange, KeyEntry, ModelEntry, Upstream
from tetrad.traces import read_frames

secrets = st.text("0123456789abcdefghijklmnopqrstuvwxyz", min_size=6, max_size=30)
documents = st.recursive(
    secrets | st.integers(10**6, 10**9) | st.booleans() | st.none(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["content", "text", "arguments", "name"]), inner)
    ),
    max_leaves=20,
)


@given(documents)
def test_a_redacted_document_has_its_shape_and_none_of_its_words(document: object) -> None:
    text = redacted(json.dumps(document).encode()).decode()
    for leaf in _leaves(document):
        assert str(leaf) not in text
    shape = json.loads(text)
    assert type(shape) is type(document) or isinstance(document, (int, float))


def _leaves(value: object) -> list[object]:
    if isinstance(value, dict):
        return [leaf for item in value.values() for leaf in _leaves(item)]
    if isinstance(value, list):
        return [leaf for item in value for leaf in _leaves(item)]
    return [] if value is None or isinstance(value, bool) else [value]


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (b'[{"role":"user","content":"secret"}]', [{"role": "user", "content": "[6 characters]"}]),
        (b"[[101,102,103]]", [["[3 numbers]"]]),
        (b'{"role":"' + b"x" * 100 + b'"}', {"role": "[100 characters]"}),
        (b"not json", {"redacted": True, "bytes": 8}),
    ],
)
def test_roles_and_lengths_stay(document: bytes, expected: object) -> None:
    assert json.loads(redacted(document)) == expected


@pytest.fixture
def spool(tmp_path: Path) -> SpoolWriter:
    folder = SpoolFolder.claim(tmp_path / "0")
    assert folder is not None
    return SpoolWriter(folder)


def test_an_input_past_the_limit_is_kept_by_its_head(spool: SpoolWriter) -> None:
    recorder = Recorder(spool, Metrics("0"), record_bytes=10_000)
    for policy in ("full", "redacted"):
        exchange = Exchange(CHAT, {}, 1)
        exchange.key = KeyEntry("k", "p", ("data",), content=policy)
        exchange.input = b'[{"role":"user","content":"' + b"x" * 20_000 + b'"}]'
        [span] = recorder.group(exchange, exchange.key).expand()
        kept = json.loads(span.input)
        assert (kept["truncated"], kept["bytes"]) == (True, 20_030)
        assert kept["head"].startswith('[{"role":"user"') is (policy == "full")


def test_an_unknown_client_is_counted_and_not_recorded(spool: SpoolWriter) -> None:
    metrics = Metrics("0")
    recorder = Recorder(spool, metrics, record_bytes=1000)
    exchange = Exchange(CHAT, {}, 1)
    exchange.status, exchange.error_type = 401, "invalid_api_key"
    recorder(exchange)
    assert spool.appended == 0
    page = render([metrics.snapshot(spool, {})]).decode()
    assert 'tetrad_gateway_requests_total{worker="0",operation="chat",status="401"} 1\n' in page
    assert 'tetrad_gateway_errors_total{worker="0",code="invalid_api_key"} 1\n' in page


def test_a_record_is_in_the_spool_when_the_call_returns(spool: SpoolWriter) -> None:
    exchange = Exchange(CHAT, {}, 1)
    exchange.key = KeyEntry("k", "p", ("data",))
    Recorder(spool, Metrics("0"), record_bytes=1000)(exchange)
    [span] = read_frames(spool.folder.read(spool.active, 0, 1 << 20)).spans
    assert (span.project, span.key_id, span.trace_id) == ("p", "k", exchange.trace_id)


@pytest.mark.parametrize("prompt", ["", "be brief"])
@pytest.mark.parametrize("policy", ["full", "redacted", "off"])
@pytest.mark.parametrize("size", [10, 5_000])
def test_what_the_client_said_is_written_once_and_read_in_both_spans(
    spool: SpoolWriter, prompt: str, policy: Any, size: int
) -> None:
    said = b'[{"role":"user","content":"' + b"x" * size + b'"}]'
    sent = b'[{"role":"system","content":"' + prompt.encode() + b'"},' + said[1:] if prompt else said
    exchange = Exchange(CHAT, {}, 1)
    exchange.key = KeyEntry("k", "p", ("data",), content=policy)
    exchange.input = said
    exchange.attempts.append(Attempt(ModelEntry("m", "u", "m"), Upstream("u", "http://u"), sent, 2))
    Recorder(spool, Metrics("0"), record_bytes=1 << 20)(exchange)
    data = spool.folder.read(spool.active, 0, 1 << 20)
    root, child = read_frames(data).spans
    kept = {"full": lambda document: document, "redacted": redacted, "off": lambda _: b""}[policy]
    assert (root.input, child.input) == (kept(said), kept(sent))
    if policy == "full" and size > 1_000:
        assert len(data) < 1.3 * size


def test_one_page_shows_all_living_workers_of_the_machine(spool: SpoolWriter, tmp_path: Path) -> None:
    mine, sibling = Metrics("0").snapshot(spool, {}), Metrics("1").snapshot(spool, {})
    write_snapshot(tmp_path, sibling)
    (tmp_path / "gateway-2.metrics").write_bytes(b"garbage")
    page = render(read_snapshots(tmp_path, mine)).decode()
    assert 'tetrad_gateway_in_flight{worker="0"} 0' in page
    assert 'tetrad_gateway_in_flight{worker="1"} 0' in page
    assert page.count("# TYPE tetrad_gateway_in_flight gauge") == 1
    assert 'worker="2"' not in page


def test_metrics_have_a_bounded_number_of_series(spool: SpoolWriter) -> None:
    metrics = Metrics("0")
    for number in range(1000):
        exchange = Exchange(CHAT, {}, 1)
        exchange.error_type = f"invented_{number}"
        metrics.finished(exchange)
    page = render([metrics.snapshot(spool, {})]).decode()
    assert page.count("tetrad_gateway_errors_total{") <= 201
    assert 'code="other"} 800' in page
