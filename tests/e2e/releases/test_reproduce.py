"""A release is recorded and reproduced by the running product with the embedded model; its worker may be killed."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import psutil
import pytest

from support.product import Product, running_product
from support.wait import wait_until

P = "/api/v1/projects/default"
QUESTIONS = (
    "What is the capital of Italy?",
    "Name a colour.",
    "Say hello to Ada.",
    "What is two and two?",
    "Why is the sky blue?",
)


def requests_file(folder: Path, questions: tuple[str, ...] = QUESTIONS) -> Path:
    path = folder / "requests.jsonl"
    lines = [json.dumps({"input": text, "variables": {"tone": "kind"}}) for text in questions]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


def short_spoken(product: Product, tokens: int) -> str:
    """Return the example app's release with answers of a few tokens: they are as good to compare, and sooner there."""
    body = {"from": "assistant/production", "set": {"sampling.max_tokens": tokens}}
    return str(product.control("POST", f"{P}/releases/derive", json=body).json()["digest"])


def engines_of(product: Product) -> list[psutil.Process]:
    """Return the engine children of the worker."""
    worker = psutil.Process(product.processes()["worker"]["pid"])
    return [child for child in worker.children(recursive=True) if "llama_cpp_child" in " ".join(child.cmdline())]


@pytest.mark.timeout(400)
def test_five_recorded_requests_give_the_same_bytes_again(product: Product, tmp_path: Path) -> None:
    release = short_spoken(product, 12)
    made = product.cli(
        "reproduce", release, "--record", "--requests", str(requests_file(tmp_path)), "--json",
        timeout_s=200,
    )  # fmt: skip
    found = json.loads(made.stdout)
    assert (found["level"], found["proven"], found["succeeded"]) == ("R1", ["R0", "R1"], True)
    assert [each["state"] for each in found["requests"]] == ["same"] * len(QUESTIONS)
    assert {part["state"] for part in found["parts"]} == {"proven"}
    assert {part["kind"] for part in found["parts"]} == {"manifest", "code", "data", "model", "prompt", "evidence"}

    recording = product.control("GET", f"{P}/artifacts/{found['recording']}/content").json()
    assert len({each["answer_digest"] for each in recording["requests"]}) > 1, "they are answers, not one constant"
    assert recording["engine"]["flags"]["slots"] == "1"
    assert json.loads(recording["requests"][0]["request"])["cache_prompt"] is False

    statement = product.control("GET", f"{P}/evidence/{found['evidence']}").json()
    assert statement["counts"]
    again = product.cli("reproduce", release, timeout_s=200)
    assert "R1  proven: 5 requests gave the same bytes" in again.stdout
    assert len(engines_of(product)) == 1, "only the engine that serves people is left"


@pytest.mark.timeout(400)
def test_a_killed_worker_takes_a_recording_up_again_and_leaves_no_engine_behind(tmp_path: Path) -> None:
    with running_product(tmp_path) as product:
        digest = short_spoken(product, 40)
        path = f"{P}/releases/{digest}/reproductions"
        questions = [{"input": f"Count from {number} to {number + 20}."} for number in range(8)]
        asked = product.control("POST", path, json={"record": True, "requests": questions, "key": "once"})
        assert asked.status_code == 202, asked.text
        place = f"{path}/{asked.json()['id']}"

        def shown() -> dict[str, Any]:
            return dict(product.control("GET", place).json())

        wait_until(lambda: (shown()["progress"] or {"done": 0})["done"] >= 2, timeout_s=60, what="the second request")
        worker = psutil.Process(product.processes()["worker"]["pid"])
        engines = engines_of(product)
        assert len(engines) == 2, "one serves, one is isolated"
        worker.send_signal(signal.SIGKILL)
        psutil.wait_procs(engines, timeout=20)
        assert not [engine for engine in engines if engine.is_running()]

        again = product.control("POST", path, json={"record": True, "requests": questions, "key": "once"})
        assert again.json()["id"] == asked.json()["id"], "the same key is the same recording"
        wait_until(lambda: shown()["state"] in ("done", "failed"), timeout_s=150, what="the end of the recording")
        found = shown()
        assert (found["state"], found["error"]) == ("done", "")
        recording = product.control("GET", f"{P}/artifacts/{found['recording']}/content").json()
        assert len(recording["requests"]) == len(questions)
        assert all(each["answer"] for each in recording["requests"])
        wait_until(lambda: len(engines_of(product)) == 1, timeout_s=60, what="the isolated engine to be gone")
        listed = product.control("GET", path).json()["items"]
        assert [each["id"] for each in listed] == [found["id"]]
