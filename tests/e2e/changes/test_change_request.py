"""An expert tries a prompt, proposes it, is asked for changes, is approved by two, merged by a third, taken back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from support.product import Product
from support.wait import wait_until

POLICY = """\
schema: tetrad.gate/1
approvals: {minimum: 2, by: [key]}
suites:
  - {suite: smoke}
"""


class Person:
    """Somebody with a key, at a terminal of their own."""

    def __init__(self, product: Product, name: str) -> None:
        made = product.control(
            "POST", "/api/v1/projects/default/keys", json={"name": name, "scopes": ["control"], "content": "full"}
        )
        assert made.status_code == 201, made.text
        self.product = product
        self.secret = made.json()["secret"]

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "tetrad", *arguments],
            env={**self.product.environment, "TETRAD_API_KEY": self.secret},
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        assert not check or done.returncode == 0, done.stderr
        assert "Traceback" not in done.stderr
        return done


@pytest.fixture
def ref(product: Product) -> str:
    """Lend a governed ref of the example app."""
    name = f"changes-{os.getpid()}"
    product.cli("ref", "move", f"assistant/{name}", "assistant/production", "--create", "-m", "for changes")
    return f"assistant/{name}"


@pytest.fixture
def pin_key(product: Product) -> str:
    made = product.control(
        "POST", "/api/v1/projects/default/keys", json={"name": "playground", "scopes": ["data", "pin"]}
    )
    assert made.status_code == 201, made.text
    return str(made.json()["secret"])


def answering(product: Product, key: str, model: str) -> tuple[int, str]:
    answer = httpx.post(
        f"{product.gateway_url}/v1/chat/completions", headers={"Authorization": f"Bearer {key}"},
        json={"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 2},
        timeout=60, trust_env=False,
    )  # fmt: skip
    return answer.status_code, answer.headers.get("x-tetrad-release", "")


@pytest.mark.timeout(300)  # some thirty commands, each a process of its own
def test_an_expert_tries_proposes_is_reviewed_merged_and_rolled_back(
    product: Product, ref: str, pin_key: str, tmp_path: Path
) -> None:
    ann, bea, cat = (Person(product, f"{name}-{os.getpid()}") for name in ("ann", "bea", "cat"))
    gate = tmp_path / "gate.yaml"
    gate.write_text(POLICY, "utf-8")
    product.cli("gate", "set", ref, "--file", str(gate))
    key, public = tmp_path / "ci.key", tmp_path / "ci.pub"
    public.write_text(product.cli("evidence", "new-key", str(key)).stdout, "utf-8")
    product.cli("evidence", "trust", f"smoke-{os.getpid()}", str(public))
    before = json.loads(product.cli("ref", "list", ref, "--json").stdout)[0]["digest"]

    # the expert forks the prompt that is served, and tries it before anybody else sees it
    prompts = product.control("GET", "/api/v1/projects/default/prompts/assistant-system").json()
    text = str(prompts["text"]).replace("You are", "You are, before all else,", 1)
    draft = tmp_path / "assistant.md"
    draft.write_text(text + "\n{{nobody}}\n", "utf-8")
    wrong = ann("change", "open", ref, "-t", "Friendlier", "-f", f"prompt.system={draft}", "--draft", check=False)
    assert wrong.returncode != 0
    assert "assistant-system.md:" in wrong.stderr, "the line of the file is named"
    draft.write_text(text, "utf-8")
    opened = json.loads(
        ann("change", "open", ref, "-t", "Friendlier", "-f", f"prompt.system={draft}", "--draft", "--json").stdout
    )
    number, candidate = str(opened["number"]), opened["candidate"]
    assert opened["state"] == "draft"
    wait_until(
        lambda: answering(product, pin_key, f"release:{candidate}") == (200, candidate),
        what="the draft at the gateway",
    )
    assert answering(product, product.key, f"release:{candidate}")[0] == 403, "pinning needs the scope pin"
    assert "before all else" in ann("change", "diff", number).stdout

    # proposed, talked about, approved; then a push voids the approval of what it changes
    proposed = json.loads(ann("change", "propose", number, "--json").stdout)
    assert (proposed["state"], proposed["candidate"]) == ("open", candidate)
    about = ("--part", "prompt.system", "--message", "1", "--line", "1")
    said = bea("change", "comment", number, "Why before all?", *about)
    thread = said.stdout.split()[0]
    bea("change", "approve", number, "-m", "good")
    assert ann("change", "approve", number, check=False).returncode == 1, "nobody approves their own work"
    draft.write_text(text.replace("before all else", "above all"), "utf-8")
    pushed = json.loads(
        ann("change", "edit", number, "-f", f"prompt.system={draft}", "--note", "shorter", "--json").stdout
    )
    assert (pushed["revision"], pushed["state"]) == (2, "open")
    assert pushed["candidate"] != candidate
    candidate = pushed["candidate"]
    assert [each["standing"] for each in pushed["reviews"]] == ["none"]
    assert "outdated" in ann("change", "comments", number).stdout
    ann("change", "resolve", number, thread)

    # two reviews and a signed test result; the gate says what is missing until all is there
    bea("change", "approve", number)
    refused = ann("change", "merge", number, check=False)
    assert refused.returncode == 1
    assert "1 of 2 approvals" in refused.stderr
    assert "no result of the suite 'smoke'" in refused.stderr
    cat("change", "approve", number)
    missing = cat("change", "checks", number, check=False)
    assert missing.returncode == 1
    assert "MISSING suite:smoke" in missing.stdout
    product.cli("evidence", "add", candidate, "--suite", "smoke", "--result", "PASSED", "--key", str(key))
    assert cat("change", "checks", number).returncode == 0
    merged = json.loads(cat("change", "merge", number, "--json").stdout)
    assert merged["state"] == "merged"
    model = f"app:{ref.replace('/', '@')}"
    wait_until(lambda: answering(product, product.key, model) == (200, candidate), what="the merged release")
    log = json.loads(product.cli("ref", "log", ref, "--json").stdout)
    assert (log[0]["change_request"], log[0]["new"]) == (f"#{number}", candidate)
    assert json.loads(cat("change", "merge", number, "--json").stdout)["merged"] == merged["merged"]
    kinds = [each["kind"] for each in json.loads(ann("change", "log", number, "--json").stdout)]
    assert kinds == [
        "merged", "approved", "approved", "thread_resolved", "pushed", "approved", "commented", "proposed", "opened",
    ]  # fmt: skip

    # and back, by the way that every ref has
    product.cli("gate", "remove", ref, "--yes")
    product.cli("rollback", ref, "-m", "too friendly")
    wait_until(lambda: answering(product, product.key, model) == (200, before), what="the release before")
