"""Change requests on a real database, wired as the control process does it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from support.apps import write_app
from support.evidence import ADA, CAT, Gated, wire_gated
from tetrad.changes import ChangeLimits, ChangeRequest, Changes, PartPatch
from tetrad.changes._store import SqlChangeStore
from tetrad.kernel import Digest, Principal
from tetrad.kit.db import Database
from tetrad.prompts import Prompts

P = "default"
CALMER = "---\nname: bot-system\nvariables:\n  tone: {default: kind}\n---\n# system\n\nBe {{tone}} and calm.\n"
TWO_PEOPLE = {"schema": "tetrad.gate/1", "approvals": {"minimum": 2}, "suites": [{"suite": "smoke"}]}
ONE_PERSON = {"schema": "tetrad.gate/1", "approvals": {"minimum": 1}}


@dataclass
class Site:
    """An app `bot` whose ref `production` has a release, and change requests for it."""

    gated: Gated
    changes: Changes
    store: SqlChangeStore
    first: Digest
    told: list[str] = field(default_factory=list)

    def open(
        self, *patch: PartPatch, actor: Principal = ADA, draft: bool = False, title: str = "Be calmer", key: str = ""
    ) -> ChangeRequest:
        """Open a change request for production; without a patch it calms the prompt."""
        parts = patch or (PartPatch("prompt.system", content=CALMER),)
        return self.changes.open(P, "bot", "production", title=title, patch=parts, actor=actor, draft=draft, key=key)

    def production(self) -> Digest:
        """Return where production points."""
        return self.gated.tetrads.releases.ref(P, "bot", "production").digest

    def move(self, **patches: object) -> Digest:
        """Move production to a release with other parts (`sampling__temperature`), past all change requests."""
        releases = self.gated.tetrads.releases
        now = self.production()
        wanted = {name.replace("__", "."): value for name, value in patches.items()}
        made = releases.derivations.derive(P, now, wanted, actor=CAT)
        return releases.move_ref(P, "bot", "production", made.digest, expected=now, actor=CAT).digest


def wire_changes(database: Database, folder: Path, *, limits: ChangeLimits | None = None) -> Site:
    """Wire the services; the app is composed and its ref made."""
    gated = wire_gated(database)
    tetrads = gated.tetrads
    tetrads.add_model(folder)
    made = tetrads.releases.compose_folder(P, write_app(folder / "app"), actor=CAT)
    tetrads.releases.move_ref(P, "bot", "production", made.digest, expected=None, create=True, actor=CAT)
    return site_of(gated, made.digest, limits=limits)


def site_of(gated: Gated, first: Digest, *, limits: ChangeLimits | None = None) -> Site:
    """Wire change requests over services and an app that are there."""
    tetrads = gated.tetrads
    store = SqlChangeStore(tetrads.database, tetrads.registry.hold)
    changes = Changes(
        store, tetrads.releases, Prompts(tetrads.registry), tetrads.datasets, tetrads.registry, gated.evidence,
        gated.policies, tetrads.clock, audit=gated.audited, limits=limits,
    )  # fmt: skip
    site = Site(gated, changes, store, first)
    changes.on_change(lambda: site.told.append("changed"))
    return site
