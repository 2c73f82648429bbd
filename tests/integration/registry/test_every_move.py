"""Every service method that moves a ref asks its gate: without one it moves, with one that is not met it does not."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import tetrad
from support.apps import write_app
from support.bindings import document, make_bindings
from support.changes import P, Site, wire_changes
from support.evidence import ADA, BEA, CAT
from tetrad.bindings import Bindings
from tetrad.kernel import Forbidden
from tetrad.kit.db import Database
from tetrad.registry import GateRefused, RefEntry

NEVER = {"schema": "tetrad.gate/1", "approvals": {"minimum": 3}}
APP = "bot/production"
BINDING = "bindings/staging"
ALIAS = "models/local/smollm2-135m/best"
LABEL = "prompts/bot-system/live"


@dataclass
class World:
    """An app, a binding, an alias and a label, each of which has had two values; a change request that is approved."""

    site: Site
    bindings: Bindings
    folder: Path

    def log(self) -> list[RefEntry]:
        return self.site.gated.tetrads.registry.ref_log(P, limit=999)

    def at(self, ref: str) -> str:
        return self.site.gated.tetrads.registry.ref(P, ref).digest


@pytest.fixture
def world(database: Database, tmp_path: Path) -> World:
    site = wire_changes(database, tmp_path)
    tetrads, bindings = site.gated.tetrads, make_bindings(site.gated.tetrads.registry)
    site.move(sampling__temperature=0.7)
    first = bindings.put(P, "staging", document("us"), actor=ADA, create=True).bound.ref.digest
    bindings.put(P, "staging", document("eu"), actor=ADA, expected=first)
    tetrads.models.move_alias(P, "local/smollm2-135m", "best", "1.0.0", actor=ADA, create=True)
    tetrads.add_model(tmp_path, content=b"other weights")
    tetrads.prompts.move_label(P, "bot-system", "live", "1.0.0", actor=ADA, create=True)
    tetrads.prompts.commit(P, tetrads.prompts.read("bot-system", "# system\n\nBe brief.\n"), actor=ADA)
    site.open()
    site.changes.review(P, 1, "approve", actor=BEA, revision=1)
    return World(site, bindings, write_app(tmp_path / "app"))


def ensure(world: World) -> None:
    """Compose a folder that has changed since, as the one who moved the ref last."""
    with (world.folder / "bot.py").open("a") as code:
        code.write("print('more')\n")
    world.site.gated.tetrads.releases.ensure_app(P, world.folder, actor=CAT)


WAYS: dict[str, Callable[[World], object]] = {
    "Registry.move_ref": lambda world: world.site.gated.tetrads.registry.move_ref(
        P, APP, world.site.first, expected=None, actor=ADA
    ),
    "Registry.move_ref of a new ref": lambda world: world.site.gated.tetrads.registry.move_ref(
        P, "any/thing", world.site.first, expected=None, actor=ADA
    ),
    "Registry.delete_ref": lambda world: world.site.gated.tetrads.registry.delete_ref(
        P, APP, expected=world.at(APP), actor=ADA
    ),
    "Releases.move_ref": lambda world: world.site.gated.tetrads.releases.move_ref(
        P, "bot", "production", world.site.first, expected=world.at(APP), actor=ADA
    ),
    "Releases.move_ref of a new ref": lambda world: world.site.gated.tetrads.releases.move_ref(
        P, "bot", "canary", world.site.first, expected=None, create=True, actor=ADA
    ),
    "Releases.ensure_app": ensure,
    "Releases.ensure_app of a new ref": lambda world: world.site.gated.tetrads.releases.ensure_app(
        P, world.folder, actor=CAT, ref="canary"
    ),
    "Rollbacks.roll_back": lambda world: world.site.gated.tetrads.releases.rollbacks.roll_back(
        P, "bot", "production", actor=ADA
    ),
    "Rollbacks.roll_back to a digest by force": lambda world: world.site.gated.tetrads.releases.rollbacks.roll_back(
        P, "bot", "production", actor=ADA, to=world.site.changes.get(P, 1).candidate, force=True, reason="try"
    ),
    "Changes.merge": lambda world: world.site.changes.merge(
        P, 1, actor=ADA, expected_candidate=world.site.changes.get(P, 1).candidate
    ),
    "Bindings.put": lambda world: world.bindings.put(
        P, "staging", document("us", max_concurrency=2), actor=ADA, expected=world.at(BINDING)
    ),
    "Bindings.put of a new one": lambda world: world.bindings.put(P, "new", document("us"), actor=ADA, create=True),
    "Bindings.put of an app's own": lambda world: world.bindings.put(
        P, "staging", document("us"), app="bot", actor=ADA, create=True
    ),
    "Bindings.roll_back": lambda world: world.bindings.roll_back(P, "staging", actor=ADA),
    "Models.move_alias": lambda world: world.site.gated.tetrads.models.move_alias(
        P, "local/smollm2-135m", "best", "1.1.0", actor=ADA, expected=world.at(ALIAS)
    ),
    "Models.delete_alias": lambda world: world.site.gated.tetrads.models.delete_alias(
        P, "local/smollm2-135m", "best", actor=ADA, expected=world.at(ALIAS)
    ),
    "Prompts.move_label": lambda world: world.site.gated.tetrads.prompts.move_label(
        P, "bot-system", "live", "", actor=ADA, expected=world.at(LABEL)
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_no_way_moves_a_governed_ref_past_its_gate(world: World, way: str) -> None:
    world.site.gated.policies.set(P, "**", NEVER, actor=CAT)
    before = world.log()
    refs = {ref.name: ref.digest for ref in world.site.gated.tetrads.registry.refs(P, "", limit=999)}
    with pytest.raises(GateRefused):
        WAYS[way](world)
    assert world.log() == before
    assert {ref.name: ref.digest for ref in world.site.gated.tetrads.registry.refs(P, "", limit=999)} == refs
    world.site.gated.policies.remove(P, "**", actor=CAT, reason="so that the same is tried without")
    WAYS[way](world)  # else the refusal above would say nothing
    assert len(world.log()) == len(before) + 1


def test_glass_that_nobody_may_break_stays_whole(world: World) -> None:
    world.site.gated.policies.set(P, "**", NEVER, actor=CAT)
    before = world.log()
    candidate = world.site.changes.get(P, 1).candidate
    with pytest.raises(Forbidden):
        world.site.changes.merge(P, 1, actor=CAT, expected_candidate=candidate, break_glass="now")
    with pytest.raises(Forbidden):
        world.site.gated.policies.break_glass(P, APP, candidate, actor=CAT, reason="now")
    assert world.log() == before


def test_every_method_that_moves_a_ref_is_tried_here() -> None:
    tried = {way.split(" ")[0] for way in WAYS}
    found: set[str] = set()
    for path in sorted(Path(tetrad.__file__).parent.rglob("*.py")):
        if path.parent.name != "registry" and path.name in ("routes.py", "cli.py"):
            continue  # these call the services
        tree = ast.parse(path.read_text("utf-8"))
        for owner in [node for node in tree.body if isinstance(node, ast.ClassDef)]:
            for method in [node for node in owner.body if isinstance(node, ast.FunctionDef)]:
                calls = {
                    node.func.attr
                    for node in ast.walk(method)
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
                }
                if calls & {"move_ref", "delete_ref"}:
                    found.add(f"{owner.name}.{method.name}")
    through = {"Registry._transact"}  # by which the registry's own two go
    assert found - through == tried - {"Registry.move_ref", "Registry.delete_ref"}
    assert through <= found
