"""The API of MCP servers and their tools, and the door through which gateways tell what they saw."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from tetrad.kernel import InvalidInput, TetradError, digest_json
from tetrad.kit.http import CurrentPrincipal, Page, PageParams, Search, page_of_all, requires
from tetrad.serving import AccessSubject, OnChange, RestState, RestSummary, Surface
from tetrad.tools._model import (
    MAX_ACCESS,
    MAX_CHARS,
    MAX_COMMAND,
    MAX_PATTERNS,
    StoredTool,
    ToolServerSpec,
    ToolState,
    definition_diff,
    matches,
    plain,
)
from tetrad.tools._service import ToolServers
from tetrad.tools.ports import SeenTool

Rests = Callable[[str], Mapping[str, Sequence[RestSummary]]]
"""Tells which servers of a project rest at gateways, by name."""
ServerName = Annotated[str, Path(max_length=63)]
_Digest = Annotated[str, Field(pattern="^sha256:[0-9a-f]{64}$")]
_ToolName = Annotated[str, Field(max_length=128)]
_Patterns = Annotated[list[_ToolName], Field(max_length=MAX_PATTERNS)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ToolAccessBody(_Body):
    """Which tools a key, by its id, or a team may use."""

    subject: AccessSubject
    name: str = Field(max_length=100)
    tools: _Patterns = ["*"]


class ToolServerBody(_Body):
    """How to reach an MCP server, and who may call what of it; see `ToolServerSpec`."""

    url: str = Field(default="", max_length=MAX_CHARS, description="The whole address of its endpoint")
    command: list[Annotated[str, Field(max_length=MAX_CHARS)]] = Field(
        default=[], max_length=MAX_COMMAND, description="A program that speaks MCP over stdio, in place of a url"
    )
    headers: dict[str, str] = Field(
        default={}, max_length=64, description="Sent to it; {NAME} stands for a secret of the project"
    )
    env: dict[str, str] = Field(
        default={}, max_length=64, description="The program's variables; {NAME} stands for a secret of the project"
    )
    allow: _Patterns = Field(default=["*"], description="Patterns of the tools that anybody may use")
    access: list[ToolAccessBody] = Field(
        default=[], max_length=MAX_ACCESS, description="Only these keys and teams may use it; empty: all of the project"
    )
    on_change: OnChange = Field(
        default="refuse", description="What happens to a tool that is not as it was approved, or not approved at all"
    )
    serves: list[Surface] = Field(default=["tools"], max_length=3, description="What of MCP is passed on")
    connect_timeout_s: float = 5.0
    first_byte_timeout_s: float = Field(default=60.0, description="Seconds for an answer to begin")
    idle_timeout_s: float = Field(default=60.0, description="Longest silence within an answer")
    total_timeout_s: float = 600.0
    max_connections: int = Field(default=64, description="Of one gateway worker")
    internal: bool | None = Field(
        default=None,
        description="Whether it may be at a private address, which administrators of the whole installation decide; "
        "left out: as it was, where it was",
    )


class ToolServerRestView(BaseModel):
    """What a server did not answer where all servers are asked at once, so that gateways leave it out for a while."""

    method: str = Field(description="What it did not answer, such as tools/list")
    state: RestState = Field(
        description="`resting`: it is left out at once; `due`: the next request asks it again; `probing`: one asks it "
        "now. Of several workers, that which will know first"
    )
    workers: int = Field(description="Gateway workers that leave it out, of those that told within 30 s")
    failures: int = Field(description="How often it did not answer, one after the other, at the worker where most")
    since: datetime
    next_probe_at: datetime | None = Field(description="When one request asks it again; null where that is now")
    code: str
    reason: str

    @classmethod
    def of(cls, rest: RestSummary) -> ToolServerRestView:
        """Render what is known."""
        return cls(**{name: getattr(rest, name) for name in rest.__struct_fields__})


class ToolServerView(ToolServerBody):
    """An MCP server of a project, and how many of its tools stand how."""

    name: str
    tools: dict[ToolState, int]
    problem: str = Field(description="Why it cannot be called; empty where it can")
    rests: list[ToolServerRestView] = Field(description="What it did not answer lately; empty where it answers")

    @classmethod
    def of(
        cls, spec: ToolServerSpec, tools: Sequence[StoredTool], problem: str, rests: Sequence[RestSummary]
    ) -> ToolServerView:
        """Render a server; it holds the names of secrets, never one."""
        known = plain(spec)
        known.pop("project")
        return cls(
            **known,
            tools=dict(Counter(tool.state for tool in tools if tool.name)),
            problem=problem,
            rests=[ToolServerRestView.of(rest) for rest in rests],
        )


class ToolView(BaseModel):
    """A tool of a server. `definition` is what it says of itself now, `approved` what was approved."""

    name: str = Field(description="Empty for the server's instructions to models")
    state: ToolState
    allowed: bool = Field(description="Whether the server's list lets it through")
    digest: str = Field(description="Of the definition that was last seen")
    approved_digest: str
    approved_at: datetime | None
    approved_by: str
    seen_at: datetime | None
    definition: dict[str, Any] | None
    approved: dict[str, Any] | None
    diff: list[str] = Field(description="What changed since the approval, line by line")

    @classmethod
    def of(cls, tool: StoredTool, spec: ToolServerSpec) -> ToolView:
        """Render a tool."""
        return cls(
            name=tool.name,
            state=tool.state,
            allowed=not tool.name or matches(tool.name, spec.allow),
            digest=tool.seen_digest,
            approved_digest=tool.pinned_digest,
            approved_at=tool.approved_at,
            approved_by=tool.approved_by,
            seen_at=tool.seen_at,
            definition=json.loads(tool.seen) if tool.seen else None,
            approved=json.loads(tool.pinned) if tool.pinned else None,
            diff=definition_diff(tool) if tool.state in ("new", "changed") else [],
        )


class ListingView(BaseModel):
    """What a server said when it was asked, and how its tools stand now."""

    server: str
    protocol: str = Field(description="The revision of MCP that was spoken")
    took_ms: float
    odd: list[str] = Field(description="Tools that cannot be approved, and why")
    tools: list[ToolView]


class ReviewedTool(_Body):
    """A definition that was read: the tool's name and the digest of what was read."""

    name: _ToolName
    digest: _Digest


class ToolApprovalBody(_Body):
    """What to approve."""

    tools: list[ReviewedTool] = Field(min_length=1, max_length=1000)


class ToolWithdrawalBody(_Body):
    """Whose approval to take back."""

    tools: list[_ToolName] = Field(min_length=1, max_length=1000)


class SightingBody(_Body):
    """A definition that a gateway saw."""

    project: str = Field(max_length=63)
    server: str = Field(max_length=63)
    tool: _ToolName
    digest: _Digest
    definition: dict[str, Any]


def router(servers: ToolServers, rests: Rests) -> APIRouter:
    """Return the routes; they bring their prefixes with them."""
    routes = APIRouter(tags=["tools"])
    base = "/api/v1/projects/{project}/mcp-servers"

    def view(project: str, spec: ToolServerSpec) -> ToolServerView:
        known = rests(project).get(spec.name, ())
        return ToolServerView.of(spec, servers.tools(project, spec.name), servers.problem(spec), known)

    @routes.get(base, dependencies=[requires("control")], operation_id="list_tool_servers")
    def list_tool_servers(
        project: str,
        page: PageParams,
        q: Search = "",
        sort: Annotated[
            str, Query(max_length=16, description="`name`, `url`, `tools` or `rests` (how many), `-` for the reverse")
        ] = "name",
    ) -> Page[ToolServerView]:
        """List the MCP servers of a project; `q` looks in their names and addresses."""
        states, resting = servers.states(project), rests(project)
        found = (
            ToolServerView.of(spec, states.get(spec.name, []), servers.problem(spec), resting.get(spec.name, ()))
            for spec in servers.all(project)
        )
        return page_of_all(
            f"mcp servers {project}", page, found,
            q=q, texts=lambda each: (each.name, each.url), sort=sort, name=lambda each: each.name,
            sorts={
                "name": lambda each: each.name, "url": lambda each: each.url,
                "tools": lambda each: sum(each.tools.values()), "rests": lambda each: len(each.rests),
            },
        )  # fmt: skip

    @routes.get(f"{base}/{{name}}", dependencies=[requires("control")], operation_id="get_tool_server")
    def get_tool_server(project: str, name: ServerName) -> ToolServerView:
        """Return one MCP server."""
        return view(project, servers.get(project, name))

    @routes.put(f"{base}/{{name}}", dependencies=[requires("admin")], operation_id="put_tool_server")
    def put_tool_server(
        project: str, name: ServerName, body: ToolServerBody, actor: CurrentPrincipal
    ) -> ToolServerView:
        """Register an MCP server, or change it; gateways know within a second. What is approved of it stays so."""
        try:
            spec = msgspec.convert({**body.model_dump(), "name": name, "project": project}, ToolServerSpec)
        except msgspec.ValidationError as error:
            raise InvalidInput(f"{error}", hint="see the OpenAPI description") from None
        return view(project, servers.put(actor, spec))

    @routes.delete(
        f"{base}/{{name}}", dependencies=[requires("admin")], operation_id="delete_tool_server", status_code=204
    )
    def delete_tool_server(project: str, name: ServerName, actor: CurrentPrincipal) -> None:
        """Remove an MCP server with what is approved of it; calls in flight end as they would have."""
        servers.drop(actor, project, name)

    @routes.get(f"{base}/{{name}}/tools", dependencies=[requires("control")], operation_id="list_tools")
    def list_tools(project: str, name: ServerName) -> Page[ToolView]:
        """Return what is known of a server's tools, and what changed since they were approved."""
        spec = servers.get(project, name)
        return Page(items=[ToolView.of(tool, spec) for tool in servers.tools(project, name)])

    @routes.post(f"{base}/{{name}}/refresh", dependencies=[requires("admin")], operation_id="refresh_tools")
    def refresh_tools(project: str, name: ServerName, actor: CurrentPrincipal) -> ListingView:
        """Ask a server for its tools now; nothing is approved by it."""
        listing = servers.refresh(actor, project, name)
        spec = servers.get(project, name)
        return ListingView(
            server=listing.title,
            protocol=listing.protocol,
            took_ms=round(listing.took_ms, 1),
            odd=list(listing.odd),
            tools=[ToolView.of(tool, spec) for tool in servers.tools(project, name)],
        )

    @routes.post(f"{base}/{{name}}/approve", dependencies=[requires("admin")], operation_id="approve_tools")
    def approve_tools(
        project: str, name: ServerName, body: ToolApprovalBody, actor: CurrentPrincipal
    ) -> Page[ToolView]:
        """Approve definitions as they were read, all or none; refused where one has changed since."""
        found = servers.approve(actor, project, name, {each.name: each.digest for each in body.tools})
        spec = servers.get(project, name)
        return Page(items=[ToolView.of(tool, spec) for tool in found])

    @routes.post(f"{base}/{{name}}/withdraw", dependencies=[requires("admin")], operation_id="withdraw_tools")
    def withdraw_tools(
        project: str, name: ServerName, body: ToolWithdrawalBody, actor: CurrentPrincipal
    ) -> Page[ToolView]:
        """Take approvals back; the tools cannot be called any more."""
        found = servers.withdraw(actor, project, name, body.tools)
        spec = servers.get(project, name)
        return Page(items=[ToolView.of(tool, spec) for tool in found])

    @routes.post(
        "/internal/v1/tool-sightings",
        dependencies=[requires("internal")],
        operation_id="report_tool_sightings",
        status_code=204,
    )
    def report_tool_sightings(body: Annotated[list[SightingBody], Field(max_length=100)]) -> None:
        """Take in definitions that gateways saw and that are not the approved ones."""
        servers.note([(each.project, each.server, found) for each in body if (found := _seen(each)) is not None])

    return routes


def _seen(body: SightingBody) -> SeenTool | None:
    """Return what was seen, by a digest of our own; None for what has none, which no gateway sends."""
    try:
        digest = digest_json(body.definition)
    except TetradError:
        return None
    return SeenTool(body.tool, digest if body.tool else body.digest, json.dumps(body.definition, ensure_ascii=False))
