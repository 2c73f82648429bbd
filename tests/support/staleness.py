"""Services that say what is out of date, wired as the control process does it, and things to make out of date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.apps import write_app
from support.evidence import CAT, Gated, wire_gated
from support.tetrads import ALICE, Tetrads
from tetrad.kernel import FixedClock
from tetrad.kit.db import Database
from tetrad.prompts import parse_prompt_file
from tetrad.registry import Edge
from tetrad.releases import Stalenesses, StalenessLimits, known_rebuilders
from tetrad.releases._rebuild import Staleness
from tetrad.releases.ports import Rebuilder


@dataclass
class Aging:
    """An installation in which things get out of date."""

    gated: Gated
    stalenesses: Stalenesses

    @property
    def tetrads(self) -> Tetrads:
        return self.gated.tetrads

    def rows(self, name: str, *rows: dict[str, Any]) -> str:
        """Make the next version of a dataset and return its digest."""
        return self.tetrads.datasets.put("default", name, list(rows), actor=ALICE).digest

    def filtered(self, source: str, name: str, *, lang: str = "en") -> str:
        """Make a dataset of the rows of another that are in a language."""
        version = self.tetrads.datasets.version("default", source)
        step = {"op": "filter", "where": {"path": "/lang", "eq": lang}}
        return self.tetrads.datasets.derive("default", version, name, [step], actor=ALICE).digest

    def trained(self, folder: Path, name: str, data: str, content: bytes) -> str:
        """Register weights and say that they were trained on a dataset."""
        digest = self.tetrads.add_model(folder, name, content)
        edges = [Edge(self.digest_of("dataset", data), "in", "train", "rebuild"), Edge(digest, "out", "model")]
        self.tetrads.registry.record("default", "finetune", edges, actor=ALICE)
        return digest

    def prompt(self, name: str, text: str, *, type_: str = "text", head: str = "") -> str:
        """Commit a prompt and return its digest."""
        spec = parse_prompt_file(f"---\nname: {name}\ntype: {type_}\n{head}---\n{text}\n", f"{name}.md")
        return self.tetrads.prompts.commit("default", spec, actor=ALICE).kept.version.digest

    def digest_of(self, kind: str, name: str, version: str | None = None) -> str:
        return self.tetrads.registry.version("default", kind, name, version).digest

    def app(self, folder: Path, ref: str = "staging", **changes: str | None) -> str:
        """Compose the test app, point a ref to it, and return its digest."""
        composed = self.tetrads.releases.compose_folder("default", write_app(folder, **changes), actor=ALICE, git=False)
        self.tetrads.registry.move_ref("default", f"{composed.app}/{ref}", composed.digest, expected=None, actor=ALICE)
        return composed.digest

    def look(self, **what: str) -> Staleness:
        return self.stalenesses.look("default", **what)


def wire_aging(
    database: Database,
    *,
    rebuilders: Mapping[str, Rebuilder] | None = None,
    limits: StalenessLimits | None = None,
    clock: FixedClock | None = None,
) -> Aging:
    """Wire the services with their executors, and `rebuilders` besides."""
    gated = wire_gated(database, clock=clock)
    tetrads = gated.tetrads

    def revoked(project: str) -> dict[str, str]:
        return {digest: each.reason for digest, each in gated.revocations.standing(project).items()}

    known = known_rebuilders(tetrads.datasets, tetrads.prompts, tetrads.releases)
    stalenesses = Stalenesses(
        tetrads.releases, tetrads.registry, tetrads.clock, evidence=gated.evidence, revoked=revoked,
        rebuilders={**known, **(rebuilders or {})}, limits=limits,
    )  # fmt: skip
    return Aging(gated, stalenesses)


def revoke(aging: Aging, digest: str, reason: str = "poisoned") -> None:
    """Revoke an artifact."""
    aging.gated.revocations.revoke("default", digest, actor=CAT, reason=reason)
