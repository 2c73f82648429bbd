"""Ask the assistant: one question on the command line, or a conversation without one.

eval "$(tetrad env)"
python assistant.py "Why is the sky blue?"
python assistant.py --tone formal --ref staging
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai

import tetrad_sdk

FOLDER = Path(__file__).resolve().parent
MAX_QUESTION_CHARS = 2_000
MAX_TURNS = 6


def prepare(
    question: str,
    history: list[dict[str, str]] | None = None,
    *,
    app: str = "assistant",
    ref: str = "",
    variables: dict[str, object] | None = None,
) -> dict[str, Any]:
    """Shape a question into the request that is sent; the release adds its prompt, examples, model and parameters.

    White space is tidied, the last `MAX_TURNS` turns of the conversation come first. Raises `ValueError` for a
    question that is empty or longer than `MAX_QUESTION_CHARS`.
    """
    text = " ".join(question.split())
    if not text:
        raise ValueError("the question is empty")
    if len(text) > MAX_QUESTION_CHARS:
        raise ValueError(f"the question has {len(text):,} characters; at most {MAX_QUESTION_CHARS:,}")
    if text[-1].isalnum():
        text += "?" if text.split()[0].lower() in _ASKING else "."
    recent = (history or [])[-2 * MAX_TURNS :]
    request: dict[str, Any] = {
        "model": f"app:{app}@{ref}" if ref else f"app:{app}",
        "messages": [*recent, {"role": "user", "content": text}],
        "stream": True,
    }
    if variables:
        request["extra_body"] = {"tetrad": {"variables": variables}}
    return request


_ASKING = {"who", "what", "when", "where", "why", "which", "how", "is", "are", "do", "does", "did", "can", "will"}


def connect(session: str = "", user: str = "") -> openai.OpenAI:
    """Return an OpenAI client that tells Tetrad which conversation this is and which code is asking."""
    return openai.OpenAI(
        default_headers=tetrad_sdk.headers(session=session, user=user, code=tetrad_sdk.code_digest(FOLDER))
    )


class Answer:
    """A streamed answer: iterate over its pieces, then read `text`, `release` and `trace_id`."""

    def __init__(self, client: openai.OpenAI, request: dict[str, Any]) -> None:
        self.text = ""
        self._raw = client.chat.completions.with_raw_response.create(**request)
        self.release = self._raw.headers.get("x-tetrad-release", "")
        self.trace_id = self._raw.headers.get("x-tetrad-trace-id", "")

    def __iter__(self) -> Iterator[str]:
        for chunk in self._raw.parse():
            piece = chunk.choices[0].delta.content if chunk.choices else None
            if piece:
                self.text += piece
                yield piece


def ask(client: openai.OpenAI, question: str, history: list[dict[str, str]], options: argparse.Namespace) -> None:
    """Print the answer as it comes, and keep the turn."""
    request = prepare(question, history, app=options.app, ref=options.ref, variables=_variables(options))
    answer = Answer(client, request)
    for piece in answer:
        print(piece, end="", flush=True)
    print()
    history += [request["messages"][-1], {"role": "assistant", "content": answer.text}]
    if options.verbose:
        print(f"release {answer.release}\ntrace   {answer.trace_id}", file=sys.stderr)


def main(arguments: list[str] | None = None) -> int:
    """Answer one question, or every line that is typed until the end of the input."""
    options = _options(arguments)
    try:
        client = connect(session=f"assistant-{uuid.uuid4().hex[:12]}", user=options.user)
    except openai.OpenAIError:  # only a missing key is refused before anything is sent
        print('OPENAI_API_KEY is not set; in this shell, run: eval "$(.venv/bin/tetrad env)"', file=sys.stderr)
        return 1
    history: list[dict[str, str]] = []
    questions = [" ".join(options.question)] if options.question else _typed()
    failed = False
    for question in questions:
        try:
            ask(client, question, history, options)
            failed = False
        except ValueError as error:
            failed = True
            print(error, file=sys.stderr)
        except openai.APIStatusError as error:
            failed = True
            print(f"{error.status_code}: {_detail(error)}", file=sys.stderr)
        except openai.APIConnectionError as error:
            print(
                f"{client.base_url} does not answer ({error.__cause__ or error}); is `tetrad up` running?",
                file=sys.stderr,
            )
            return 1
    return int(failed)


def _typed() -> Iterator[str]:
    interactive = sys.stdin.isatty()
    while True:
        try:
            line = input("> " if interactive else "")
        except (EOFError, KeyboardInterrupt):
            return
        if line.strip():
            yield line


def _variables(options: argparse.Namespace) -> dict[str, object]:
    return {"tone": options.tone} if options.tone else {}


def _detail(error: openai.APIStatusError) -> str:
    body = error.body
    if isinstance(body, dict):
        return str(body.get("message") or body.get("detail") or json.dumps(body))
    return str(body or error)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Ask the assistant.")
    parser.add_argument("question", nargs="*", help="a question; without one, a conversation starts")
    parser.add_argument("--app", default="assistant", help="the app that answers")
    parser.add_argument("--ref", default="", help="the ref of the app, such as staging; production otherwise")
    parser.add_argument("--tone", default="", help="the voice of the answers, such as formal")
    parser.add_argument("--user", default="", help="who asks, for sessions and budgets")
    parser.add_argument("--verbose", "-v", action="store_true", help="print the release and the trace of each answer")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
