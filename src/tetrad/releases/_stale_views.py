"""What the API shows of what is out of date, and of what was done about it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput, parse_digest
from tetrad.releases._rebuild import Stale, Staleness, StalenessRun, StepDone
from tetrad.releases._stale_plan import Step

StaleState = Literal["FRESH", "UNVALIDATED", "EXPIRED", "STALE", "BROKEN"]
MAX_STEPS_SHOWN = 2_000


class _Shown(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class StaleCauseView(_Shown):
    """One reason, in a sentence (`said`) and in parts. `digest` is what is pinned, `newest_digest` what it is today.

    `newer`: a newer version is there; `pending`: it is out of date itself; `revoked`, `erased`; `broken`: made of such;
    `unproven`, `failed`, `expired`: evidence; `suite`, `policy`: another than the evidence is of.
    """

    state: StaleState
    what: Literal["newer", "pending", "revoked", "erased", "broken", "unproven", "failed", "expired", "suite", "policy"]
    said: str
    kind: str
    name: str
    version: str
    digest: str
    newest_version: str
    newest_digest: str
    role: str
    policy: Literal["rebuild", "revalidate", "reevaluate", "none"]


class StaleView(BaseModel):
    """How a ref's release, or an artifact, stands. `causes` are the first of `cause_count`; `roots` where they began.

    `successor` is the release with today's parts, where it was made already: what is left is to move the ref.
    """

    ref: str
    digest: str
    label: str
    state: StaleState
    successor: str
    causes: list[StaleCauseView]
    cause_count: int
    roots: list[StaleCauseView]

    @classmethod
    def of(cls, item: Stale) -> StaleView:
        return cls(
            ref=item.ref,
            digest=item.digest,
            label=item.label,
            state=item.state,
            successor=item.successor,
            causes=[StaleCauseView.model_validate(cause) for cause in item.causes],
            cause_count=item.all_causes,
            roots=[StaleCauseView.model_validate(cause) for cause in item.roots],
        )


class StaleStepView(_Shown):
    """One thing to do. `executor` is empty where nothing is installed that does the `work`; `lacks` says why.

    `after` are places in the list, from 0. `waits_for` names what has to be done before by somebody else.
    """

    action: Literal["rebuild", "revalidate", "reevaluate"]
    id: str
    label: str
    kind: str
    name: str
    version: str
    digest: str
    work: str
    executor: str
    lacks: str
    runnable: bool
    after: list[int]
    waits_for: list[str]
    because: list[str]


class StalenessView(BaseModel):
    """What was looked at, and the plan: the first of `step_count` steps. `artifact_count` were walked over."""

    fresh: bool
    items: list[StaleView]
    plan: list[StaleStepView]
    step_count: int
    artifact_count: int

    @classmethod
    def of(cls, found: Staleness) -> StalenessView:
        return cls(
            fresh=found.fresh,
            items=[StaleView.of(item) for item in found.items],
            plan=[StaleStepView.model_validate(step) for step in found.steps[:MAX_STEPS_SHOWN]],
            step_count=len(found.steps),
            artifact_count=found.artifacts,
        )


class StalenessRunBody(BaseModel):
    """What to mend: the refs of an app, one of them, an artifact, or all refs of the project.

    No further step begins after `seconds`. `skip` are ids of steps not to try, such as those that failed before.
    """

    model_config = ConfigDict(extra="forbid")

    app: Annotated[str, Field(max_length=63)] = ""
    ref: Annotated[str, Field(max_length=63)] = ""
    artifact: Annotated[str, Field(max_length=71)] = ""
    reason: Annotated[str, Field(max_length=4000)] = ""
    expected_outcome: Annotated[str, Field(max_length=4000)] = ""
    seconds: Annotated[float | None, Field(ge=0, le=600)] = None
    skip: Annotated[list[Annotated[str, Field(max_length=400)]], Field(max_length=1000)] = []


class StaleStepDoneView(BaseModel):
    """What became of a step. `same`: nothing new came out; `left`: not begun yet; `waiting`: for another step."""

    step: StaleStepView
    outcome: Literal["made", "same", "failed", "waiting", "no-executor", "left"]
    digest: str
    version: str
    problem: str
    hint: str

    @classmethod
    def of(cls, done: StepDone) -> StaleStepDoneView:
        return cls(
            step=_step(done.step),
            outcome=done.outcome,
            digest=done.digest,
            version=done.version,
            problem=done.problem,
            hint=done.hint,
        )


class StalenessRunView(BaseModel):
    """What one request has done, step by step; `left` could be done and were not begun."""

    steps: list[StaleStepDoneView]
    left: int

    @classmethod
    def of(cls, run: StalenessRun) -> StalenessRunView:
        return cls(steps=[StaleStepDoneView.of(each) for each in run.done], left=run.left)


def _step(step: Step) -> StaleStepView:
    return StaleStepView.model_validate(step)


def check_subject(app: str, ref: str, artifact: str) -> None:
    """Refuse what names nothing that can be looked at, with `InvalidInput`."""
    if artifact and (app or ref):
        raise InvalidInput("an artifact and an app were given", hint="give one of them")
    if ref and not app:
        raise InvalidInput("a ref was given without its app", hint="give the app too")
    if artifact:
        parse_digest(artifact)
