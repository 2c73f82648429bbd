"""Ask for reproductions and recordings, do the part of them that needs what control keeps, keep what was proven."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import msgspec

from tetrad.kernel import (
    Clock,
    Conflict,
    Digest,
    InvalidInput,
    NotFound,
    Principal,
    TetradError,
    canonical_json,
    digest_bytes,
    new_id,
    parse_digest,
    short,
)
from tetrad.models import ModelNotFound, Models
from tetrad.registry import (
    REPRODUCTION,
    TEST_RESULT,
    ArtifactNotFound,
    Edge,
    Evidence,
    Registry,
    Statement,
)
from tetrad.releases._engine_requirement import EngineRequirement, requirement_of, unmet
from tetrad.releases._kept import KIND as RELEASE
from tetrad.releases._refetch import Pin, Refetch
from tetrad.releases._reproduction import (
    LEVELS,
    Answered,
    EngineFacts,
    Input,
    Level,
    PartCheck,
    RecordedRequest,
    Recording,
    Replayed,
    Report,
    Reproduction,
    compare_answers,
    compare_engines,
    conclude,
)
from tetrad.releases._service import Releases
from tetrad.releases.errors import (
    NothingToRecord,
    RecordingNotFound,
    ReleaseNotFound,
    ReproductionNotFound,
    TooManyReproductions,
)
from tetrad.releases.ports import RecordedTraffic, ReproductionStore, RequestRenderer, Work, Worker

REPORT_KIND: Final = "reproduction"
RECORDING_KIND: Final = "recording"
SEED: Final = 20_260_101
"""The seed of recorded requests whose release sets none."""
CONTEXT: Final = 2048
"""Tokens of context of an isolated engine, where the release asks for none and the model was made for as many."""
MAX_SUITES_NAMED: Final = 5
_STALE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ReproductionLimits:
    """What is refused as too much."""

    max_requests: int = 200
    max_request_bytes: int = 1 << 20
    max_open: int = 20


class Isolated(msgspec.Struct, frozen=True):
    """The engine that requests are executed on: which weights, under which name. 0 threads: the worker's setting."""

    model: str
    served_name: str
    context: int
    threads: int


class Plan(msgspec.Struct, frozen=True):
    """What a worker is to do: look at parts, then execute requests, unless `unplayed` says why that proves nothing.

    `parts` are the labels of the parts; `was` is the engine of the recording that is executed again.
    """

    id: str
    action: str
    parts: tuple[str, ...]
    engine: Isolated | None = None
    requests: tuple[str, ...] = ()
    was: EngineFacts | None = None
    requirement: EngineRequirement | None = None
    unplayed: str = ""


class Outcome(msgspec.Struct, frozen=True):
    """What a worker found: the parts, and, where requests were executed, by which engine and with which answers."""

    parts: tuple[PartCheck, ...] = ()
    engine: EngineFacts | None = None
    context: int = 0
    threads: int = 0
    answers: tuple[Answered, ...] = ()
    incomparable: tuple[str, ...] = ()
    unplayed: str = ""


class Reproductions:
    """Reproductions and recordings of releases, of all projects. Safe to use from many threads.

    What needs an engine is a durable job of the worker. It comes back for what control alone may read, and with its
    findings; what those prove is decided here, by `conclude`.
    """

    def __init__(
        self,
        store: ReproductionStore,
        registry: Registry,
        releases: Releases,
        models: Models,
        evidence: Evidence,
        refetch: Refetch,
        renderer: RequestRenderer,
        worker: Worker,
        clock: Clock,
        *,
        traffic: RecordedTraffic | None = None,
        limits: ReproductionLimits | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._releases = releases
        self._models = models
        self._evidence = evidence
        self._refetch = refetch
        self._renderer = renderer
        self._worker = worker
        self._clock = clock
        self._traffic = traffic
        self.limits = limits or ReproductionLimits()

    # -- asking -------------------------------------------------------------------------------------------------

    def reproduce(
        self,
        project: str,
        release: str,
        *,
        actor: Principal,
        level: Level | None = None,
        recording: str = "",
        key: str = "",
    ) -> Reproduction:
        """Ask for a level to be proven; without one, for the highest that can be tried.

        That is R1 where there is a recording and an embedded engine can serve the model, else R0. Without `recording`
        the release's newest one is executed again. The same `key` again is the reproduction that is there.
        """
        digest, app = self._named(project, release)
        if level is not None and level not in LEVELS:
            raise InvalidInput(f"{level!r} is no level", hint=f"one of {', '.join(LEVELS)}")
        chosen = self._chosen(project, digest, recording) if level in (None, "R1") else ""
        tried: Level = level or ("R1" if chosen and not self._unservable(project, digest) else "R0")
        row = self._row(project, digest, app, actor, "reproduce", key)
        row = msgspec.structs.replace(row, level=tried, recording=chosen if tried == "R1" else "")
        return self._ask(row, keyed=bool(key), leveled=level is not None)

    def record(
        self,
        project: str,
        release: str,
        *,
        actor: Principal,
        inputs: Sequence[Input] = (),
        from_traces: int = 0,
        key: str = "",
    ) -> Reproduction:
        """Ask for requests to be executed on an isolated engine and kept with their answers, for R1.

        The requests are `inputs`, or the newest `from_traces` that clients sent to the release. Each is rendered now:
        what does not fit the prompt is refused with its number before anything is started.
        """
        digest, app = self._named(project, release)
        if bool(inputs) == bool(from_traces):
            raise NothingToRecord("there are no requests", hint="give requests, or a number of traces: one of both")
        if why := self._unservable(project, digest):
            raise NothingToRecord(f"{short(digest)} cannot be recorded: {why}", hint="R0 can be proven all the same")
        chosen = tuple(inputs) or self._traced(project, digest, from_traces)
        size = sum(len(each.messages.encode()) + len(each.variables.encode()) for each in chosen)
        if len(chosen) > self.limits.max_requests or size > self.limits.max_request_bytes:
            raise NothingToRecord(
                f"{len(chosen)} requests of {size} bytes",
                hint=f"at most {self.limits.max_requests} requests of {self.limits.max_request_bytes} bytes together",
                status=413,
            )
        self._render(project, digest, chosen, SEED)
        row = self._row(project, digest, app, actor, "record", key)
        return self._ask(msgspec.structs.replace(row, inputs=chosen), keyed=bool(key))

    def _traced(self, project: str, release: str, count: int) -> tuple[Input, ...]:
        if count > self.limits.max_requests:
            raise NothingToRecord(f"{count} traces", hint=f"at most {self.limits.max_requests}", status=413)
        found = self._traffic.newest(project, release, limit=count) if self._traffic else ()
        if not found:
            raise NothingToRecord(
                f"no request to {short(release)} was kept whole", hint="keys record content as their policy says"
            )
        return tuple(Input(each.messages, each.variables) for each in found)

    def _named(self, project: str, release: str) -> tuple[Digest, str]:
        """Return digest and app without reading the manifest, which may be damaged: that is for R0 to find out."""
        digest = parse_digest(release)
        versions = [each for each in self._registry.versions_of(project, digest) if each.kind == RELEASE]
        if not versions:
            raise ReleaseNotFound(f"the project {project!r} has no release {digest}", hint="check the digest")
        return digest, versions[0].name

    def _row(self, project: str, release: str, app: str, actor: Principal, action: Any, key: str) -> Reproduction:
        if key:
            said = canonical_json([project, release, action, key])
            name = f"rep_{hashlib.sha256(said).hexdigest()[:32]}"
        else:
            name = new_id("rep")
        return Reproduction(
            id=name, seq=new_id("seq"), project=project, release=release, app=app, action=action, level="",
            recording="", inputs=(), created_at=self._clock.now(), created_by=actor.id,
            created_by_name=actor.name[:256],
        )  # fmt: skip

    def _ask(self, row: Reproduction, *, keyed: bool, leveled: bool = False) -> Reproduction:
        known = self._store.get(row.id)
        if known is None:
            count = self._store.unfinished(row.project, since=self._clock.now() - _STALE)
            if count >= self.limits.max_open:
                raise TooManyReproductions(
                    f"{count} reproductions of {row.project!r} have not ended", hint="wait for one of them"
                )
            known = self._store.add(row)
        if known.inputs != row.inputs or (leveled and known.level != row.level):
            raise Conflict("the key was used for something else", hint="use a key of its own", code="key_reused")
        if known.state == "open":
            try:
                self._worker.ask(known.id)
            except TetradError as error:
                if not keyed:  # nobody can ask for this one again; with its key it waits for that
                    self.fail(known.id, error.message, error.hint)
                raise
        return known

    # -- reading ------------------------------------------------------------------------------------------------

    def get(self, project: str, release: str, reproduction: str) -> tuple[Reproduction, Work | None]:
        """Return a reproduction with how its job stands; raise `ReproductionNotFound`."""
        row = self._store.get(reproduction)
        if row is None or (row.project, row.release) != (project, parse_digest(release)):
            raise ReproductionNotFound(
                f"{short(release)} has no reproduction {reproduction[:80]!r}", hint="list those it has"
            )
        return row, self.work(row)

    def work(self, row: Reproduction) -> Work | None:
        """Return how the job of a reproduction stands, None where it has ended."""
        return self._worker.look(row.id) if row.state == "open" else None

    def list(self, project: str, release: str, *, limit: int = 50, before: str | None = None) -> list[Reproduction]:
        """Return the reproductions and recordings of a release, newest first."""
        digest, _ = self._named(project, release)
        return self._store.newest(project, digest, limit=limit, before=before)

    def report(self, row: Reproduction) -> Report | None:
        """Return the report of a reproduction that has ended."""
        if not row.report:
            return None
        return msgspec.convert(self._registry.document(row.project, row.report), Report)

    def recording(self, project: str, digest: str) -> Recording:
        """Return a recording of the project; raise `RecordingNotFound`."""
        try:
            if self._registry.artifact(project, digest).kind == RECORDING_KIND:
                return msgspec.convert(self._registry.document(project, digest), Recording)
        except ArtifactNotFound:
            pass
        raise RecordingNotFound(f"the project {project!r} has no recording {digest}", hint="record the release first")

    def _chosen(self, project: str, release: str, recording: str) -> str:
        if not recording:
            return self._store.recording(project, release)
        found = self.recording(project, parse_digest(recording))
        if found.release != release:
            raise RecordingNotFound(
                f"{short(recording)} is a recording of {short(found.release)}", hint="name one of this release"
            )
        return recording

    # -- the worker's calls -------------------------------------------------------------------------------------

    def open(self, reproduction: str) -> Reproduction:
        """Return what a worker was asked to do."""
        row = self._store.get(reproduction)
        if row is None:
            raise ReproductionNotFound(f"there is no reproduction {reproduction[:80]!r}", hint="ask for it again")
        return row

    def plan(self, reproduction: str) -> Plan:
        """Say what is to be done. The same again is the same, as long as nothing that is stored changes."""
        row = self.open(reproduction)
        if row.action == "record":
            return self._to_record(row)
        parts = tuple(_label(pin) for pin in self._refetch.pins(row.project, row.release))
        if row.level != "R1":
            return Plan(row.id, row.action, parts)
        try:
            return msgspec.structs.replace(self._to_replay(row), parts=parts)
        except TetradError as error:
            return Plan(row.id, row.action, parts, unplayed=error.message)

    def _to_record(self, row: Reproduction) -> Plan:
        requests = self._render(row.project, row.release, row.inputs, SEED)
        primary = self._primary(row.project, row.release)
        wanted = requirement_of(primary)
        engine = Isolated(primary["digest"], primary["name"], self._context(row.project, primary, wanted), 0)
        return Plan(row.id, row.action, (), engine, requests, requirement=wanted)

    def _to_replay(self, row: Reproduction) -> Plan:
        if not row.recording:
            return Plan(row.id, row.action, (), unplayed="there is no recording; make one with --record")
        if why := self._unservable(row.project, row.release):
            return Plan(row.id, row.action, (), unplayed=why)
        recording = self.recording(row.project, row.recording)
        primary = self._primary(row.project, row.release)
        if recording.model != primary["digest"]:
            return Plan(row.id, row.action, (), unplayed="the recording is of another model")
        inputs = [Input(each.messages, each.variables) for each in recording.requests]
        requests = self._render(row.project, row.release, inputs, recording.seed)
        engine = Isolated(primary["digest"], primary["name"], recording.context, recording.threads)
        return Plan(row.id, row.action, (), engine, requests, recording.engine, requirement_of(primary))

    def check(self, reproduction: str, number: int) -> PartCheck:
        """Read one part of the release again; parts count from 0, in the order of the plan."""
        row = self.open(reproduction)
        pins = self._refetch.pins(row.project, row.release)
        if not 0 <= number < len(pins):
            raise NotFound(f"the release has no part {number}", hint="it changed meanwhile; ask for it again")
        return self._refetch.check(row.project, pins[number])

    def finish(self, reproduction: str, outcome: Outcome, *, actor: Principal) -> Reproduction:
        """Keep what was found: recording or report as an artifact, the proof as evidence, both as an activity.

        Finishing again changes nothing.
        """
        row = self.open(reproduction)
        if row.state != "open":
            return row
        return self._recorded(row, outcome, actor) if row.action == "record" else self._proven(row, outcome, actor)

    def fail(self, reproduction: str, message: str, hint: str) -> Reproduction:
        """Say that it cannot be done; one that has ended stays as it is."""
        row = self.open(reproduction)
        values = {"state": "failed", "ended_at": self._clock.now(), "error": message[:4000], "hint": hint[:1000]}
        return self._store.end(row.id, values) or row

    def _recorded(self, row: Reproduction, outcome: Outcome, actor: Principal) -> Reproduction:
        texts = self._render(row.project, row.release, row.inputs, SEED)
        engine = outcome.engine
        if engine is None or len(outcome.answers) != len(texts) or any(each.problem for each in outcome.answers):
            return self.fail(row.id, "not every request was answered", "see the log of the worker")
        primary = self._primary(row.project, row.release)
        recording = Recording(
            release=row.release, model=primary["digest"], context=outcome.context, threads=outcome.threads, seed=SEED,
            engine=engine,
            requests=tuple(
                RecordedRequest(each.messages, each.variables, text, digest_of(text), answer.answer, answer.digest)
                for each, text, answer in zip(row.inputs, texts, outcome.answers, strict=True)
            ),
        )  # fmt: skip
        try:
            kept = self._registry.put_document(
                row.project, RECORDING_KIND, recording.document(), actor=actor, parts=[(Digest(row.release), RELEASE)]
            )
        except InvalidInput as error:
            return self.fail(row.id, error.message, error.hint)
        edges = [Edge(Digest(row.release), "in", RELEASE), Edge(kept.digest, "out", RECORDING_KIND)]
        self._note(row, "record", kept.digest, edges, actor, engine)
        values = {"state": "done", "ended_at": self._clock.now(), "recording": kept.digest}
        return self._store.end(row.id, values) or row

    def _proven(self, row: Reproduction, outcome: Outcome, actor: Principal) -> Reproduction:
        played = outcome.engine is not None and not outcome.unplayed
        replay = self._replay(row, outcome) if played else None
        tried: Level = row.level  # type: ignore[assignment] # reproduce() chose it among LEVELS
        report = conclude(
            id=row.id, release=row.release, app=row.app, tried=tried, parts=outcome.parts, replay=replay,
            unplayed=outcome.unplayed, unevaluated=self._unevaluated(row) if tried == "R2" else "",
        )  # fmt: skip
        kept = self._registry.put_document(row.project, REPORT_KIND, report.document(), actor=actor)
        edges = [Edge(Digest(row.release), "in", RELEASE), Edge(kept.digest, "out", REPORT_KIND)]
        if row.recording:
            edges.append(Edge(Digest(row.recording), "in", RECORDING_KIND))
        predicate = {
            "id": row.id, "project": row.project, "tried": tried, "proven": list(report.proven), "cap": report.cap,
            "report": kept.digest, "recording": row.recording,
        }  # fmt: skip
        statement = Statement(REPRODUCTION, (("release", Digest(row.release)), ("report", kept.digest)), predicate)
        signed = self._evidence.sign(row.project, statement, actor=actor)
        self._note(row, "reproduce", kept.digest, edges, actor, outcome.engine)
        values = {
            "state": "done", "ended_at": self._clock.now(), "report": kept.digest, "evidence": signed.digest,
            "proven": list(report.proven),
        }  # fmt: skip
        return self._store.end(row.id, values) or row

    def _replay(self, row: Reproduction, outcome: Outcome) -> Replayed:
        recording = self.recording(row.project, row.recording)
        differences = outcome.incomparable
        if outcome.engine is not None:
            differences = (*differences, *compare_engines(recording.engine, outcome.engine))
        if differences:
            return Replayed(row.recording, outcome.engine, tuple(dict.fromkeys(differences)))
        inputs = [Input(each.messages, each.variables) for each in recording.requests]
        rendered = [digest_of(text) for text in self._render(row.project, row.release, inputs, recording.seed)]
        found = compare_answers(recording.requests, rendered, outcome.answers)
        return Replayed(row.recording, outcome.engine, (), found)

    def _note(
        self, row: Reproduction, kind: str, made: Digest, edges: Sequence[Edge], actor: Principal,
        engine: EngineFacts | None,
    ) -> None:  # fmt: skip
        """Record the activity, once: a worker that was cut off finishes again."""
        known = self._registry.lineage(row.project, made, depth=1).activities
        if any(each.params.get("id") == row.id for each in known):
            return
        environment: Mapping[str, Any] = msgspec.to_builtins(engine) if engine else {}
        self._registry.record(
            row.project, kind, edges, actor=actor, started_at=row.created_at,
            params={"id": row.id, "level": row.level, "asked_by": row.created_by}, environment=environment,
        )  # fmt: skip

    # -- what a release needs -----------------------------------------------------------------------------------

    def _render(self, project: str, release: str, inputs: Sequence[Input], seed: int) -> tuple[str, ...]:
        """Render requests from what is stored now: what the process remembers of a release proves nothing."""
        resolved = self._releases.resolve(project, release, anew=True)
        found: list[str] = []
        for number, each in enumerate(inputs, 1):
            try:
                body = self._renderer.render(
                    resolved, each.messages.encode(), each.variables.encode(), model=resolved.model, seed=seed
                )
            except TetradError as error:
                raise NothingToRecord(f"request {number}: {error.message}", hint=error.hint) from None
            found.append(body.decode("utf-8"))
        return tuple(found)

    def _primary(self, project: str, release: str) -> Mapping[str, Any]:
        models = self._releases.release(project, release).manifest["model"]
        primary: Mapping[str, Any] = next(part for part in models if part["role"] == "primary")
        return primary

    def _unservable(self, project: str, release: str) -> str:
        """Say why no embedded engine can serve the release's model; empty where one can, as far as is known here."""
        try:
            primary = self._primary(project, release)
            record = self._models.get(project, primary["digest"])
        except ModelNotFound as error:
            return error.message
        except TetradError as error:
            return f"its manifest cannot be read: {error.message}"
        if record.kind == "provider":
            return f"{record.provider} hosts {record.provider_model!r}; hosted models cap at R2"
        if len(record.files) != 1 or record.facts.format not in ("", "gguf"):
            kind = record.facts.format or "unknown format"
            count = "one file" if len(record.files) == 1 else f"{len(record.files)} files"
            return f"no embedded engine serves {count} of {kind}; llama_cpp serves one GGUF file"
        return ""

    def _context(self, project: str, primary: Mapping[str, Any], wanted: EngineRequirement | None) -> int:
        if wanted is not None and wanted.context:
            return wanted.context
        made_for = self._models.get(project, primary["digest"]).facts.context_length
        return min(CONTEXT, made_for) if made_for else CONTEXT

    def _unevaluated(self, row: Reproduction) -> str:
        """Name the suites that would have to be evaluated again, which nothing here can."""
        found = self._evidence.find(row.project, subject=row.release, predicate_type=TEST_RESULT, limit=200)
        names = sorted(
            {str(each.statement.predicate["suite"]["name"]) for each in found if each.counts and each.statement}
        )
        if not names:
            return "no suite has a signed result on this release, and nothing here executes suites"
        more = f" and {len(names) - MAX_SUITES_NAMED} more" if len(names) > MAX_SUITES_NAMED else ""
        shown = ", ".join(repr(name) for name in names[:MAX_SUITES_NAMED])
        return f"no executor of suite {shown}{more}; cannot be proven here"


def digest_of(text: str) -> str:
    """Return the digest of a text's UTF-8 bytes."""
    return digest_bytes(text.encode("utf-8"))


def engine_problems(plan: Plan, facts: EngineFacts, context: int) -> tuple[str, ...]:
    """Say why requests need not be executed by an engine: it is not what the release asks for, or was recorded on."""
    wanted = unmet(plan.requirement, kind=facts.kind, version=facts.version, context=context)
    return (*wanted, *(compare_engines(plan.was, facts) if plan.was else ()))


def _label(pin: Pin) -> str:
    return " ".join(filter(None, (pin.kind, pin.role, pin.name)))
