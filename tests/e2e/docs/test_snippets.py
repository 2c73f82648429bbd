"""The documentation's snippets, run as a reader runs them, against the running product."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.docs_script import docs_script
from support.product import Product, environ_of

docs = docs_script()
SNIPPETS = [
    snippet for page in docs.pages() for snippet in docs.snippets(page) if snippet.runnable and snippet.needs_product
]


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda snippet: snippet.name)
def test_the_snippet_runs_and_prints_something(snippet: Any, product: Product, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", snippet.text],
        check=False,
        env={**os.environ, **product.environment, **environ_of(product)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_example_app_answers_and_its_code_is_the_releases(product: Product) -> None:
    script = docs.ROOT / "examples/assistant/assistant.py"
    done = subprocess.run(
        [sys.executable, str(script), "-v", "What is the capital of Italy?"],
        check=False,
        env={**os.environ, **product.environment, **environ_of(product)},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    trace_id = next(line.split()[1] for line in done.stderr.splitlines() if line.startswith("trace"))

    from support.wait import wait_until

    def found() -> Any:
        answer = product.control("GET", f"/api/v1/projects/default/traces/{trace_id}")
        return answer.json() if answer.status_code == 200 else None

    trace = wait_until(found, timeout_s=20, what=f"the trace {trace_id}")
    root = next(span for span in trace["spans"] if not span["parent_id"])
    assert root["code_match"] == "match"
