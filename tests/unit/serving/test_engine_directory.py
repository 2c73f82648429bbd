"""What control knows of engines."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec
import pytest

from tetrad.kernel import FixedClock
from tetrad.serving import (
    BadEngineSpec,
    EngineEndpoint,
    EngineNotFound,
    EngineReport,
    EngineSpec,
    ModelEntry,
    RouteTable,
    Upstream,
)
from tetrad.serving._engine_directory import EngineDirectory, FixedEngine, StoredEngine

SPEC = EngineSpec(name="one", kind="llama_cpp", model="sha256:" + "1" * 64, served_name="local/one")
FIXED = FixedEngine(
    Upstream(name="inference", base_url="unix:///x#/v1"),
    (ModelEntry(name="local/embed", upstream="inference", upstream_model="local/embed", kinds=("embeddings",)),),
)


class Rows:
    """An `EngineStore` in memory."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredEngine] = {}
        self.notes: list[EngineReport] = []

    def all(self) -> list[StoredEngine]:
        return [self.rows[name] for name in sorted(self.rows)]

    def put(self, spec: EngineSpec, at: datetime) -> None:
        self.rows[spec.name] = StoredEngine(spec, at)

    def drop(self, name: str) -> bool:
        return self.rows.pop(name, None) is not None

    def note(self, report: EngineReport, at: datetime) -> None:
        self.notes.append(report)


class Known:
    def __init__(self) -> None:
        self.rows, self.clock, self.changes = Rows(), FixedClock(), 0
        self.directory = self.again()

    def again(self) -> EngineDirectory:
        def changed() -> None:
            self.changes += 1

        return EngineDirectory(self.rows, self.clock, on_change=changed, fixed=[FIXED])


def ready(spec: EngineSpec = SPEC, port: int = 1, **more: object) -> EngineReport:
    report = EngineReport(
        name=spec.name,
        spec_digest=spec.digest,
        state="ready",
        endpoint=EngineEndpoint(f"http://127.0.0.1:{port}/v1", f"secret-{port}"),
        served=(spec.served_name,),
    )
    return msgspec.structs.replace(report, **more)


def test_a_reported_engine_is_routed_with_its_secret_and_shown_without_it() -> None:
    known = Known()
    known.directory.want(SPEC)
    assert known.directory.upstreams()["one"].state == "planned"
    known.directory.note(ready())
    upstream = known.directory.upstreams()["one"]
    assert (upstream.state, upstream.base_url, upstream.secret) == ("ready", "http://127.0.0.1:1/v1", "secret-1")
    assert upstream.max_connections == SPEC.slots + SPEC.max_queue
    assert known.directory.models()["local/one"].upstream == "one"
    assert known.directory.models()["local/embed"].kinds == ("embeddings",)
    assert "secret-1" not in repr(known.directory.engines())


def test_no_secret_ever_reaches_the_store() -> None:
    known = Known()
    known.directory.want(SPEC)
    known.directory.note(ready())
    assert b"secret-1" not in msgspec.json.encode([known.rows.notes, known.rows.all()])


def test_routing_hears_of_changes_and_not_of_heartbeats() -> None:
    known = Known()
    known.directory.want(SPEC)
    known.directory.want(SPEC)
    assert known.changes == 1
    known.directory.note(ready())
    assert known.changes == 2
    known.directory.note(ready(rss_bytes=5))
    assert known.changes == 2
    assert len(known.rows.notes) == 1
    known.directory.note(ready(port=2))
    assert known.changes == 3
    known.directory.note(ready(state="draining"))
    assert known.changes == 4
    assert known.directory.upstreams()["one"].secret == ""


def test_a_report_about_another_shape_of_the_engine_routes_nothing() -> None:
    known = Known()
    known.directory.want(SPEC)
    known.directory.note(ready())
    known.directory.want(msgspec.structs.replace(SPEC, slots=9))
    assert known.directory.upstreams()["one"].state == "planned"


def test_a_restarted_control_trusts_the_last_table_until_the_worker_speaks() -> None:
    known = Known()
    known.directory.want(SPEC)
    known.directory.note(ready())
    table = RouteTable(version=1, made_ns=1, upstreams=known.directory.upstreams(), models=known.directory.models())
    restarted = known.again()
    assert restarted.epoch != known.directory.epoch
    assert restarted.upstreams()["one"].state == "planned"
    restarted.restore(table)
    assert restarted.upstreams()["one"] == known.directory.upstreams()["one"]
    restarted.note(ready(state="failed", endpoint=None, reason="killed"))
    assert restarted.upstreams()["one"].state == "failed"


def test_a_silent_worker_shows() -> None:
    known = Known()
    known.directory.want(SPEC)
    known.directory.note(ready())
    assert not known.directory.engine("one").silent
    known.clock.advance(timedelta(seconds=31))
    assert known.directory.engine("one").silent


def test_names_do_not_collide_and_unknown_ones_are_refused() -> None:
    known = Known()
    known.directory.want(SPEC)
    for clash in (
        msgspec.structs.replace(SPEC, name="two"),
        msgspec.structs.replace(SPEC, name="two", served_name="local/embed"),
        msgspec.structs.replace(SPEC, name="inference", served_name="local/three"),
    ):
        with pytest.raises(BadEngineSpec):
            known.directory.want(clash)
    with pytest.raises(EngineNotFound):
        known.directory.note(ready(msgspec.structs.replace(SPEC, name="ghost")))
    known.directory.unwant("one")
    with pytest.raises(EngineNotFound):
        known.directory.unwant("one")
    assert "one" not in known.directory.upstreams()
