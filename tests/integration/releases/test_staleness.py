"""What is out of date, on both databases: causes, plans, what is made again, and where it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from support.evidence import BOT, CAT, signed_result
from support.staleness import Aging, revoke, wire_aging
from support.tetrads import ALICE
from tetrad.datasets import PushedRow
from tetrad.kernel import Principal, digest_json
from tetrad.kit.db import Database
from tetrad.registry import ArtifactNotFound
from tetrad.registry._activities import activities, lineage_edges
from tetrad.registry._tables import artifacts, version_names, versions
from tetrad.releases import StalenessLimits, StalenessTooLarge, summarise
from tetrad.releases.ports import RebuildOrder, Remade

EN1, EN2, DE1 = {"q": "1", "lang": "en"}, {"q": "2", "lang": "en"}, {"q": "1", "lang": "de"}
SHOT, OTHER = {"input": "Hi", "output": "Hello!"}, {"input": "Bye", "output": "See you!"}
YAML = """\
app: bot
data:
  - {role: fewshot, name: shots, version: 1.0.0}
  - {role: train, name: faq-en, version: 1.0.0}
model:
  - {name: tuned}
prompt:
  - {name: bot-system, version: 1.0.0}
"""


@pytest.fixture
def aging(database: Database) -> Aging:
    return wire_aging(database)


def release(aging: Aging, tmp_path: Path, yaml: str = YAML) -> str:
    """Compose an app of versions that are there: faq → faq-en → tuned; tone → bot-system; shots."""
    aging.rows("faq", EN1, DE1)
    aging.filtered("faq", "faq-en")
    aging.rows("shots", SHOT)
    aging.trained(tmp_path, "tuned", "faq-en", b"one")
    aging.prompt("tone", "Be kind.")
    aging.prompt("bot-system", "# system\n\n{{> tone}}", type_="chat")
    return aging.app(tmp_path / "app", tetrad_DOT_yaml=yaml, prompts__system_DOT_md=None, data__shots_DOT_jsonl=None)


def outcomes(aging: Aging, **what: str) -> dict[str, str]:
    done = aging.stalenesses.run("default", actor=ALICE, **what).done
    return {f"{each.step.action} {each.step.kind} {each.step.name}": each.outcome for each in done}


def sentences(aging: Aging, **what: str) -> list[str]:
    return [cause.said for cause in aging.look(**what).items[0].causes]


def test_a_release_that_nobody_tested_is_unvalidated_and_one_that_passed_is_fresh(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    (item,) = aging.look(app="bot").items
    assert (item.ref, item.state) == ("bot/staging", "UNVALIDATED")
    assert any("no signed test result" in cause.said for cause in item.causes)
    assert [(step.action, step.executor) for step in aging.look(app="bot").steps] == [
        ("revalidate", ""), ("reevaluate", ""),
    ]  # fmt: skip
    aging.gated.tested(digest)
    assert aging.look(app="bot").fresh
    assert aging.look(app="bot").steps == ()


def test_the_wave_goes_from_data_to_the_release_and_names_what_nobody_can_do(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    aging.gated.tested(digest)
    aging.rows("faq", EN1, EN2, DE1)
    looked = aging.look(app="bot")
    (item,) = looked.items
    assert item.state == "STALE"
    assert [root.said for root in item.roots] == [
        "dataset faq 1.1.0 is newer than 1.0.0 that dataset faq-en 1.0.0 was made of"
    ]
    assert [(step.action, step.kind, step.name, step.executor) for step in looked.steps] == [
        ("rebuild", "dataset", "faq-en", "dataset.filter"),
        ("rebuild", "model", "tuned", ""),
        ("rebuild", "release", "bot", "release.derive"),
        ("revalidate", "prompt", "bot-system", ""),
        ("reevaluate", "release", "bot", ""),
    ]
    assert looked.steps[1].lacks == "nothing is installed that does model.finetune"
    assert looked.steps[2].waits_for == ("rebuild model tuned 1.0.0",)


def test_a_run_makes_what_it_can_and_nothing_that_rests_on_what_it_cannot(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    aging.rows("faq", EN1, EN2, DE1)
    assert outcomes(aging, app="bot") == {
        "rebuild dataset faq-en": "made",
        "rebuild model tuned": "no-executor",
        "rebuild release bot": "waiting",
        "revalidate prompt bot-system": "no-executor",
        "reevaluate release bot": "no-executor",
    }
    version = aging.tetrads.datasets.version("default", "faq-en")
    assert (version.semver, version.rows) == ("1.1.0", 2)
    assert aging.look(digest=version.digest).fresh
    assert aging.tetrads.releases.ref("default", "bot", "staging").digest == digest
    before = counts(aging)
    assert outcomes(aging, app="bot").get("rebuild dataset faq-en") is None
    assert counts(aging) == before


def test_what_is_trained_by_somebody_lets_the_rest_follow(database: Database, tmp_path: Path) -> None:
    class Trainer:
        def rebuild(self, order: RebuildOrder, *, actor: Principal) -> Remade:
            del actor
            (data,) = order.inputs
            assert data.digest == aging.digest_of("dataset", "faq-en")
            made = aging.trained(tmp_path, order.name, data.name, b"trained on " + data.digest.encode())
            return Remade(made, "", True)

    aging = wire_aging(database, rebuilders={"model.finetune": Trainer()})
    digest = release(aging, tmp_path)
    aging.rows("faq", EN1, EN2, DE1)
    assert outcomes(aging, app="bot") == {
        "rebuild dataset faq-en": "made",
        "rebuild model tuned": "made",
        "rebuild release bot": "made",
        "revalidate prompt bot-system": "no-executor",
        "reevaluate release bot": "no-executor",
    }
    looked = aging.look(app="bot")
    (item,) = looked.items
    assert (item.digest, item.state) == (digest, "STALE")
    assert item.successor
    assert [step.action for step in looked.steps] == ["revalidate", "reevaluate"]
    assert looked.steps[1].digest == item.successor
    manifest = aging.tetrads.releases.release("default", item.successor).manifest
    assert {part["name"]: part["digest"] for part in manifest["data"]} == {
        "faq-en": aging.digest_of("dataset", "faq-en"), "shots": aging.digest_of("dataset", "shots"),
    }  # fmt: skip
    aging.gated.tested(item.successor)
    aging.tetrads.registry.move_ref("default", "bot/staging", item.successor, expected=digest, actor=ALICE)
    assert aging.look(app="bot").fresh


def test_an_equal_result_stops_the_wave(aging: Aging, tmp_path: Path) -> None:
    aging.gated.tested(release(aging, tmp_path))
    made = aging.digest_of("dataset", "faq-en")
    aging.rows("faq", EN1, DE1, {"q": "3", "lang": "de"})
    assert aging.look(app="bot").items[0].state == "STALE"
    assert outcomes(aging, app="bot")["rebuild dataset faq-en"] == "same"
    assert aging.digest_of("dataset", "faq-en") == made
    assert aging.look(app="bot").fresh
    before = counts(aging)
    assert outcomes(aging, app="bot") == {}
    assert counts(aging) == before


def test_rows_that_an_older_version_had_become_the_newest_version_again(aging: Aging) -> None:
    aging.rows("faq", EN1)
    first = aging.filtered("faq", "faq-en")
    aging.rows("faq", EN1, EN2)
    outcomes(aging, digest=first)
    aging.rows("faq", EN1, {"q": "9", "lang": "de"})
    assert outcomes(aging, digest=first) == {"rebuild dataset faq-en": "made"}
    newest = aging.tetrads.datasets.version("default", "faq-en")
    assert (newest.semver, newest.digest) == ("1.2.0", first)
    assert aging.look(digest=newest.digest).fresh
    assert outcomes(aging, digest=first) == {}


def test_a_filter_that_takes_nothing_away_is_not_taken_for_its_source(aging: Aging) -> None:
    same = aging.rows("faq", EN1)
    assert aging.filtered("faq", "faq-en") == same
    aging.rows("faq", EN1, EN2)
    found = {slot: aging.stalenesses.look("default", digest=same) for slot in ("faq-en",)}
    assert found["faq-en"].items[0].state == "STALE"
    assert outcomes(aging, digest=same) == {"rebuild dataset faq-en": "made"}


def test_a_prompt_follows_what_it_includes_within_the_range_that_it_names(aging: Aging) -> None:
    aging.prompt("tone", "Be kind.")
    loose = aging.prompt("loose", "{{> tone}} Now.")
    ranged = aging.prompt("ranged", "{{> tone@^1}} Now.")
    exact = aging.prompt("exact", "{{> tone@1.0.0}} Now.")
    outer = aging.prompt("outer", "{{> loose}} Really.")
    aging.prompt("tone", "Be {{how}}.", head="variables:\n  how: {}\n")  # a new required variable: 2.0.0
    assert aging.digest_of("prompt", "tone") == aging.digest_of("prompt", "tone", "2.0.0")
    assert [aging.look(digest=each).items[0].state for each in (loose, ranged, exact, outer)] == [
        "STALE", "FRESH", "FRESH", "STALE",
    ]  # fmt: skip
    assert sentences(aging, digest=loose) == ["prompt tone 2.0.0 is newer than 1.0.0 that prompt loose 1.0.0 pins"]
    assert outcomes(aging, digest=outer) == {"rebuild prompt loose": "made", "rebuild prompt outer": "made"}
    for name in ("loose", "outer"):
        assert aging.look(digest=aging.digest_of("prompt", name)).fresh
    assert outcomes(aging, digest=outer) == {}


def test_what_was_revoked_breaks_what_was_made_of_it_until_it_is_made_without(aging: Aging, tmp_path: Path) -> None:
    aging.gated.tested(release(aging, tmp_path))
    revoke(aging, aging.digest_of("dataset", "faq"), "somebody's address is in it")
    looked = aging.look(app="bot")
    assert looked.items[0].state == "BROKEN"
    assert looked.items[0].roots[0].said == (
        "dataset faq 1.0.0, of which dataset faq-en 1.0.0 was made, was revoked: somebody's address is in it"
    )
    assert looked.steps[0].lacks == "dataset faq 1.0.0 was revoked, and there is no newer version; make one without it"
    aging.rows("faq", EN2)
    assert outcomes(aging, app="bot")["rebuild dataset faq-en"] == "made"
    assert aging.look(digest=aging.digest_of("dataset", "faq-en")).fresh
    assert aging.look(app="bot").items[0].state == "BROKEN"


def test_a_newest_version_that_was_revoked_makes_nothing_stale(aging: Aging) -> None:
    aging.rows("faq", EN1)
    made = aging.filtered("faq", "faq-en")
    bad = aging.rows("faq", EN1, EN2)
    revoke(aging, bad)
    assert aging.look(digest=made).fresh


def test_rows_that_are_pushed_are_history_and_no_newer_version(aging: Aging) -> None:
    aging.rows("faq", EN1)
    pushed = aging.tetrads.datasets.push("default", "faq", [PushedRow(EN2)], actor=ALICE, idempotency_key="k")
    assert aging.look(digest=pushed.digest).fresh
    revoke(aging, aging.digest_of("dataset", "faq", "1.0.0"))
    assert aging.look(digest=pushed.digest).items[0].state == "BROKEN"


def test_evidence_expires(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    until = aging.tetrads.clock.now() + timedelta(days=1)
    aging.gated.evidence.add("default", signed_result(aging.gated.ci, digest), actor=BOT, expires_at=until)
    assert aging.look(app="bot").fresh
    aging.tetrads.clock.advance(timedelta(days=2))
    item = aging.look(app="bot").items[0]
    assert item.state == "EXPIRED"
    assert aging.look(app="bot").steps[-1].action == "reevaluate"
    aging.gated.tested(digest, cases=11)
    assert aging.look(app="bot").fresh
    aging.tetrads.clock.advance(1)
    aging.gated.tested(digest, "FAILED")
    assert aging.look(app="bot").items[0].state == "UNVALIDATED"


def test_a_gate_with_another_policy_asks_anew_and_only_for_its_ref(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    aging.gated.tested(digest)
    aging.gated.policies.set("default", "bot/production", {"schema": "tetrad.gate/1"}, actor=CAT)
    aging.tetrads.registry.move_ref("default", "bot/production", digest, expected=None, actor=CAT)
    assert aging.look(app="bot").fresh
    policy = {"schema": "tetrad.gate/1", "suites": [{"suite": "smoke", "max_age_days": 1}]}
    aging.gated.policies.set("default", "bot/production", policy, actor=CAT)
    assert {item.ref: item.state for item in aging.look(app="bot").items} == {
        "bot/production": "STALE", "bot/staging": "FRESH",
    }  # fmt: skip
    aging.tetrads.clock.advance(timedelta(days=2))
    causes = {cause.what for cause in aging.look(app="bot", ref="production").items[0].causes}
    assert causes == {"policy", "expired"}


def test_newer_code_is_told_and_the_release_that_holds_it_is_the_next(aging: Aging, tmp_path: Path) -> None:
    first = release(aging, tmp_path)
    (tmp_path / "app" / "bot.py").write_text("print('hello again')\n", "utf-8")
    second = aging.tetrads.releases.compose_folder("default", tmp_path / "app", actor=ALICE, git=False).digest
    (item,) = aging.look(app="bot").items
    assert item.digest == first
    assert item.successor == second
    assert item.causes[0].said.startswith("code ")
    assert [step.action for step in aging.look(app="bot").steps] == ["revalidate", "reevaluate"]


def test_a_graph_past_the_limit_is_refused_and_not_called_fresh(database: Database, tmp_path: Path) -> None:
    aging = wire_aging(database, limits=StalenessLimits(max_artifacts=3))
    release(aging, tmp_path)
    with pytest.raises(StalenessTooLarge, match="more than 3 artifacts"):
        aging.look(app="bot")


def test_another_project_sees_nothing_by_a_digest(aging: Aging) -> None:
    digest = aging.rows("faq", EN1)
    with pytest.raises(ArtifactNotFound):
        aging.stalenesses.look("other", digest=digest)


def test_a_run_whose_time_is_over_leaves_the_rest_for_the_next(aging: Aging) -> None:
    aging.prompt("tone", "Be kind.")
    aging.prompt("loose", "{{> tone}} Now.")
    outer = aging.prompt("outer", "{{> loose}} Really.")
    aging.prompt("tone", "Be brief.")
    first = aging.stalenesses.run("default", actor=ALICE, digest=outer, seconds=0)
    assert [each.outcome for each in first.done] == ["made", "left"]
    assert first.left == 1
    assert [each.outcome for each in aging.stalenesses.run("default", actor=ALICE, digest=outer, seconds=0).done] == [
        "made"
    ]
    assert aging.stalenesses.run("default", actor=ALICE, digest=outer).done == ()


def test_a_step_that_fails_holds_up_what_rests_on_it_alone(aging: Aging) -> None:
    aging.prompt("tone", "Be kind.")
    aging.prompt("loose", "{{> tone}} Now.")
    outer = aging.prompt("outer", "{{> loose}} Really.")
    aging.prompt("tone", "# system\n\nBe kind.", type_="chat")  # only texts can be included
    assert outcomes(aging, digest=outer) == {"rebuild prompt loose": "failed", "rebuild prompt outer": "waiting"}


def counts(aging: Aging) -> tuple[int, ...]:
    with aging.tetrads.database.read() as connection:
        return tuple(
            connection.execute(sa.text(f"SELECT count(*) FROM {table}")).scalar_one()
            for table in ("artifacts", "versions", "activities", "refs", "ref_log")
        )


# -- many artifacts


@pytest.mark.timeout(400)
def test_ten_thousand_artifacts_are_looked_at_with_few_queries(database: Database) -> None:
    aging = wire_aging(database)
    layers, width = 100, 100
    last = many(aging, layers, width)
    with counted_queries(database) as queries:
        looked = aging.look(digest=last)
    assert 9_000 < looked.artifacts <= layers * width  # of the last layers not all
    assert looked.fresh
    assert len(queries) * 10 < looked.artifacts
    with database.write() as connection:
        connection.execute(sa.insert(versions).values(version_row("name-0-0", 2, "sha256:" + "f" * 64)))
        connection.execute(sa.update(version_names).where(version_names.c.name == "name-0-0").values(last_seq=2))
    looked = aging.look(digest=last)
    assert looked.items[0].state == "STALE"
    assert [root.name for root in looked.items[0].roots] == ["name-0-0"]
    assert [step.name for step in looked.steps][-1] == f"name-{layers - 1}-0"


def version_row(name: str, seq: int, digest: str) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "project": "default", "kind": "dataset", "name": name, "seq": seq, "semver": f"1.{seq}.0", "digest": digest,
        "author": "a", "author_name": "", "reason": "", "expected_outcome": "", "meta": {}, "created_at": at,
    }  # fmt: skip


def many(aging: Aging, layers: int, width: int) -> str:
    """Write layers of artifacts, each made of three of the layer before, and return one of the last."""
    at = datetime(2026, 1, 1, tzinfo=UTC)

    def digest(layer: int, place: int) -> str:
        return digest_json([layer, place])

    rows: dict[str, list[dict[str, Any]]] = {"a": [], "n": [], "v": [], "act": [], "e": []}
    extra = "sha256:" + "f" * 64
    for each in [(layer, place) for layer in range(layers) for place in range(width)] + [(-1, 0)]:
        layer, place = each
        mine = extra if layer < 0 else digest(layer, place)
        rows["a"].append(
            {"project": "default", "digest": mine, "kind": "dataset", "media_type": "x", "size": 1, "stored": False,
             "created_at": at, "created_by": "a"}
        )  # fmt: skip
        if layer < 0:
            continue
        name, act = f"name-{layer}-{place}", f"act-{layer:04}-{place:04}"
        rows["n"].append({"project": "default", "kind": "dataset", "name": name, "last_seq": 1})
        rows["v"].append(version_row(name, 1, mine))
        rows["act"].append(
            {"project": "default", "id": act, "kind": "curate", "actor": "a", "state": "done", "params": {},
             "environment": {}, "started_at": at}
        )  # fmt: skip
        edges = [("out", mine)]
        if layer:
            edges += [("in", digest(layer - 1, (place + step) % width)) for step in (0, 1, 10)]
        rows["e"] += [
            {"project": "default", "activity": act, "direction": side, "digest": one, "role": "", "policy": "rebuild"}
            for side, one in edges
        ]
    with aging.tetrads.database.write() as connection:
        tables = (artifacts, version_names, versions, activities, lineage_edges)
        for key, table in zip(("a", "n", "v", "act", "e"), tables, strict=True):
            connection.execute(sa.insert(table), rows[key])
        if connection.dialect.name == "postgresql":  # autovacuum does so within a minute; the tests' server has none
            connection.execute(sa.text("ANALYZE"))
    return digest(layers - 1, 0)


@contextmanager
def counted_queries(database: Database) -> Iterator[list[str]]:
    found: list[str] = []

    def note(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        found.append(statement)

    sa.event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield found
    finally:
        sa.event.remove(database.engine, "before_cursor_execute", note)


# -- what diffs know of evaluations


def test_a_diff_sets_signed_results_of_both_releases_against_each_other(aging: Aging, tmp_path: Path) -> None:
    old = release(aging, tmp_path)
    aging.rows("shots", SHOT, OTHER)
    new = aging.tetrads.releases.derivations.derive(
        "default", old, {"data.fewshot": "shots"}, actor=ALICE, expected_outcome="answers two questions"
    ).digest
    diff = aging.tetrads.releases.comparisons.diff("default", old, new)
    assert (diff.evaluated, diff.evaluations) == ("unknown", ())
    assert (diff.old.expected_outcome, diff.new.expected_outcome) == ("", "answers two questions")
    aging.gated.tested(old, cases=200, suite_digest="sha256:" + "1" * 64, accuracy=0.9, cost_usd=0.004)
    aging.gated.tested(old, suite="tone", kind=1.0)
    assert aging.tetrads.releases.comparisons.diff("default", old, new).evaluated == "old"
    aging.gated.tested(new, "FAILED", cases=1, suite_digest="sha256:" + "1" * 64, accuracy=0.1)
    aging.tetrads.clock.advance(1)
    aging.gated.tested(new, cases=240, suite_digest="sha256:" + "1" * 64, accuracy=0.93)
    diff = aging.tetrads.releases.comparisons.diff("default", old, new)
    smoke, tone = diff.evaluations
    assert diff.evaluated == "both"
    assert [(each.metric, each.old, each.new, each.delta) for each in smoke.metrics] == [
        ("accuracy", 0.9, 0.93, 0.03), ("cost_usd", 0.004, None, None),
    ]  # fmt: skip
    assert smoke.same_suite is True
    assert smoke.old is not None
    assert smoke.new is not None
    assert (smoke.old.cases, smoke.new.cases, smoke.new.result) == (200, 240, "PASSED")
    assert (smoke.new.signed_by, smoke.new.received_at) == ("ci", aging.tetrads.clock.now())
    assert tone.new is None
    measured = "accuracy 0.9 → 0.93 (+0.03); cost_usd 0.004 → unknown"
    assert summarise(diff)[-2:] == (
        f"evaluation smoke: PASSED, 200 cases → PASSED, 240 cases; {measured}",
        "evaluation tone: PASSED, 10 cases → unknown; kind 1 → unknown",
    )


def test_evidence_that_was_revoked_is_no_part_of_a_diff(aging: Aging, tmp_path: Path) -> None:
    digest = release(aging, tmp_path)
    said = aging.gated.tested(digest, accuracy=0.9)
    aging.gated.evidence.revoke("default", said.row.digest, actor=CAT, reason="the runner was broken")
    assert aging.tetrads.releases.comparisons.diff("default", digest, digest).evaluated == "unknown"
