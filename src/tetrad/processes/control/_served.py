"""What gateways serve now, for the registry: it must not lose what they route to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tetrad.adapters.engines.bundled import CHAT_MODEL, EMBEDDING_MODEL
from tetrad.changes import Changes
from tetrad.datasets import Datasets
from tetrad.kernel import Digest
from tetrad.registry import Live
from tetrad.serving import RouteTable

DATASET = "dataset"


class HeldModels:
    """The registry's `BlobRoots` of the models that come with the product: they belong to no project."""

    def blobs(self) -> Sequence[Digest]:
        return (Digest(CHAT_MODEL.digest), Digest(EMBEDDING_MODEL.digest))


class PushedBatches:
    """The registry's `Roots` of datasets: batches that were pushed, from which versions can be made again."""

    name = "pushed batch"

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def roots(self, project: str) -> Sequence[Digest]:
        return self._datasets.roots(project)


class OpenChanges:
    """The registry's `Roots` of change requests: the releases that those which have not ended stand on."""

    name = "change request"

    def __init__(self, changes: Changes) -> None:
        self._changes = changes

    def roots(self, project: str) -> Sequence[Digest]:
        return list(self._changes.held(project))


class DatasetContents:
    """The registry's `Contents` of datasets: their rows are in the database."""

    kind = DATASET

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    def forget(self, project: str, digests: Sequence[Digest], transaction: Any) -> None:
        self._datasets.forget(project, digests, transaction)

    def sweep(self, project: str) -> int:
        return self._datasets.free_rows(project)


class ServedReleases:
    """The registry's `Deployments` by the route table that was published last."""

    def __init__(self, table: Callable[[], RouteTable | None]) -> None:
        self._table = table

    def live(self, project: str) -> Sequence[Live]:
        table = self._table()
        if table is None:
            return ()
        found = [
            Live(app.name, ref, Digest(digest))
            for app in table.apps.values()
            if app.project == project
            for ref, digest in sorted(app.refs.items())
        ]
        by_ref = {(each.app, each.digest) for each in found}
        found += [
            Live(release.app, "", Digest(release.digest))
            for release in table.releases.values()
            if release.project == project and (release.app, release.digest) not in by_ref
        ]
        return found
