"""What is said of paths that are not there, and of methods that a path does not have."""

from __future__ import annotations

from collections.abc import Mapping

from tetrad.processes.gateway._memory import PREFIX as RESPONSES
from tetrad.processes.gateway._relay import relayed
from tetrad.serving import BY_PATH, RequestRefused
from tetrad.tools import COMBINED
from tetrad.tools import PREFIX as MCP

_MESSAGES = "/v1/messages"
_FILES = "/v1/files"
_NOT_SERVED = tuple(
    "/v1/" + name
    for name in (
        "realtime", "assistants", "threads", "fine_tuning", "uploads", "vector_stores", "containers", "videos", "evals",
        "chatkit", "skills", "complete", "chat/completions", "responses/compact", "responses/input_tokens",
    )
)  # fmt: skip
"""What OpenAI and Anthropic have besides. Below `chat/completions` are those that OpenAI has stored."""
_BY_LENGTH = sorted((*BY_PATH, "/v1/models"), key=len, reverse=True)


def dialect_of(path: str, headers: Mapping[bytes, bytes]) -> str:
    """Return in whose words a client is told what is wrong with its request for a page."""
    if b"anthropic-version" in headers or path == _MESSAGES or path.startswith(_MESSAGES + "/"):
        return "anthropic"
    return "openai"


def allowed_at(path: str) -> bytes:
    """Return the methods that a path has, as the header `Allow` says them (RFC 9110 10.2.1)."""
    if path in BY_PATH:
        return b"POST"
    if path == COMBINED or path.startswith(MCP):
        return b"POST, GET, DELETE"
    if path.startswith(RESPONSES):
        what = path.removeprefix(RESPONSES).partition("/")[2]
        return {"cancel": b"POST", "input_items": b"GET"}.get(what, b"GET, DELETE")
    return b"GET, POST, DELETE" if relayed(path) else b"GET, HEAD"


def is_file_of_anthropic(path: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a client asks for files in Anthropic's words, which differ from OpenAI's at the same path."""
    return b"anthropic-version" in headers and (path == _FILES or path.startswith(_FILES + "/"))


def no_files_of_anthropic() -> RequestRefused:
    """Return what is said to clients of Anthropic's that ask for files."""
    return RequestRefused(
        "Anthropic's files are not served: those at this path are OpenAI's",
        hint="put documents and images into the message itself, as base64, text or a URL",
        status=404,
        code="protocol_not_served",
    )


def is_not_served(path: str) -> bool:
    """Tell whether a path is one of the protocols' that the gateway leaves to the providers."""
    clean = path.rstrip("/")
    return clean not in BY_PATH and any(clean == each or clean.startswith(each + "/") for each in _NOT_SERVED)


def nothing_at(path: str) -> RequestRefused:
    """Return the refusal of a path that is not there; its hint names the one that was meant, where that can be told."""
    if is_not_served(path):
        return RequestRefused(
            f"{path[:200]} is not served: the gateway speaks chat completions, responses, completions, embeddings, "
            "images, audio, moderations, files, batches and models of the OpenAI protocol, and messages "
            "of Anthropic's",
            hint="use one of these with the same model and key",
            status=404,
            code="protocol_not_served",
        )
    return RequestRefused(f"there is nothing at {path[:200]}", hint=_hint(path), status=404, code="unknown_url")


def _hint(path: str) -> str:
    clean = path.rstrip("/")
    for meant in _BY_LENGTH:
        if clean == meant:
            return f"send it to {meant}, without the slash at the end"
        if clean.endswith(meant.removeprefix("/v1")):
            where = "ends before /v1" if meant.startswith(_MESSAGES) else "ends in /v1, once"
            return f"send it to {meant}: the client's base URL {where}"
    return "the base URL of OpenAI clients ends in /v1; the console and the API have a port of their own"
