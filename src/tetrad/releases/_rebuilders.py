"""The executors that exist: datasets that were made by steps, prompts that include others, releases."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tetrad.datasets import Datasets
from tetrad.kernel import Principal
from tetrad.prompts import Prompts
from tetrad.releases.errors import NotRebuilt
from tetrad.releases.ports import Current, Rebuilder, RebuildOrder, Remade

if TYPE_CHECKING:
    from tetrad.releases._service import Releases

SECTIONS: Mapping[str, str] = {"dataset": "data", "model": "model", "prompt": "prompt"}
DATASET_WORK = ("dataset.filter", "dataset.split", "dataset.dedupe", "dataset.map", "dataset.curate")


class DatasetRebuilder:
    """Does the recorded steps of a dataset again upon the newest version of what it was made of."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def rebuild(self, order: RebuildOrder, *, actor: Principal) -> Remade:
        sources = [each for each in order.inputs if each.kind == "dataset"]
        if len(sources) != 1:
            raise NotRebuilt(f"{order.name!r} was made of {len(sources)} datasets", hint="make it by hand")
        source = self._datasets.version(order.project, sources[0].name, sources[0].version)
        made, new = self._datasets.derive_again(
            order.project, order.name, source, actor=actor, reason=order.reason, expected_outcome=order.expected_outcome
        )
        return Remade(made.digest, made.semver, new)


class PromptRebuilder:
    """Commits a prompt or chain again, so that what it includes is resolved to today's versions."""

    def __init__(self, prompts: Prompts) -> None:
        self._prompts = prompts

    def rebuild(self, order: RebuildOrder, *, actor: Principal) -> Remade:
        newest = self._prompts.find(order.project, order.name)
        done = self._prompts.commit(
            order.project, newest.spec, actor=actor, reason=order.reason, expected_outcome=order.expected_outcome,
            expected=newest.version.digest,
        )  # fmt: skip
        return Remade(done.kept.version.digest, done.kept.version.semver, done.new)


class ReleaseRebuilder:
    """Derives the next release of an app from the newest of each part. It composes; it moves no ref."""

    def __init__(self, releases: Releases) -> None:
        self._releases = releases

    def rebuild(self, order: RebuildOrder, *, actor: Principal) -> Remade:
        manifest = self._releases.release(order.project, order.digest).manifest
        made = self._releases.derivations.derive(
            order.project, order.digest, patches_of(manifest, order.inputs), actor=actor, reason=order.reason,
            expected_outcome=order.expected_outcome,
        )  # fmt: skip
        return Remade(made.digest, made.version.semver, made.new)


def known_rebuilders(datasets: Datasets, prompts: Prompts, releases: Releases) -> dict[str, Rebuilder]:
    """Return the executors that need nothing but what is here: no training, no evaluation."""
    by_steps = DatasetRebuilder(datasets)
    return {
        **dict.fromkeys(DATASET_WORK, by_steps),
        "prompt.compose": PromptRebuilder(prompts),
        "release.derive": ReleaseRebuilder(releases),
    }


def patches_of(manifest: Mapping[str, Any], inputs: Iterable[Current]) -> dict[str, str]:
    """Return what `derive` is to set so that each part of a manifest is what its name means now."""
    patches: dict[str, str] = {}
    for each in inputs:
        section = SECTIONS.get(each.kind, "")
        part = next((part for part in manifest.get(section, ()) if _is(part, each)), None)
        if part is None or not each.moved:
            continue
        # A number stands in a manifest only where the author had asked for one by number.
        pinned = each.digest if section == "prompt" and "semver" not in part else each.version
        patches[f"{section}.{each.role}/{each.name}"] = f"{each.name}@{pinned}"
    return patches


def _is(part: Mapping[str, Any], each: Current) -> bool:
    return (part["role"], part["name"], part["digest"]) == (each.role, each.name, each.was)
