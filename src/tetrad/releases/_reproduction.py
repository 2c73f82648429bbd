"""Reproduction: what was looked at, what was executed again, and which levels that proves. Pure.

The levels: R0, everything that a release pins is there, bit for bit; R1, recorded requests executed again on the same
engine give the same bytes; R2, an evaluation gives the same within a tolerance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal

import msgspec

from tetrad.kernel import canonical_json

Level = Literal["R0", "R1", "R2"]
PartState = Literal["proven", "differs", "missing", "erased", "cannot"]
LevelState = Literal["proven", "differs", "cannot", "not_tried"]
Cap = Literal["R1", "R2", "none"]
RequestState = Literal["same", "differs", "failed"]

LEVELS: Final[tuple[Level, ...]] = ("R0", "R1", "R2")
REPORT_SCHEMA: Final = "tetrad.reproduction/1"
RECORDING_SCHEMA: Final = "tetrad.recording/1"
MAX_PROBLEMS: Final = 20
_WORST: Final[tuple[PartState, ...]] = ("differs", "missing", "erased", "cannot")
_SHOWN = 3


class Input(msgspec.Struct, frozen=True):
    """What a client would send: messages as a JSON array, variables as a JSON object or empty."""

    messages: str
    variables: str = ""


class Reproduction(msgspec.Struct, frozen=True):
    """What was asked for, and how it ended. `id` names it everywhere, `seq` sorts by time.

    `recording` is the one that is executed again, or the one that was made; `inputs` are those of a recording to make.
    """

    id: str
    seq: str
    project: str
    release: str
    app: str
    action: Literal["reproduce", "record"]
    level: str
    recording: str
    inputs: tuple[Input, ...]
    created_at: datetime
    created_by: str
    created_by_name: str
    state: Literal["open", "done", "failed"] = "open"
    ended_at: datetime | None = None
    report: str = ""
    evidence: str = ""
    proven: tuple[str, ...] = ()
    error: str = ""
    hint: str = ""


class PartCheck(msgspec.Struct, frozen=True):
    """One part of a release after a look at its stored bytes.

    `items` and `bytes` say how much was read; `problems` names what is wrong, at most `MAX_PROBLEMS` of it. `cannot` is
    a part whose content somebody else keeps: a model that is `hosted`.
    """

    kind: str
    role: str
    name: str
    digest: str
    state: PartState
    detail: str = ""
    problems: tuple[str, ...] = ()
    items: int = 0
    bytes: int = 0
    hosted: bool = False

    def label(self) -> str:
        """Name it for people, such as `data fewshot bot-shots`."""
        return " ".join(filter(None, (self.kind, self.role, self.name)))


class Tally:
    """Collects what is wrong with one part; the worst of it is the part's state."""

    def __init__(self) -> None:
        self.items = self.bytes = self.wrong = 0
        self._states: set[PartState] = set()
        self._problems: list[str] = []

    def read(self, size: int, items: int = 1) -> None:
        """Count what was read."""
        self.items += items
        self.bytes += size

    def wrong_with(self, state: PartState, problem: str) -> None:
        """Note what is wrong; only the first problems are kept in words, all are counted."""
        self.wrong += 1
        self._states.add(state)
        if len(self._problems) < MAX_PROBLEMS:
            self._problems.append(problem)

    def check(
        self, kind: str, role: str, name: str, digest: str, detail: str = "", *, hosted: bool = False
    ) -> PartCheck:
        """Return what was found."""
        state: PartState = next((each for each in _WORST if each in self._states), "proven")
        more = self.wrong - len(self._problems)
        problems = (*self._problems, *([f"and {more} more"] if more else []))
        return PartCheck(kind, role, name, digest, state, detail, problems, self.items, self.bytes, hosted)


class EngineFacts(msgspec.Struct, frozen=True):
    """The engine that executed requests, as far as bytes depend on it.

    `build_digest` is the SHA-256 of the engine's library, `features` that of the processor's sorted feature flags.
    """

    kind: str
    version: str
    build: str
    build_digest: str
    flags: Mapping[str, str]
    cpu: str
    features: str


class Answered(msgspec.Struct, frozen=True):
    """What an engine made of one request: the canonical JSON of its choices, or why there is none."""

    answer: str = ""
    digest: str = ""
    problem: str = ""


class RecordedRequest(msgspec.Struct, frozen=True):
    """One request as it was executed. `messages` and `variables` are the client's, `request` is for the engine."""

    messages: str
    variables: str
    request: str
    request_digest: str
    answer: str = ""
    answer_digest: str = ""


class Recording(msgspec.Struct, frozen=True):
    """Requests of one release with the answers of one isolated engine; an artifact."""

    release: str
    model: str
    context: int
    threads: int
    seed: int
    engine: EngineFacts
    requests: tuple[RecordedRequest, ...]
    schema: str = RECORDING_SCHEMA

    def document(self) -> dict[str, Any]:
        """Return it as the JSON whose digest is its name."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


class Replay(msgspec.Struct, frozen=True):
    """One recorded request, executed again; `number` counts from 1."""

    number: int
    state: RequestState
    recorded: str
    found: str = ""
    detail: str = ""


class Replayed(msgspec.Struct, frozen=True):
    """All of a recording's requests executed again; `incomparable` says why bytes would prove nothing."""

    recording: str
    engine: EngineFacts | None = None
    incomparable: tuple[str, ...] = ()
    requests: tuple[Replay, ...] = ()


class LevelResult(msgspec.Struct, frozen=True):
    """What became of a level, and why."""

    level: Level
    state: LevelState
    reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What a reproduction proved, and nothing more; an artifact. `tried` is the level that it was about.

    `cap` is the strongest level that the release allows: R1, R2 for what others host, none where parts were erased.
    """

    id: str
    release: str
    app: str
    tried: Level
    cap: Cap
    levels: tuple[LevelResult, ...]
    parts: tuple[PartCheck, ...]
    replay: Replayed | None = None
    schema: str = REPORT_SCHEMA

    @property
    def proven(self) -> tuple[Level, ...]:
        """The levels that were proven."""
        return tuple(each.level for each in self.levels if each.state == "proven")

    @property
    def succeeded(self) -> bool:
        """Tell whether the level that it was about was proven."""
        return self.tried in self.proven

    def document(self) -> dict[str, Any]:
        """Return it as the JSON whose digest is its name."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def cap_of(parts: Sequence[PartCheck]) -> Cap:
    """Return the strongest level that the parts allow: none where one was erased, R2 where others host one, else R1."""
    if any(part.state == "erased" for part in parts):
        return "none"
    return "R2" if any(part.hosted for part in parts) else "R1"


def compare_engines(was: EngineFacts, now: EngineFacts) -> tuple[str, ...]:
    """Say in what two engines differ that bytes may depend on; nothing where their answers can be compared."""
    found = [
        f"the {what} was {old!r}, here it is {new!r}"
        for what, old, new in (
            ("engine", was.kind, now.kind),
            ("build", was.build, now.build),
            ("build's library", was.build_digest, now.build_digest),
            ("processor", was.cpu, now.cpu),
            ("processor's features", was.features, now.features),
        )
        if old != new
    ]
    names = sorted({*was.flags, *now.flags})
    found += [
        f"the engine's {name} was {was.flags.get(name)!r}, here it is {now.flags.get(name)!r}"
        for name in names
        if was.flags.get(name) != now.flags.get(name)
    ]
    return tuple(found)


def compare_answers(
    recorded: Sequence[RecordedRequest], rendered: Sequence[str], answers: Sequence[Answered]
) -> tuple[Replay, ...]:
    """Compare recorded requests with what the release makes of them now, and the engine of that.

    `rendered` are the digests of the requests as they are rendered now. A request that is another one is named as such:
    its answer proves nothing about the engine.
    """
    found: list[Replay] = []
    for number, was in enumerate(recorded, 1):
        now = rendered[number - 1] if number <= len(rendered) else ""
        answer = answers[number - 1] if number <= len(answers) else Answered(problem="it was not executed")
        if now != was.request_digest:
            found.append(Replay(number, "differs", was.request_digest, now, "the release renders another request now"))
        elif answer.problem:
            found.append(Replay(number, "failed", was.answer_digest, "", answer.problem))
        elif answer.digest != was.answer_digest:
            place = _first_difference(was.answer, answer.answer)
            found.append(Replay(number, "differs", was.answer_digest, answer.digest, place))
        else:
            found.append(Replay(number, "same", was.answer_digest, answer.digest))
    return tuple(found)


def _first_difference(was: str, now: str) -> str:
    for place, (old, new) in enumerate(zip(was, now, strict=False)):
        if old != new:
            return f"from character {place + 1}: {was[place : place + 40]!r} became {now[place : place + 40]!r}"
    return f"{len(was)} characters became {len(now)}"


def conclude(
    *,
    id: str,  # noqa: A002 - the report's own word
    release: str,
    app: str,
    tried: Level,
    parts: Sequence[PartCheck],
    replay: Replayed | None = None,
    unplayed: str = "",
    unevaluated: str = "",
) -> Report:
    """Return what was proven. `unplayed` says why nothing was executed again, `unevaluated` why no suite was."""
    cap = cap_of(parts)
    whole = _whole(parts)
    levels = (whole, _replayed(cap, whole, tried, replay, unplayed), _evaluated(cap, tried, unevaluated))
    return Report(id, release, app, tried, cap, levels, tuple(parts), replay)


def _whole(parts: Sequence[PartCheck]) -> LevelResult:
    wrong = [part for part in parts if part.state != "proven"]
    if not parts:
        return LevelResult("R0", "cannot", "nothing of the release was looked at")
    if not wrong:
        return LevelResult("R0", "proven", f"{len(parts)} parts are bit for bit what the release pins")
    shown = "; ".join(f"{part.label()}: {_WORDS[part.state]}" for part in wrong[:_SHOWN])
    more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
    state: LevelState = "differs" if any(part.state in ("differs", "missing") for part in wrong) else "cannot"
    return LevelResult("R0", state, shown + more)


_WORDS: Mapping[PartState, str] = {
    "proven": "proven", "differs": "differs", "missing": "is missing", "erased": "was erased",
    "cannot": "is hosted by others and cannot be fetched",
}  # fmt: skip


def _capped(cap: Cap) -> str:
    return "a part was erased" if cap == "none" else "a model is hosted by others, who may change what answers"


def _replayed(cap: Cap, whole: LevelResult, tried: Level, replay: Replayed | None, unplayed: str) -> LevelResult:
    if cap != "R1":
        return LevelResult("R1", "cannot", _capped(cap))
    if tried != "R1":
        return LevelResult("R1", "not_tried")
    if whole.state != "proven":
        return LevelResult("R1", "cannot", f"the release is not whole: {whole.reason}")
    if replay is None:
        return LevelResult("R1", "cannot", unplayed or "nothing was executed again")
    if replay.incomparable:
        return LevelResult("R1", "cannot", f"not comparable: {'; '.join(replay.incomparable)}")
    if not replay.requests:
        return LevelResult("R1", "cannot", "the recording has no requests")
    others = [each for each in replay.requests if each.state != "same"]
    if not others:
        return LevelResult("R1", "proven", f"{len(replay.requests)} requests gave the same bytes")
    first = others[0]
    return LevelResult(
        "R1",
        "differs",
        f"{len(others)} of {len(replay.requests)} requests differ; request {first.number}: {first.detail}",
    )


def _evaluated(cap: Cap, tried: Level, unevaluated: str) -> LevelResult:
    if cap == "none":
        return LevelResult("R2", "cannot", _capped(cap))
    if tried != "R2":
        return LevelResult("R2", "not_tried")
    return LevelResult("R2", "cannot", unevaluated or "nothing can evaluate it here")


def answer_of(body: Mapping[str, Any]) -> str:
    """Return what of a chat completion is compared: its choices in canonical JSON.

    Ids, times and counters are new in every answer and left out; the ids of tool calls are, too.
    """
    choices = []
    for choice in body.get("choices") or ():
        message = {name: value for name, value in dict(choice.get("message") or {}).items() if value is not None}
        if calls := message.get("tool_calls"):
            message["tool_calls"] = [{name: value for name, value in call.items() if name != "id"} for call in calls]
        choices.append({"index": choice.get("index"), "finish_reason": choice.get("finish_reason"), "message": message})
    return canonical_json({"choices": choices}).decode("utf-8")
