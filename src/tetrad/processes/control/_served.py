"""What gateways serve now, for the registry: it must not lose what they route to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tetrad.kernel import Digest
from tetrad.registry import Live
from tetrad.serving import RouteTable


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
