"""The job that reproduces or records a release: look at its parts, execute requests, hand what was found to control."""

from __future__ import annotations

import threading
from typing import Any

import msgspec

from tetrad.kit.jobs import RunningJob
from tetrad.processes.worker._isolated import Identified
from tetrad.releases import Answered, EngineFacts, Outcome, PartCheck, Plan, engine_problems

_ONE_ENGINE = threading.Lock()
"""Isolated engines run one at a time: two would fight for the machine that answers people."""


class ReproduceRelease(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which reproduction or recording, by its id."""

    id: str


def reproduce(job: RunningJob, payload: ReproduceRelease) -> dict[str, Any]:
    """Do what was asked for under an id; each part and each request is a step, so that a crash costs one of them."""
    control = job.services["control"]
    path = f"/internal/v1/reproductions/{payload.id}"
    plan = msgspec.convert(job.step("plan", control, "GET", path), Plan)
    total = len(plan.parts) + len(plan.requests)
    parts: list[PartCheck] = []
    for number, label in enumerate(plan.parts):
        job.progress(number, total, f"reading {label}")
        parts.append(msgspec.convert(job.step(f"read {label}", control, "POST", f"{path}/parts/{number}"), PartCheck))
    outcome = Outcome(parts=tuple(parts), unplayed=plan.unplayed)
    broken = [part for part in parts if part.state != "proven"]
    if plan.engine is not None and not broken:
        with _ONE_ENGINE:
            outcome = _execute(job, plan, outcome, total)
    if plan.action == "record" and (outcome.unplayed or outcome.incomparable):
        why = "; ".join(outcome.incomparable) or outcome.unplayed
        body = {"message": f"the release cannot be recorded: {why}", "hint": "see docs/how-to/reproduce-a-release.md"}
        found = job.step("fail", control, "POST", f"{path}/fail", body)
    else:
        found = job.step("finish", control, "POST", f"{path}/finish", msgspec.to_builtins(outcome))
    job.progress(total, total, str(found["state"]))
    return dict(found)


def _execute(job: RunningJob, plan: Plan, outcome: Outcome, total: int) -> Outcome:
    assert plan.engine is not None  # noqa: S101 - the caller looked
    with job.services["isolated"](plan.engine) as engine:
        # What a step answered is remembered as JSON after a crash, and as the value before one.
        found = msgspec.convert(msgspec.to_builtins(job.step("engine", engine.identify)), Identified)
        facts = found.facts
        if facts is None:
            return msgspec.structs.replace(outcome, unplayed=found.problem)
        outcome = msgspec.structs.replace(
            outcome, engine=facts, context=plan.engine.context, threads=int(facts.flags.get("threads", "0"))
        )
        if problems := engine_problems(plan, facts, plan.engine.context):
            return msgspec.structs.replace(outcome, incomparable=problems)
        answers: list[Answered] = []
        for number, request in enumerate(plan.requests, 1):
            job.progress(len(plan.parts) + number - 1, total, f"request {number} of {len(plan.requests)}")
            done = msgspec.to_builtins(job.step(f"request {number}", _answered, engine, request))
            if msgspec.convert(done["facts"], EngineFacts | None) != facts:
                return msgspec.structs.replace(outcome, unplayed="the engine became another one meanwhile")
            answers.append(msgspec.convert(done["answer"], Answered))
            if answers[-1].problem and plan.action == "record":
                return msgspec.structs.replace(outcome, unplayed=f"request {number}: {answers[-1].problem}")
    return msgspec.structs.replace(outcome, answers=tuple(answers))


def _answered(engine: Any, request: str) -> dict[str, Any]:
    """Execute a request, and say which engine did: after a crash it may be another one."""
    return msgspec.to_builtins({"answer": engine.answer(request), "facts": engine.identify().facts})  # type: ignore[no-any-return]
