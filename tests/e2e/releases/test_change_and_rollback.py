"""A prompt is changed, its release served, looked at beside the old one, and taken back: as a developer types it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from support.product import Product
from support.tetrads import EXAMPLE
from support.wait import wait_until

OLD = "You are"
NEW = "You are, first of all,"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Lend a copy of the example app, in a Git repository of its own."""
    copy = tmp_path / "assistant"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("__pycache__", "tetrad.lock"))
    git(copy, "init", "-q")
    git(copy, "add", ".")
    git(copy, "commit", "-qm", "the app")
    return copy


@pytest.fixture
def ref(product: Product, folder: Path) -> str:
    """Lend a ref of the app that points to the release of the folder as it is."""
    name = f"try-{os.getpid()}-{folder.parent.name[-4:].strip('-').lower()}"
    product.cli("release", "compose", str(folder), "--ref", name, "-m", "as it is")
    return f"assistant/{name}"


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=dev", "-c", "user.email=dev@example.org", *arguments],
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def answering(product: Product, ref: str, **headers: str) -> str:
    """Ask the gateway and return the release that answered."""
    answer = httpx.post(
        f"{product.gateway_url}/v1/chat/completions",
        headers={"Authorization": f"Bearer {product.key}", **headers},
        json={
            "model": f"app:{ref.replace('/', '@')}",
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 1,
        },
        timeout=60,
        trust_env=False,
    )
    return answer.headers["x-tetrad-release"] if answer.status_code == 200 else ""


def test_a_changed_prompt_is_served_looked_at_and_rolled_back(product: Product, folder: Path, ref: str) -> None:
    first = wait_until(lambda: answering(product, ref), what="the first release at the gateway")
    prompt = folder / "prompts" / "assistant.md"
    text = prompt.read_text("utf-8")
    assert text.count(OLD) == 1
    prompt.write_text(text.replace(OLD, NEW), "utf-8")

    refused = product.cli("release", "compose", str(folder), "--locked", check=False)
    assert refused.returncode != 0
    assert "prompt system assistant-system" in refused.stderr
    made = product.cli("release", "compose", str(folder), "--ref", ref.partition("/")[2], "-m", "friendlier")
    second = made.stdout.strip()
    assert second.startswith("sha256:")
    assert second != first
    assert product.cli("release", "compose", str(folder), "--locked").stdout.strip() == second
    wait_until(lambda: answering(product, ref) == second, what="the second release at the gateway")

    diff = json.loads(product.cli("release", "diff", f"{ref}@1", ref, "--json").stdout)
    assert (diff["old"]["digest"], diff["new"]["digest"]) == (first, second)
    ((message,),) = (part["messages"] for part in diff["prompt"])
    words = message["hunks"][0]["words"]
    assert "first of all" in "".join(word["text"] for word in words if word["op"] == "insert")
    assert (diff["prompt"][0]["contract_changed"], diff["code"], diff["data"], diff["model"]) == (False, None, [], [])
    shown = product.cli("release", "diff", f"{ref}@1", ref).stdout
    assert "+" in shown
    assert "first of all" in shown
    assert "message 1 (system)" in shown

    other = "sha256:" + "5" * 64  # the code that somebody still runs elsewhere
    assert answering(product, ref, **{"x-tetrad-code": other}) == second

    def told() -> bool:
        path = f"/api/v1/projects/default/apps/assistant/refs/{ref.partition('/')[2]}/code"
        seen = product.control("GET", path).json()["announced"]
        return any(each["tree"] == other and not each["matches"] for each in seen)

    wait_until(told, timeout_s=30, what="the other code in the traces")
    back = product.cli("rollback", ref, "-m", "too friendly")
    assert "prompt system: assistant-system" in back.stdout
    assert "5" * 12 in back.stdout, "callers with other code are listed"
    wait_until(lambda: answering(product, ref) == first, what="the first release again")
    log = json.loads(product.cli("ref", "log", ref, "--json").stdout)
    assert (log[0]["new"], log[0]["reason"]) == (first, "rollback: too friendly")
    again = product.cli("rollback", ref, check=False)
    assert again.returncode == 1
    assert "no earlier release" in again.stderr


def test_a_release_of_uncommitted_code_says_so_everywhere(product: Product, folder: Path, ref: str) -> None:
    (folder / "assistant.py").write_text((folder / "assistant.py").read_text("utf-8") + "\n# not committed\n", "utf-8")
    code = product.cli("code", "snapshot", str(folder), "--runtime", "python=3.11")
    assert "DIRTY" in code.stderr
    shown = product.cli("code", "show", code.stdout.strip())
    assert "DIRTY" in shown.stderr
    assert "assistant.py" in shown.stdout
    made = product.cli("release", "compose", str(folder))
    digest = made.stdout.strip()
    assert "not committed" in made.stderr
    assert "DIRTY" in product.cli("release", "show", digest).stdout
    assert "DIRTY" in product.cli("release", "list", "assistant").stdout
    assert "DIRTY" in product.cli("release", "diff", ref, digest).stdout
    derived = product.cli("release", "derive", "--from", digest, "--set", "sampling.temperature=0.31")
    assert "not committed" in derived.stderr
    forced = product.cli("rollback", ref, "--to", digest, "--force", "-m", "hot fix")
    assert "DIRTY" in forced.stdout


def test_a_domain_expert_makes_the_next_release_without_a_checkout(product: Product, folder: Path, ref: str) -> None:
    versions = product.control("GET", "/api/v1/projects/default/versions?kind=prompt&name=assistant-system").json()
    version = (
        versions["items"][-1]["version"] if "version" in versions["items"][-1] else versions["items"][-1]["semver"]
    )
    made = product.cli(
        "release", "derive", "--from", ref, "--set", f"prompt.system=assistant-system@{version}",
        "--set", "sampling.temperature=0.77", "--ref", ref.partition("/")[2], "-m", "warmer",
    )  # fmt: skip
    wait_until(lambda: answering(product, ref) == made.stdout.strip(), what="the derived release at the gateway")
    summary = product.cli("release", "diff", f"{ref}@-1", ref, "--summary").stdout
    assert "sampling temperature: 0.2 → 0.77" in summary
    wrong = product.cli("release", "derive", "--from", ref, "--set", "prompt.system=nobody@1.0.0", check=False)
    assert wrong.returncode == 1
    assert "assistant-system" in wrong.stderr, "what there is is named"
