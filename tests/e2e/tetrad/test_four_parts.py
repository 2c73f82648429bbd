"""Code, data, model and prompt: changing any one makes another release, and another request reaches the model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.fake_openai import FakeOpenAI
from support.product import Product
from support.wait import wait_until

EXAMPLE = Path(__file__).parents[3] / "examples" / "assistant"
PROJECT = "four-parts"


@dataclass
class App:
    """A copy of the example app in a project of its own, whose model is an upstream that keeps what it is sent."""

    folder: Path
    product: Product
    upstream: FakeOpenAI
    key: str

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.folder / name
        text = path.read_text("utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), "utf-8")

    def compose(self) -> str:
        """Make a release, point production at it, and wait until the gateway serves it; return its digest."""
        made = self.product.cli(
            "release", "compose", str(self.folder), "--ref", "production", "--project", PROJECT, "--no-git", "--json"
        )
        digest: str = json.loads(made.stdout)["digest"]

        def served() -> bool:
            answer = httpx.post(
                f"{self.product.gateway_url}/v1/chat/completions",
                headers={"Authorization": f"Bearer {self.key}"},
                json={"model": "app:assistant", "messages": [{"role": "user", "content": "Ready?"}]},
                trust_env=False,
            )
            return answer.headers.get("x-tetrad-release") == digest

        wait_until(served, what="the gateway to serve the release")
        return digest

    def ask(self) -> Any:
        """Run the app as its user would, and return the request that reached the model."""
        subprocess.run(
            [sys.executable, str(self.folder / "assistant.py"), "why is the sky blue"],
            env={**os.environ, "OPENAI_BASE_URL": f"{self.product.gateway_url}/v1", "OPENAI_API_KEY": self.key},
            check=True,
            capture_output=True,
            timeout=60,
        )
        return self.upstream.requests[-1].body


@pytest.fixture(scope="module")
def app(product: Product, tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("app") / "assistant"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with FakeOpenAI() as upstream:
        assert product.control("POST", "/api/v1/projects", json={"name": PROJECT}).status_code == 201
        base = f"/api/v1/projects/{PROJECT}"
        models = [{"name": "m1"}, {"name": "echo"}]
        for model in models:
            body = {"name": f"four/{model['name']}", "provider": "four", "model": model["name"]}
            assert product.control("POST", f"{base}/models", json=body).status_code == 201
        put = product.control("PUT", f"{base}/providers/four", json={"base_url": upstream.base_url, "models": models})
        assert put.status_code == 200
        key = product.control("POST", f"{base}/keys", json={"name": "app", "scopes": ["data"]}).json()["secret"]
        copy = App(folder, product, upstream, key)
        copy.edit("tetrad.yaml", "local/smollm2-135m", "four/m1")
        yield copy


def changed_prompt(app: App) -> None:
    app.edit("prompts/assistant.md", "Answer the question directly", "Answer the question like a pirate")


def changed_data(app: App) -> None:
    path = app.folder / "data" / "fewshot.jsonl"
    row = {"input": "Where do ships sleep?", "output": "In a harbour."}
    path.write_text(path.read_text("utf-8") + json.dumps(row) + "\n", "utf-8")


def changed_model(app: App) -> None:
    app.edit("tetrad.yaml", "four/m1", "four/echo")


def changed_code(app: App) -> None:
    app.edit("assistant.py", '" ".join(question.split())', '" ".join(["In one word:", *question.split()])')


def test_the_same_four_parts_are_the_same_release(app: App) -> None:
    assert app.compose() == app.compose()


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        (changed_prompt, lambda body: "like a pirate" in body["messages"][0]["content"]),
        (changed_data, lambda body: any("ships sleep" in m["content"] for m in body["messages"][1:-1])),
        (changed_model, lambda body: body["model"] == "echo"),
        (changed_code, lambda body: body["messages"][-1]["content"].startswith("In one word: why")),
    ],
    ids=["prompt", "data", "model", "code"],
)
def test_a_changed_part_is_another_release_and_another_request(
    app: App, change: Callable[[App], None], seen: Callable[[Any], bool]
) -> None:
    before = app.compose()
    assert not seen(app.ask())
    change(app)
    after = app.compose()
    assert after != before
    assert seen(app.ask())


def test_code_that_was_changed_after_its_release_is_recorded_as_a_mismatch(app: App) -> None:
    app.compose()
    app.ask()
    app.edit("assistant.py", "MAX_TURNS = 6", "MAX_TURNS = 5")
    app.ask()

    def states() -> set[str] | None:
        listed = app.product.control("GET", f"/api/v1/projects/{PROJECT}/traces", params={"limit": 2}).json()["items"]
        found = {trace["code_match"] for trace in listed}
        return found if found == {"match", "mismatch"} else None

    wait_until(states, timeout_s=20, what="one match and one mismatch")
