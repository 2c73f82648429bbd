"""Files that clients upload, and batches of calls that are made from them."""

from __future__ import annotations

import re
from typing import Any, Literal

import msgspec

from tetrad.kernel import Digest

Protocol = Literal["openai", "anthropic"]
Status = Literal[
    "validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"
]  # fmt: skip
OPEN: frozenset[Status] = frozenset(("validating", "in_progress", "finalizing", "cancelling"))
"""A batch in one of these is not over."""
CANCELLABLE: frozenset[Status] = frozenset(("validating", "in_progress"))
ENDPOINTS = (
    "/v1/responses",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/completions",
    "/v1/moderations",
    "/v1/images/generations",
    "/v1/rerank",
)
"""What the lines of a batch may call: every operation whose body and answer are JSON."""
MESSAGES = "/v1/messages"
PURPOSES = ("assistants", "batch", "evals", "fine-tune", "user_data", "vision")
BATCH = "batch"
BATCH_OUTPUT = "batch_output"
HIDDEN = "message_batch"
"""The purpose of files of Anthropic's batches, which its protocol does not show as files."""
MOST_ERRORS = 100
"""So many faults of an input file are told; more are of no use to anybody."""
MOST_MODELS, _MODEL_CHARS = 50, 300
"""So many models of a batch's lines are told, and what is longer is none."""

_WINDOW = re.compile(r"([1-9][0-9]{0,2})([hd])")
_CUSTOM_ID = {"openai": re.compile(r".{1,512}", re.DOTALL), "anthropic": re.compile(r"[A-Za-z0-9_-]{1,64}")}
_HOUR_S = 3600


class StoredFile(msgspec.Struct, frozen=True):
    """A file of a project; its bytes are in the blob store. Times are seconds since the epoch."""

    id: str
    project: str
    name: str
    purpose: str
    size: int
    digest: Digest
    created_s: int
    expires_s: int | None = None
    key_id: str = ""


class BatchError(msgspec.Struct, frozen=True):
    """Why a batch, or a line of its input, cannot be done."""

    code: str
    message: str
    line: int | None = None
    param: str | None = None


Way = Literal["", "calls", "native"]
"""How a batch's lines are done: not decided yet, as calls, or by the provider's own batch API."""


class Carriage(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """How a batch is done; `why` says why its lines are calls.

    `provider`, `adapter` and `model` are where a native one goes; `batch` is its id there, empty until that is known;
    it was submitted no earlier than `began_s`. `facts` say by the lines' `model` what each was when it was handed over
    (`tetrad.serving.LineFacts`). `holds` are to be set aside of budgets (rule, instance, amount), in place of what was
    before; None leaves that as it is.
    """

    way: Way = ""
    why: str = ""
    provider: str = ""
    adapter: str = ""
    model: str = ""
    upstream_model: str = ""
    batch: str = ""
    began_s: int = 0
    facts: dict[str, msgspec.Raw] = {}
    holds: list[tuple[str, str, int]] | None = None
    key: dict[str, str] | None = None
    """What its lines are recorded by when the key that made it is gone."""
    file: str = ""
    """The file of its lines at its provider, where that has files."""
    asked_s: int = 0
    """When it was submitted, as long as nobody knows what came of that; else 0."""
    insists: bool = False
    """Whether people said that its provider does all batches: then no line is called in place of that."""


class Batch(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that are made when there is time, each by a line of `input_digest`. Times are seconds since the epoch.

    `times` says when it came to each status. `key_id` made it, and its lines run as calls of that key.
    """

    id: str
    project: str
    key_id: str
    protocol: Protocol
    endpoint: str
    input_file: str
    input_digest: Digest
    status: Status
    created_s: int
    expires_s: int
    window: str = "24h"
    metadata: dict[str, str] | None = None
    errors: tuple[BatchError, ...] = ()
    output_file: str = ""
    error_file: str = ""
    output_keep_s: int | None = None
    times: dict[str, int] = {}
    total: int = 0
    completed: int = 0
    failed: int = 0
    answer_bytes: int = 0
    carriage: Carriage = Carriage()
    models: tuple[str, ...] = ()
    """What its lines ask for, in the order of their first, the first `MOST_MODELS`; empty until they were read."""

    @property
    def open(self) -> bool:
        """Whether it is not over."""
        return self.status in OPEN

    @property
    def left(self) -> int:
        """Lines that nobody has answered."""
        return self.total - self.completed - self.failed


class BatchSearch(msgspec.Struct, frozen=True):
    """Which batches: of a status (`open`: not over), a model, a key; those that hold a text in what they are named by.

    That is the batch's id, its key's, its models, what its lines call, and where it is done.
    """

    contains: str = ""
    status: str = ""
    model: str = ""
    key_id: str = ""
    oldest_first: bool = False


FileRole = Literal["input", "output", "errors"]


class BatchFile(msgspec.Struct, frozen=True):
    """A file of a batch, without its content; `name` and `size` are None where it is not there any more."""

    role: FileRole
    id: str
    name: str | None = None
    size: int | None = None
    expires_s: int | None = None


class Line(msgspec.Struct, frozen=True):
    """Where a call stands in a batch's input, from byte `start`."""

    number: int
    custom_id: str
    start: int
    length: int


class LineAnswer(msgspec.Struct, frozen=True):
    """What became of a line: an answer with its status and body, or, with status 0, an error of ours.

    `body` is JSON; `request_id` is the trace of the call. `spent` is what it cost of budgets, where that is counted
    with the answer: rule, instance, amount, calls of unknown cost.
    """

    number: int
    status: int = 0
    request_id: str = ""
    body: msgspec.Raw = msgspec.Raw(b"null")
    code: str = ""
    message: str = ""
    spent: list[tuple[str, str, int, int]] = []

    @property
    def good(self) -> bool:
        """Whether it was answered as it should be."""
        return 200 <= self.status < 300


class BudgetPart(msgspec.Struct, frozen=True):
    """What a batch holds of a budget, and what its lines spent of that in all. Amounts are 10^-12 of its currency."""

    rule: str
    instance: str
    held: int = 0
    spent: int = 0
    unknown: int = 0


class WorkLine(msgspec.Struct, frozen=True):
    """A call to make: POST `body` to `url`."""

    number: int
    url: str
    body: msgspec.Raw


class Work(msgspec.Struct, frozen=True):
    """What a worker must know of a batch. `problem` says why nothing more of it may be done."""

    id: str
    protocol: Protocol
    status: Status
    expires_s: int
    total: int
    left: int
    secret: str = ""
    problem: BatchError | None = None
    carriage: Carriage = Carriage()


class BatchLimits(msgspec.Struct, frozen=True):
    """Sizes in bytes, times in days."""

    file_bytes: int = 512 * 2**20
    project_bytes: int = 20 * 2**30
    project_files: int = 10_000
    file_keep_days: int = 30
    batch_bytes: int = 200 * 2**20
    batch_lines: int = 50_000
    line_bytes: int = 16 * 2**20
    inline_bytes: int = 64 * 2**20
    answers_bytes: int = 2 * 2**30
    open_batches: int = 100
    batch_keep_days: int = 90


class _Call(msgspec.Struct, frozen=True):
    custom_id: str
    method: str
    url: str
    body: dict[str, msgspec.Raw]


_call = msgspec.json.Decoder(_Call)
_flag = msgspec.json.Decoder(bool)
_text = msgspec.json.Decoder(str)


def window_s(text: str) -> int | None:
    """Return the seconds of a completion window such as `24h`, at most a week; None where it is none."""
    match = _WINDOW.fullmatch(text)
    if match is None:
        return None
    seconds = int(match[1]) * (_HOUR_S if match[2] == "h" else 24 * _HOUR_S)
    return seconds if seconds <= 7 * 24 * _HOUR_S else None


def read_call(raw: bytes, endpoint: str, protocol: Protocol, number: int) -> tuple[str, str] | BatchError:
    """Return the `custom_id` and the model of a line, or what is wrong with it. `number` counts from 1.

    What can be no model's name is empty: who is called refuses it.
    """
    try:
        call = _call.decode(raw)
    except (msgspec.MsgspecError, RecursionError) as error:
        return BatchError("invalid_json_line", f"the line cannot be read: {error}", number)
    if not _CUSTOM_ID[protocol].fullmatch(call.custom_id):
        return BatchError("invalid_custom_id", f"{call.custom_id[:80]!r} cannot be a custom_id", number, "custom_id")
    if call.method != "POST":
        return BatchError("invalid_method", f"the method is {call.method[:20]!r}, not POST", number, "method")
    if call.url != endpoint:
        said = f"the line calls {call.url[:100]!r}, its batch is for {endpoint}"
        return BatchError("mismatched_endpoint", said, number, "url")
    if "model" not in call.body:
        return BatchError("missing_model", "the body names no model", number, "body.model")
    if "stream" in call.body and not _is_false(call.body["stream"]):
        return BatchError("stream_not_allowed", "the lines of a batch are not streamed", number, "body.stream")
    return call.custom_id, _model_name(call.body["model"])


def body_of(raw: bytes) -> tuple[str, msgspec.Raw]:
    """Return the path and the body of a line that `read_call` accepted."""
    call = _call.decode(raw)
    return call.url, msgspec.Raw(msgspec.json.encode(call.body))


def final_status(batch: Batch) -> Status:
    """Return what becomes of a batch whose lines are done with.

    A batch that was cancelled is cancelled, whatever else; then errors count, then lines that are left.
    """
    if batch.status == "cancelling":
        return "cancelled"
    if batch.errors:
        return "failed"
    return "expired" if batch.left else "completed"


def unanswered(status: Status) -> tuple[str, str]:
    """Return the code and message of lines that nobody answered, by how their batch ended."""
    if status == "cancelled":
        return "batch_cancelled", "the batch was cancelled before this request was made"
    if status == "failed":
        return "batch_failed", "the batch stopped before this request was made"
    return "batch_expired", "this request could not be made before the batch's completion window ended"


def output_line(batch: Batch, line: Line, answer: LineAnswer) -> bytes:
    """Return a line of a result file, in the words of the batch's protocol, with its end."""
    said = _message_result(line, answer) if batch.protocol == "anthropic" else _openai_result(batch, line, answer)
    return msgspec.json.encode(said) + b"\n"


def _openai_result(batch: Batch, line: Line, answer: LineAnswer) -> dict[str, Any]:
    response = error = None
    if answer.status:
        response = {"status_code": answer.status, "request_id": answer.request_id, "body": answer.body}
    else:
        error = {"code": answer.code, "message": answer.message}
    identity = f"batch_req_{batch.id.rpartition('_')[2]}{line.number:06d}"
    return {"id": identity, "custom_id": line.custom_id, "response": response, "error": error}


def _message_result(line: Line, answer: LineAnswer) -> dict[str, Any]:
    result: dict[str, Any]
    if answer.good:
        result = {"type": "succeeded", "message": answer.body}
    elif answer.code in ("batch_expired", "batch_cancelled"):
        result = {"type": "expired" if answer.code == "batch_expired" else "canceled"}
    elif answer.status:
        result = {"type": "errored", "error": answer.body}
    else:
        error = {"type": "api_error", "message": answer.message}
        result = {"type": "errored", "error": {"type": "error", "error": error}}
    return {"custom_id": line.custom_id, "result": result}


def _model_name(raw: msgspec.Raw) -> str:
    try:
        found = _text.decode(raw)
    except msgspec.MsgspecError:
        return ""
    return found if found.isprintable() and len(found) <= _MODEL_CHARS else ""


def _is_false(raw: msgspec.Raw) -> bool:
    try:
        return not _flag.decode(raw)
    except msgspec.MsgspecError:
        return False
