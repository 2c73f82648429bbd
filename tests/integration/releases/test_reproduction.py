"""R0 on both databases: whatever is changed in a store is found and named; and R1 by the real embedded engine."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa

from support.apps import YAML, write_app
from support.collecting import wire_collector
from support.evidence import signed_result
from support.identity import ADMIN, INTERNAL_TOKEN, caller, make_app, make_identity
from support.models import CHAT_MODEL
from support.tetrads import ALICE, SYSTEM, Tetrads, wire
from tetrad.adapters.engines.llama_cpp import LlamaCppAdapter, engine_facts
from tetrad.kernel import Conflict, Digest, TetradError, Unavailable
from tetrad.kit.blobs import LocalBlobs
from tetrad.kit.db import Database
from tetrad.kit.seal import Keyring, new_seal_key
from tetrad.processes.control._reproducing import GatewayRendering
from tetrad.processes.worker._isolated import IsolatedEngine
from tetrad.processes.worker._reproduce import ReproduceRelease, reproduce
from tetrad.registry import Evidence, new_key
from tetrad.registry._evidence_store import SqlEvidenceStore
from tetrad.registry._store import SqlRegistryStore
from tetrad.releases import (
    Input,
    Isolated,
    NothingToRecord,
    Outcome,
    PartCheck,
    Refetch,
    RegistryPrompts,
    ReleaseNotFound,
    Report,
    Reproduction,
    ReproductionLimits,
    Reproductions,
    TooManyReproductions,
)
from tetrad.releases._reproduction_routes import reproduction_router
from tetrad.releases._store import SqlReproductionStore
from tetrad.releases.ports import TracedRequest, Work

P = "/api/v1/projects/default"
INPUTS = [Input(json.dumps([{"role": "user", "content": text}]), '{"tone":"curt"}') for text in ("Hi", "Name a city.")]
ROWS = "".join(f'{{"input": "question {number} {"x" * 600}", "output": "answer {number}"}}\n' for number in range(12))


@dataclass
class NoWorker:
    """Takes jobs and never does them: tests do them in their own time."""

    asked: list[str] = field(default_factory=list)
    away: bool = False

    def ask(self, reproduction: str) -> None:
        if self.away:
            raise Unavailable("the database of jobs is not there yet")
        self.asked.append(reproduction)

    def look(self, reproduction: str) -> Work | None:
        return Work("running", 1, 3, "reading") if reproduction in self.asked else None


class Traffic:
    """What clients sent, as a test says."""

    def __init__(self) -> None:
        self.sent: list[TracedRequest] = []

    def newest(self, project: str, release: str, *, limit: int) -> list[TracedRequest]:
        return self.sent[:limit]


class Inline:
    """A `RunningJob` that does each step at once, and remembers what it said."""

    id = "job"

    def __init__(self, **services: Any) -> None:
        self.services = services
        self.steps: list[str] = []

    def step(self, name: str, work: Callable[..., Any], *arguments: Any, retries: int | None = None) -> Any:
        self.steps.append(name)
        return work(*arguments)

    def progress(self, done: int, total: int = 0, message: str = "") -> None:
        assert done <= total


@dataclass
class Site:
    tetrads: Tetrads
    blobs: LocalBlobs
    evidence: Evidence
    reproductions: Reproductions
    worker: NoWorker
    traffic: Traffic
    digest: Digest
    engine: Any = None

    def run(self, row: Reproduction) -> Reproduction:
        """Do a reproduction as the worker does, calling the service where the worker calls the API."""

        def control(method: str, path: str, body: Any = None) -> Any:
            rest = path.removeprefix(f"/internal/v1/reproductions/{row.id}")
            if method == "GET":
                return msgspec.to_builtins(self.reproductions.plan(row.id))
            if rest == "/fail":
                found = self.reproductions.fail(row.id, body["message"], body["hint"])
            elif rest == "/finish":
                found = self.reproductions.finish(row.id, msgspec.convert(body, Outcome), actor=SYSTEM)
            else:
                return msgspec.to_builtins(self.reproductions.check(row.id, int(rest.removeprefix("/parts/"))))
            return {"state": found.state}

        reproduce(Inline(control=control, isolated=self.engine), ReproduceRelease(row.id))
        return self.reproductions.open(row.id)

    def prove(self, level: str | None = None, recording: str = "") -> Report:
        asked = self.reproductions.reproduce(
            "default", self.digest, actor=ALICE, level=level, recording=recording  # type: ignore[arg-type]
        )  # fmt: skip
        report = self.reproductions.report(self.run(asked))
        assert report is not None
        return report

    def part(self, report: Report, kind: str, role: str = "") -> PartCheck:
        return next(part for part in report.parts if part.kind == kind and role in ("", part.role))

    def change(self, digest: str, change: Callable[[bytes], bytes | None]) -> None:
        """Change bytes on the disk, or take them away."""
        path = self.blobs.path(Digest(digest))
        data = change(path.read_bytes())
        path.chmod(0o644)
        if data is None:
            path.unlink()
        else:
            path.write_bytes(data)

    def manifest(self) -> dict[str, Any]:
        return self.tetrads.registry.document("default", self.digest)

    def sql(self, statement: str, **values: Any) -> None:
        with self.tetrads.database.write() as connection:
            assert connection.execute(sa.text(statement), values).rowcount == 1


def make_site(
    database: Database, folder: Path, weights: bytes | Path = b"weights", limits: ReproductionLimits | None = None,
    **files: str | None,
) -> Site:  # fmt: skip
    blobs = LocalBlobs(folder / "blobs")
    tetrads = wire(database, blobs=blobs)  # type: ignore[arg-type]
    evidence = Evidence(
        SqlEvidenceStore(database), SqlRegistryStore(database), blobs, Keyring(new_seal_key()), tetrads.clock
    )
    evidence.first_start(SYSTEM)
    if isinstance(weights, bytes):
        (folder / "model.weights").write_bytes(weights)
        weights = folder / "model.weights"
    tetrads.models.register_weights("default", "local/smollm2-135m", weights, actor=SYSTEM)
    digest = tetrads.releases.compose_folder("default", write_app(folder / "app", **files), actor=ALICE).digest
    worker, traffic = NoWorker(), Traffic()
    prompts = RegistryPrompts(tetrads.registry, tetrads.prompts)
    reproductions = Reproductions(
        SqlReproductionStore(database), tetrads.registry, tetrads.releases, tetrads.models, evidence,
        Refetch(tetrads.registry, tetrads.code, tetrads.datasets, tetrads.models, prompts, evidence),
        GatewayRendering(), worker, tetrads.clock, traffic=traffic, limits=limits,
    )  # fmt: skip
    return Site(tetrads, blobs, evidence, reproductions, worker, traffic, digest)


@pytest.fixture
def site(database: Database, tmp_path: Path) -> Site:
    return make_site(database, tmp_path, data__shots_DOT_jsonl=None, **{"data/shots.jsonl": ROWS})


# -- R0 -------------------------------------------------------------------------------------------------------------


def test_a_whole_release_is_proven_part_by_part_and_signed(site: Site) -> None:
    report = site.prove()
    assert (report.tried, report.proven, report.cap, report.succeeded) == ("R0", ("R0",), "R1", True)
    assert [(part.kind, part.state) for part in report.parts] == [
        (kind, "proven") for kind in ("manifest", "code", "data", "model", "prompt", "evidence")
    ]
    assert site.part(report, "data").items == 12
    (row,) = site.reproductions.list("default", site.digest)
    signed = site.evidence.get("default", row.evidence)
    assert signed.counts
    assert signed.statement is not None
    assert signed.statement.predicate["proven"] == ["R0"]
    made = site.tetrads.registry.lineage("default", row.report, depth=1).activities
    assert [(each.kind, each.params["id"]) for each in made] == [("reproduce", row.id)]
    assert {edge.digest for edge in made[0].edges} == {site.digest, row.report}


def flip(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def cut(data: bytes) -> bytes:
    return data[:-1]


def gone(data: bytes) -> None:
    return None


def test_no_byte_of_a_blob_changes_unnoticed(site: Site) -> None:
    manifest = site.manifest()
    code = site.tetrads.code.get("default", manifest["code"]["digest"])
    named = {
        "code": (code.files[-1].digest, f"the file {code.files[-1].path!r}"),
        "model": (manifest["model"][0]["digest"], "the weights 'model.weights'"),
        "prompt": (manifest["prompt"][0]["digest"], "the prompt"),
    }
    for kind, (digest, words) in named.items():
        whole = site.blobs.path(Digest(digest)).read_bytes()
        for change, state in ((flip, "differs"), (cut, "differs"), (gone, "missing")):
            site.change(digest, change)
            report = site.prove()
            assert [part.kind for part in report.parts if part.state != "proven"] == [kind]
            found = site.part(report, kind)
            assert (found.state, report.proven) == (state, ())
            assert any(words in problem for problem in found.problems), found.problems
            site.blobs.put_bytes(whole)
    assert site.prove().proven == ("R0",)


def test_of_a_damaged_manifest_nothing_is_believed(site: Site) -> None:
    site.change(site.digest, lambda data: data.replace(b'"bot"', b'"bit"'))
    report = site.prove()
    assert [(part.kind, part.state) for part in report.parts] == [("manifest", "differs"), ("evidence", "proven")]
    assert report.levels[0].state == "differs"


def row_of(site: Site, key: int) -> bytes:
    version = site.tetrads.datasets.version("default", "bot-shots")
    return bytes.fromhex(site.tetrads.datasets.rows(version)[key].digest.removeprefix("sha256:"))


def test_a_row_that_was_changed_in_the_database_is_named(site: Site) -> None:
    site.sql("UPDATE dataset_rows SET content = :c, codec = 0 WHERE digest = :d", c=b'{"input":"x","output":"y"}',
             d=row_of(site, 3))  # fmt: skip
    found = site.part(site.prove(), "data")
    assert found.state == "differs"
    assert sum("is not what its digest says" in problem for problem in found.problems) == 1


def test_a_row_whose_packed_bytes_rot_is_named(site: Site) -> None:
    site.sql("UPDATE dataset_rows SET content = :c, codec = 1 WHERE digest = :d", c=b"rotten", d=row_of(site, 4))
    found = site.part(site.prove(), "data")
    assert found.state == "differs"
    assert sum("is not what its digest says" in problem for problem in found.problems) == 1


def test_a_row_that_is_gone_is_named(site: Site) -> None:
    site.sql("DELETE FROM dataset_rows WHERE digest = :d", d=row_of(site, 5))
    found = site.part(site.prove(), "data")
    assert any("is not there" in problem for problem in found.problems)
    assert found.state == "differs", "the digest of what is left is another one"


def test_rows_in_another_order_are_found(site: Site) -> None:
    with site.tetrads.database.write() as connection:
        connection.execute(sa.text("UPDATE dataset_members SET position = -position + 1000000000"))
    found = site.part(site.prove(), "data")
    assert [problem for problem in found.problems if "order" in problem]
    assert len(found.problems) == 1


def test_statements_that_were_changed_are_found_and_revoked_ones_are_whole(site: Site) -> None:
    ci = new_key("default", "ci", at=site.tetrads.clock.now(), by="ci")
    site.evidence.trust("default", "ci", ci.public, actor=SYSTEM)
    one = site.evidence.add("default", signed_result(ci, site.digest, "PASSED", "smoke"), actor=ALICE)
    two = site.evidence.add("default", signed_result(ci, site.digest, "PASSED", "load"), actor=ALICE)
    site.evidence.revoke("default", two.row.digest, actor=SYSTEM, reason="flaky")
    assert site.part(site.prove(), "evidence").state == "proven"
    site.sql("UPDATE evidence SET received_by = 'mallory' WHERE digest = :d", d=one.row.digest)
    found = site.part(site.prove(), "evidence")
    assert found.state == "differs"
    assert any(one.row.digest in problem for problem in found.problems)


def test_an_erased_part_caps_below_everything(site: Site) -> None:
    site.sql("UPDATE artifacts SET erased_at = 1 WHERE digest = :d", d=site.manifest()["model"][0]["digest"])
    report = site.prove("R1")
    assert (site.part(report, "model").state, report.cap, report.proven) == ("erased", "none", ())


def test_hosted_models_cap_at_r2_and_r2_names_the_suites_that_nobody_can_execute(
    database: Database, tmp_path: Path
) -> None:
    site = make_site(database, tmp_path)
    site.tetrads.models.register_hosted("default", "openai/gpt", provider="openai", model="gpt", actor=SYSTEM)
    site.digest = site.tetrads.releases.derivations.derive(
        "default", site.digest, {"model.primary": "openai/gpt"}, actor=ALICE
    ).digest
    report = site.prove()
    assert (report.tried, report.cap, report.proven, report.succeeded) == ("R0", "R2", (), False)
    assert site.part(report, "model").state == "cannot"
    assert "hosts 'gpt' and may change" in site.part(report, "model").problems[0]
    assert site.prove("R1").levels[1].reason == "a model is hosted by others, who may change what answers"
    assert "no suite has a signed result" in site.prove("R2").levels[2].reason
    ci = new_key("default", "ci", at=site.tetrads.clock.now(), by="ci")
    site.evidence.trust("default", "ci", ci.public, actor=SYSTEM)
    site.evidence.add("default", signed_result(ci, site.digest, "PASSED", "smoke"), actor=ALICE)
    report = site.prove("R2")
    assert report.levels[2].reason == "no executor of suite 'smoke'; cannot be proven here"
    assert not report.succeeded
    with pytest.raises(NothingToRecord, match="hosted models cap at R2"):
        site.reproductions.record("default", site.digest, actor=ALICE, inputs=INPUTS)


# -- asking ---------------------------------------------------------------------------------------------------------


def test_the_same_key_is_the_same_reproduction_and_ends_once(site: Site) -> None:
    ask = partial(site.reproductions.reproduce, "default", site.digest, actor=ALICE, key="k")
    first, second = ask(), ask()
    assert first == second
    assert site.worker.asked == [first.id] * 2, "asking again asks for the job again, which is the same job"
    done = site.run(first)
    assert site.run(first) == done
    assert site.reproductions.fail(first.id, "too late", "") == done
    with pytest.raises(Conflict):
        ask(level="R2")
    assert len(site.reproductions.list("default", site.digest)) == 1


def test_what_cannot_be_asked_for_now_is_not_left_waiting_unless_its_key_can_ask_again(site: Site) -> None:
    site.worker.away = True
    for _ in range(site.reproductions.limits.max_open + 1):
        with pytest.raises(Unavailable):
            site.reproductions.reproduce("default", site.digest, actor=ALICE)
    assert {row.state for row in site.reproductions.list("default", site.digest, limit=200)} == {"failed"}
    with pytest.raises(Unavailable):
        site.reproductions.reproduce("default", site.digest, actor=ALICE, key="mine")
    site.worker.away = False
    row = site.reproductions.reproduce("default", site.digest, actor=ALICE, key="mine")
    assert (row.state, site.worker.asked) == ("open", [row.id])


def test_limits_hold(database: Database, tmp_path: Path) -> None:
    site = make_site(database, tmp_path, limits=ReproductionLimits(2, 200, 2))
    record = partial(site.reproductions.record, "default", site.digest, actor=ALICE)
    with pytest.raises(NothingToRecord, match="3 requests"):
        record(inputs=[*INPUTS, INPUTS[0]])
    with pytest.raises(NothingToRecord, match="1 requests of"):
        record(inputs=[Input(json.dumps([{"role": "user", "content": "x" * 300}]))])
    with pytest.raises(NothingToRecord, match="3 traces"):
        record(from_traces=3)
    with pytest.raises(NothingToRecord, match="there are no requests"):
        record()
    with pytest.raises(NothingToRecord, match=r"request 2: .*tone"):
        record(inputs=[INPUTS[0], Input("[]", '{"tone": 3}')])
    with pytest.raises(NothingToRecord, match="no request to"):
        record(from_traces=1)
    site.traffic.sent = [TracedRequest("t", INPUTS[0].messages, INPUTS[0].variables)]
    assert record(from_traces=2).inputs == (INPUTS[0],)
    site.reproductions.reproduce("default", site.digest, actor=ALICE)
    with pytest.raises(TooManyReproductions):
        site.reproductions.reproduce("default", site.digest, actor=ALICE)
    site.tetrads.clock.advance(86_400 + 1)
    site.reproductions.reproduce("default", site.digest, actor=ALICE)


def test_a_digest_grants_nothing(site: Site) -> None:
    with pytest.raises(ReleaseNotFound):
        site.reproductions.reproduce("other", site.digest, actor=ALICE)
    row = site.reproductions.reproduce("default", site.digest, actor=ALICE)
    for project, release in (("other", site.digest), ("default", "sha256:" + "0" * 64)):
        with pytest.raises(TetradError, match="has no"):
            site.reproductions.get(project, release, row.id)


async def test_the_api_asks_shows_and_lists(site: Site) -> None:
    identity = make_identity(site.tetrads.database)
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, "default", "default")
    app = make_app(identity, reproduction_router(site.reproductions))
    path = f"{P}/releases/{site.digest}/reproductions"
    async with caller(app, identity.keys.create(ADMIN, "default", "ann", ["control"]).secret) as http:
        asked = await http.post(path, json={"level": "R0"})
        assert asked.status_code == 202, asked.text
        place = f"{path}/{asked.json()['id']}"
        running = (await http.get(place)).json()
        assert (running["state"], running["progress"]) == ("running", {"done": 1, "total": 3, "message": "reading"})
        site.run(site.reproductions.open(asked.json()["id"]))
        shown = (await http.get(place)).json()
        assert (shown["state"], shown["proven"], shown["succeeded"], shown["cap"]) == ("done", ["R0"], True, "R1")
        assert {part["state"] for part in shown["parts"]} == {"proven"}
        for body, status in (
            ({"level": "R9"}, 400), ({"requests": [{"input": "x"}]}, 400), ({"record": True}, 422),
            ({"record": True, "level": "R1"}, 400), ({"recording": "sha256:" + "0" * 64}, 404),
        ):  # fmt: skip
            assert (await http.post(path, json=body)).status_code == status, body
        for _ in range(2):
            await http.post(path, json={})
        page = (await http.get(path, params={"limit": 2})).json()
        assert len(page["items"]) == 2
        rest = (await http.get(path, params={"limit": 2, "cursor": page["next_cursor"]})).json()
        assert [each["id"] for each in rest["items"]] == [asked.json()["id"]]
        inside = f"/internal/v1/reproductions/{asked.json()['id']}"
        assert (await http.get(inside)).status_code == 403
        assert (await http.post(f"{inside}/finish", json={})).status_code == 403
    async with caller(app, INTERNAL_TOKEN) as worker:
        assert (await worker.get(inside)).json()["parts"][0] == "manifest"
        assert (await worker.post(f"{inside}/parts/99")).status_code == 404
        assert (await worker.post(f"{inside}/finish", json={"parts": 3})).status_code == 400
        assert (await worker.post(f"{inside}/fail", json={"message": "x"})).json()["state"] == "done"


# -- R1 -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def real(database: Database, tmp_path: Path, chat_weights: Path) -> Site:
    """Lend a site whose worker has the real embedded engine, reading weights from the blob store."""
    site = make_site(database, tmp_path, chat_weights)

    def engine(asked: Isolated) -> IsolatedEngine:
        adapter = LlamaCppAdapter(lambda digest: site.blobs.path(Digest(digest)), tmp_path, tmp_path, calibrate=False)
        return IsolatedEngine(adapter, msgspec.structs.replace(asked, threads=asked.threads or 1), engine_facts)

    site.engine = engine
    return site


def recorded(site: Site) -> str:
    row = site.run(site.reproductions.record("default", site.digest, actor=ALICE, inputs=INPUTS))
    assert (row.state, row.error) == ("done", "")
    return row.recording


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_the_same_engine_gives_the_same_bytes_and_every_change_is_named(real: Site) -> None:
    recording = recorded(real)
    report = real.prove()
    assert (report.tried, report.proven) == ("R1", ("R0", "R1"))
    assert report.replay is not None
    assert report.replay.recording == recording

    kept = real.reproductions.recording("default", recording)

    def doctored(**changes: Any) -> Report:
        """Prove R1 with a recording in which something is not as it was."""
        document = msgspec.structs.replace(kept, **changes).document()
        made = real.tetrads.registry.put_document("default", "recording", document, actor=ALICE)
        return real.prove("R1", made.digest)

    seed = doctored(seed=kept.seed + 1)
    assert [each.state for each in seed.replay.requests] == ["differs"] * 2  # type: ignore[union-attr]
    assert "renders another request" in seed.levels[1].reason
    answer = msgspec.structs.replace(kept.requests[1], answer="{}", answer_digest="sha256:" + "0" * 64)
    other = doctored(requests=(kept.requests[0], answer))
    assert [each.state for each in other.replay.requests] == ["same", "differs"]  # type: ignore[union-attr]
    assert other.levels[1].reason.startswith("1 of 2 requests differ; request 2: from character")
    build = doctored(engine=msgspec.structs.replace(kept.engine, build="xllamacpp 1", cpu="another"))
    assert build.levels[1].state == "cannot"
    assert "not comparable: the build was 'xllamacpp 1'" in build.levels[1].reason
    assert "the processor was 'another'" in build.levels[1].reason
    assert build.proven == ("R0",), "the level falls to what can be proven"
    threads = doctored(threads=2)
    assert "the engine's threads was '1', here it is '2'" in threads.levels[1].reason
    assert doctored(requests=()).levels[1].reason == "the recording has no requests"

    real.change(real.manifest()["prompt"][0]["digest"], lambda data: data.replace(b"Be ", b"Do "))
    prompt = real.prove("R1")
    assert prompt.proven == ()
    assert "prompt system bot-system: differs" in prompt.levels[1].reason


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_weights_that_changed_or_are_elsewhere_are_named_and_nothing_is_executed(real: Site) -> None:
    recorded(real)
    weights = real.manifest()["model"][0]["digest"]
    assert weights == f"sha256:{CHAT_MODEL.sha256}"
    real.change(weights, flip)
    report = real.prove("R1")
    assert (report.proven, report.replay) == ((), None)
    assert "model primary local/smollm2-135m: differs" in report.levels[1].reason
    failed = real.run(real.reproductions.record("default", real.digest, actor=ALICE, inputs=INPUTS))
    assert failed.state == "failed"
    assert "is damaged" in failed.error
    real.change(weights, gone)
    failed = real.run(real.reproductions.record("default", real.digest, actor=ALICE, inputs=INPUTS))
    assert failed.state == "failed"
    assert "no bytes are kept" in failed.error


def test_r1_without_a_recording_says_so(site: Site) -> None:
    report = site.prove("R1")
    assert (report.proven, report.levels[1].state) == (("R0",), "cannot")
    assert report.levels[1].reason == "there is no recording; make one with --record"


def asking(version: str, context: int = 2048) -> str:
    engine = f"{{name: llama_cpp, version: '{version}', context: {context}}}"
    return YAML.replace("{name: local/smollm2-135m}", f"{{name: local/smollm2-135m, engine: {engine}}}")


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
def test_an_engine_that_is_not_what_the_release_asks_for_is_not_recorded_on(real: Site, tmp_path: Path) -> None:
    plain = real.digest

    def composed(yaml: str) -> Digest:
        folder = write_app(tmp_path / "app", **{"tetrad.yaml": yaml})
        return real.tetrads.releases.compose_folder("default", folder, actor=ALICE).digest

    assert composed(YAML) == plain, "what is not declared is not in the manifest"
    real.digest = composed(asking("==1.0"))
    assert real.manifest()["model"][0]["engine"] == {"name": "llama_cpp", "version": "==1.0", "context": 2048}
    row = real.run(real.reproductions.record("default", real.digest, actor=ALICE, inputs=INPUTS))
    assert row.state == "failed"
    assert "the release asks for llama_cpp ==1.0, here is 20" in row.error
    diff = real.tetrads.releases.comparisons.diff("default", plain, real.digest)
    assert [(change.path, change.change) for change in diff.model[0].facts] == [("engine", "added")]

    real.digest = composed(asking(">=2020", 1024))
    recording = real.reproductions.recording("default", recorded(real))
    assert recording.engine.flags["ctx"] == "1024"
    assert real.prove().proven == ("R0", "R1")
    real.tetrads.models.register_weights("default", "local/other", (tmp_path / "app" / "bot.py"), actor=SYSTEM)
    derived = real.tetrads.releases.derivations.derive(
        "default", real.digest, {"model.primary": "local/other"}, actor=ALICE
    )
    assert derived.manifest["model"][0]["engine"]["context"] == 1024, "it is the app's, whatever the weights"


@pytest.mark.parametrize("kind", ["model", "prompt", "code", "data"])
def test_whatever_part_was_erased_is_said_to_be_erased_and_not_damaged(site: Site, kind: str) -> None:
    manifest = site.manifest()
    digest = manifest["code"]["digest"] if kind == "code" else manifest[kind][0]["digest"]
    wire_collector(site.tetrads).erase("default", digest, actor=SYSTEM, reason="a person asked to be forgotten")
    assert site.tetrads.registry.artifact("default", digest).erased_at is not None
    report = site.prove()
    assert (site.part(report, kind).state, report.cap, report.proven, report.succeeded) == ("erased", "none", (), False)
