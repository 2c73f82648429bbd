"""MCP servers as people register, test and approve them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import msgspec

from tetrad.kernel import Clock, Principal
from tetrad.kit.egress import Egress, Reach, looks_inner
from tetrad.kit.upstream import parse_address
from tetrad.serving import ToolServerRoute
from tetrad.tools._model import (
    MAX_SERVERS,
    MAX_TOOLS_KEPT,
    RegisteredServer,
    StoredTool,
    ToolServerSpec,
    check_server,
    server_route,
)
from tetrad.tools.errors import BadToolServer, ToolMoved, ToolNotFound, ToolServerNotFound
from tetrad.tools.ports import Auditor, Listing, SeenTool, ToolLister, ToolServerStore

QUIET = timedelta(seconds=60)
"""So long a tool that is not as it was approved may change again without anybody being told anew."""
GATEWAY = Principal("process:gateway", "process", "gateway", frozenset({"internal"}))


class ToolServers:
    """MCP servers of all projects and what is approved of them; `on_change` hears of every change after it is stored.

    A definition is what a model is told of a tool. It may be called once somebody approved it, by its digest; a server
    that later shows another is noticed, by whoever lists its tools.

    `lister` is made with what resolves a server's secrets; `reveal` returns a secret of a project; `commands` is the
    setting that says which programs may run.
    """

    def __init__(
        self,
        store: ToolServerStore,
        clock: Clock,
        *,
        lister: Callable[[Callable[[ToolServerSpec], ToolServerRoute]], ToolLister],
        reveal: Callable[[str, str], str],
        commands: str,
        audit: Auditor,
        egress: Egress | None = None,
        on_change: Callable[[], Any] = lambda: None,
    ) -> None:
        self._store = store
        self._clock = clock
        self._reveal = reveal
        self._commands = commands
        self._egress = egress or Egress()
        self._lister = lister(lambda spec: self.route(RegisteredServer(spec, {}, ())))
        self._audit = audit
        self._on_change = on_change

    def put(self, actor: Principal, spec: ToolServerSpec) -> ToolServerSpec:
        """Register a server, or change it; what is approved of it stays so."""
        check_server(spec)
        if spec.url:
            spec = self._placed(actor, spec)
        self._store.put(spec, most=MAX_SERVERS)
        where = spec.url or " ".join(spec.command)
        self._audit(actor, "tool_server.put", spec.name, spec.project, where=where[:500], secrets=spec.secrets())
        self._on_change()
        return spec

    def _placed(self, actor: Principal, spec: ToolServerSpec) -> ToolServerSpec:
        """Return the spec with whether it is inside the network, or refuse its place; see `tetrad.kit.egress`.

        An administrator of the whole installation who names a private address means it. What such a one allowed stays
        so for others, as long as the server stays where it is, until somebody takes it back.
        """
        host = urlsplit(spec.url).hostname or ""
        known = [each for each in self._store.all(spec.project) if each.name == spec.name and each.url]
        stays = any(each.internal and urlsplit(each.url).netloc == urlsplit(spec.url).netloc for each in known)
        internal = stays and spec.internal is not False
        if actor.projects is None:
            internal = looks_inner(host) or (stays if spec.internal is None else spec.internal)
        elif spec.internal and not stays:
            raise BadToolServer(
                f"only administrators of the whole installation may say that {host[:253]!r} is internal",
                hint="ask one of them, or leave `internal` out",
                status=403,
            )
        parse_address(spec.url, Reach(self._egress, internal))
        return msgspec.structs.replace(spec, internal=internal)

    def get(self, project: str, name: str) -> ToolServerSpec:
        """Return a server of a project; raises `ToolServerNotFound`."""
        for spec in self._store.all(project):
            if spec.name == name:
                return spec
        raise _not_found(project, name)

    def all(self, project: str) -> list[ToolServerSpec]:
        """Return the servers of a project."""
        return self._store.all(project)

    def problem(self, spec: ToolServerSpec) -> str:
        """Tell why a server cannot be called; empty where it can, as far as that shows without asking it."""
        return self.route(RegisteredServer(spec, {}, ())).problem

    def route(self, server: RegisteredServer) -> ToolServerRoute:
        """Return a server as gateways call it, with its secrets."""
        return server_route(server, self._reveal, self._commands, self._egress.text)

    def drop(self, actor: Principal, project: str, name: str) -> None:
        """Remove a server with what is approved of it; calls in flight end as they would have."""
        if not self._store.drop(project, name):
            raise _not_found(project, name)
        self._audit(actor, "tool_server.delete", name, project)
        self._on_change()

    def tools(self, project: str, name: str) -> list[StoredTool]:
        """Return what is known of a server's tools, its instructions (without a name) first."""
        self.get(project, name)
        return self._store.tools(project, name).get((project, name), [])

    def states(self, project: str) -> dict[str, list[StoredTool]]:
        """Return what is known of the tools of a project's servers, by server."""
        return {server: tools for (_, server), tools in self._store.tools(project).items()}

    def registered(self) -> list[RegisteredServer]:
        """Return every server of every project as route tables need it."""
        tools = self._store.tools()
        return [
            RegisteredServer(
                spec,
                {each.name: each.pinned_digest for each in known if each.pinned_digest},
                tuple(each.name for each in known if each.state == "changed"),
            )
            for spec in self._store.all()
            for known in (tools.get((spec.project, spec.name), []),)
        ]

    def refresh(self, actor: Principal, project: str, name: str) -> Listing:
        """Ask a server for its tools now, and take in what it shows; what it shows no more is gone."""
        listing = self._lister(self.get(project, name))
        self._take_in(actor, project, name, listing.tools, whole=True)
        return listing

    def note(self, sightings: Iterable[tuple[str, str, SeenTool]]) -> None:
        """Take in what gateways saw, by project and server; of servers that are gone, nothing."""
        by_server: dict[tuple[str, str], list[SeenTool]] = {}
        for project, server, seen in sightings:
            by_server.setdefault((project, server), []).append(seen)
        for (project, server), shown in by_server.items():
            self._take_in(GATEWAY, project, server, shown, whole=False)

    def approve(self, actor: Principal, project: str, name: str, chosen: Mapping[str, str]) -> list[StoredTool]:
        """Approve definitions by tool and digest; raises `ToolMoved` where one is not what was reviewed: then none is.

        Approving the same again changes nothing.
        """
        now = self._clock.now()

        def pinned(known: list[StoredTool]) -> Sequence[StoredTool]:
            by_name = {tool.name: tool for tool in known}
            changed = []
            for tool, digest in chosen.items():
                found = by_name.get(tool)
                if found is None or not found.seen_digest:
                    raise ToolNotFound(
                        f"the MCP server {name!r} shows no {_told(tool)}", hint=f"`tetrad mcp tools {name}` lists them"
                    )
                if found.seen_digest != digest:
                    raise ToolMoved(
                        f"the {_told(tool)} of {name!r} is not what was reviewed",
                        hint=f"read it again with `tetrad mcp approve {name}`",
                    )
                if found.pinned_digest != digest:
                    changed.append(
                        msgspec.structs.replace(
                            found, pinned_digest=digest, pinned=found.seen, approved_at=now, approved_by=actor.id
                        )
                    )
            return changed

        return self._changed(actor, project, name, pinned, "tool.approve", tools=dict(chosen))

    def withdraw(self, actor: Principal, project: str, name: str, tools: Sequence[str]) -> list[StoredTool]:
        """Take approvals back; the tools cannot be called any more. Of tools that have none, nothing changes."""

        def unpinned(known: list[StoredTool]) -> Sequence[StoredTool]:
            return [
                msgspec.structs.replace(each, pinned_digest="", pinned="", approved_at=None, approved_by="")
                for each in known
                if each.name in tools and each.pinned_digest
            ]

        return self._changed(actor, project, name, unpinned, "tool.withdraw", tools=sorted(tools))

    def _changed(
        self,
        actor: Principal,
        project: str,
        name: str,
        change: Callable[[list[StoredTool]], Sequence[StoredTool]],
        action: str,
        **detail: Any,
    ) -> list[StoredTool]:
        found = self._store.change(project, name, change)
        if found is None:
            raise _not_found(project, name)
        self._audit(actor, action, name, project, **detail)
        self._on_change()
        return found

    def _take_in(self, actor: Principal, project: str, name: str, shown: Sequence[SeenTool], *, whole: bool) -> None:
        now = self._clock.now()
        moved: list[StoredTool] = []

        def seen(known: list[StoredTool]) -> Sequence[StoredTool]:
            by_name = {tool.name: tool for tool in known}
            room = MAX_TOOLS_KEPT - len(by_name)
            rows = []
            for each in shown:
                before = by_name.get(each.name)
                if before is None:
                    if room <= 0:
                        continue
                    room -= 1
                    before = StoredTool(name=each.name)
                elif not whole and not _is_news(before, each.digest, now):
                    continue
                row = msgspec.structs.replace(before, seen_digest=each.digest, seen=each.definition, seen_at=now)
                rows.append(row)
                if before.seen_digest != each.digest:
                    moved.append(row)
            if whole:
                there = {each.name for each in shown}
                gone = [tool for tool in known if tool.name not in there and tool.seen_digest]
                rows += [msgspec.structs.replace(tool, seen_digest="", seen="", seen_at=now) for tool in gone]
            return rows

        if self._store.change(project, name, seen) is None:
            return
        alarming = {each.name: each.seen_digest for each in moved if each.state == "changed"}
        if alarming:
            self._audit(actor, "tool.changed", name, project, tools=alarming)
        if moved:
            self._on_change()


def _is_news(known: StoredTool, digest: str, now: datetime) -> bool:
    """Tell whether what a gateway saw is worth a new route table: a server that flaps must not cause one each time.

    That an approved tool is not the approved one any more always is.
    """
    if known.seen_digest == digest:
        return False
    if known.state == "approved" or known.seen_at is None:
        return True
    return now - known.seen_at >= QUIET


def _told(tool: str) -> str:
    return f"tool {tool[:80]!r}" if tool else "instructions"


def _not_found(project: str, name: str) -> ToolServerNotFound:
    return ToolServerNotFound(
        f"the project {project!r} has no MCP server {name[:80]!r}", hint="`tetrad mcp list` shows them"
    )
