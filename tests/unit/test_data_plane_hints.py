"""Every error that a client of the data plane may meet says what to do next."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path

import pytest

from tetrad.kernel import TetradError

SOURCE = Path(__file__).parents[2] / "src"
PLACES = (
    "tetrad/kit/upstream", "tetrad/limits/_gate.py", "tetrad/limits/_layer.py", "tetrad/limits/_pockets.py",
    "tetrad/processes/gateway", "tetrad/adapters/providers", "tetrad/serving", "tetrad/tools",
)  # fmt: skip
NO_CLIENT = (
    "cli.py", "route_cli.py", "conformance.py", "routes.py", "_store.py", "_service.py", "_engine_supervisor.py",
    "_engine_directory.py", "_engines.py", "_route_directory.py", "_model.py",
)  # fmt: skip
"""Modules of commands, of control and of the worker."""
PASSED_ON = {
    # an upstream's own words, which are passed on as they are
    ("_endpoint.py", "TetradError(message,"), ("_vectors.py", "TetradError(outcome.error_message,"),
    ("any_llm.py", "TetradError(got.message,"), ("bedrock.py", "TetradError(message or"),
    ("chat_answers.py", "TetradError(detail.message or"), ("gemini_answers.py", "TetradError(said.message or"),
    ("messages_answers.py", "TetradError(said.message or"), ("_aws_stream.py", "StreamFailed("),
    ("_probe.py", "TetradError("), ("_call.py", "TetradError(told.message)"),
    # told by a log, never to a client
    ("_health.py", "TetradError("), ("_sightings.py", "TetradError("),
    # mistakes of ours in code that no request reaches
    ("_chains.py", "TetradError('a chain has no step')"),
    ("_handing.py", "TetradError('the provider takes no batches')"),
    ("_messages_prompting.py", "TetradError('a prompt must be"), ("_pipeline.py", "TetradError('the exchange was not"),
    ("_call.py", "TetradError('a tool is no model')"), ("_proxy.py", "TetradError('the exchange was not"),
}  # fmt: skip


def errors_made(path: Path) -> Iterator[tuple[int, str, type[TetradError]]]:
    """Yield (line, text, class) of every error that a module makes without a hint."""
    module = importlib.import_module(".".join(path.relative_to(SOURCE).with_suffix("").parts))
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            made = getattr(module, node.func.id, None)
            if not (inspect.isclass(made) and issubclass(made, TetradError)):
                continue
            if not any(given.arg in ("hint", None) for given in node.keywords):
                yield node.lineno, ast.unparse(node), made


def modules() -> list[Path]:
    found: list[Path] = []
    for place in PLACES:
        path = SOURCE / place
        found += [path] if path.suffix else sorted(path.rglob("*.py"))
    return [path for path in found if path.name not in NO_CLIENT and path.name != "__main__.py"]


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_every_error_of_the_data_plane_says_what_to_do_next(path: Path) -> None:
    silent = [
        f"{path.name}:{line}: {text[:120]}"
        for line, text, made in errors_made(path)
        if not made.next_step
        and "__init__" not in vars(made)
        and not any(name == path.name and text.startswith(begins) for name, begins in PASSED_ON)
    ]
    assert silent == []


def test_a_hint_of_its_own_stands_before_that_of_the_class() -> None:
    class Lost(TetradError):
        next_step = "look for it"

    assert (Lost("gone").hint, Lost("gone", hint="ask Ann").hint) == ("look for it", "ask Ann")
