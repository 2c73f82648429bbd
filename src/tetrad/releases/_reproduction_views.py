"""What the API takes and shows of reproductions and recordings."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from tetrad.releases._reproduction import Input, Report, Reproduction
from tetrad.releases.ports import Work

Level = Literal["R0", "R1", "R2"]
MAX_LISTED = 10_000


class RecordedInput(BaseModel):
    """One request to record: a text, or messages as in a chat request; and values for the prompt's variables."""

    model_config = ConfigDict(extra="forbid")

    input: Annotated[str | None, Field(max_length=1_000_000)] = None
    messages: Annotated[list[dict[str, Any]] | None, Field(max_length=1000)] = None
    variables: dict[str, Any] = {}

    def value(self) -> Input:
        """Return it as the service wants it."""
        messages = self.messages or []
        if self.input is not None:
            messages = [*messages, {"role": "user", "content": self.input}]
        return Input(
            json.dumps(messages, ensure_ascii=False, separators=(",", ":")),
            json.dumps(self.variables, ensure_ascii=False, separators=(",", ":")) if self.variables else "",
        )


class ReproductionBody(BaseModel):
    """What to prove; with `record`, which requests to execute and keep for that. The same `key` is the same again."""

    model_config = ConfigDict(extra="forbid")

    level: Level | None = None
    recording: Annotated[str, Field(max_length=71)] = ""
    record: bool = False
    requests: Annotated[list[RecordedInput], Field(max_length=MAX_LISTED)] = []
    from_traces: Annotated[int, Field(ge=0, le=MAX_LISTED)] = 0
    key: Annotated[str, Field(max_length=128)] = ""


class LevelView(BaseModel):
    """What became of a level, and why."""

    level: Level
    state: Literal["proven", "differs", "cannot", "not_tried"]
    reason: str


class PartCheckView(BaseModel):
    """One part of a release after a look at its stored bytes."""

    kind: str
    role: str
    name: str
    digest: str
    state: Literal["proven", "differs", "missing", "erased", "cannot"]
    detail: str
    problems: list[str]
    items: int
    bytes: int


class ReplayView(BaseModel):
    """One recorded request, executed again."""

    number: int
    state: Literal["same", "differs", "failed"]
    recorded: str
    found: str
    detail: str


class ReproductionProgressView(BaseModel):
    """How far a reproduction is; `total` 0 means unknown."""

    done: int
    total: int
    message: str


class ReproductionView(BaseModel):
    """A reproduction, or the making of a recording. `level` is what it is about, `proven` what was proven."""

    id: str
    release: str
    app: str
    action: Literal["reproduce", "record"]
    level: str
    recording: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    proven: list[str]
    succeeded: bool
    report: str
    evidence: str
    error: str
    hint: str
    created_at: datetime
    created_by: str
    ended_at: datetime | None

    @classmethod
    def facts(cls, row: Reproduction, work: Work | None) -> dict[str, Any]:
        """Return the fields of a row; what its job says counts while it has not ended."""
        state, error, hint = str(row.state), row.error, row.hint
        if row.state == "open":
            state = work.state if work is not None else "queued"
            if work is not None and work.error:
                error, hint = work.error, work.hint
            if state == "done":  # the job ended and the row did not: it was never finished
                state, error = "failed", error or "its job ended without a result"
        return {
            "id": row.id, "release": row.release, "app": row.app, "action": row.action, "level": row.level,
            "recording": row.recording, "state": state, "proven": list(row.proven),
            "succeeded": row.state == "done" and (row.action == "record" or row.level in row.proven),
            "report": row.report, "evidence": row.evidence, "error": error, "hint": hint,
            "created_at": row.created_at, "created_by": row.created_by_name or row.created_by,
            "ended_at": row.ended_at,
        }  # fmt: skip

    @classmethod
    def of(cls, row: Reproduction, work: Work | None = None) -> ReproductionView:
        """Render a row of a list."""
        return cls(**cls.facts(row, work))


class ReproductionDetailView(ReproductionView):
    """A reproduction with its report: the cap, every level, every part, every request."""

    progress: ReproductionProgressView | None
    cap: str
    levels: list[LevelView]
    parts: list[PartCheckView]
    incomparable: list[str]
    requests: list[ReplayView]

    @classmethod
    def shown(cls, row: Reproduction, work: Work | None, report: Report | None) -> ReproductionDetailView:
        """Render a row with its report."""
        found: dict[str, Any] = msgspec.to_builtins(report) if report else {}
        replay = found.get("replay") or {}
        return cls(
            **cls.facts(row, work),
            progress=ReproductionProgressView(done=work.done, total=work.total, message=work.message) if work else None,
            cap=found.get("cap", ""),
            levels=[LevelView(**each) for each in found.get("levels", ())],
            parts=[
                PartCheckView(**{name: value for name, value in each.items() if name != "hosted"})
                for each in found.get("parts", ())
            ],
            incomparable=list(replay.get("incomparable", ())),
            requests=[ReplayView(**each) for each in replay.get("requests", ())],
        )


class FailBody(BaseModel):
    """Why something cannot be done."""

    message: Annotated[str, Field(max_length=20_000)]
    hint: Annotated[str, Field(max_length=4_000)] = ""
