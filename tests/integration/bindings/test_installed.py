"""What bindings are checked against is what control knows: providers, engines, MCP servers, secrets of the project."""

from __future__ import annotations

import contextlib

from support.bindings import document
from support.identity import ADMIN, make_identity
from support.tetrads import ALICE, wire
from tetrad.bindings import Bindings
from tetrad.kernel import Conflict, FixedClock
from tetrad.kit.db import Database
from tetrad.processes.control._bindings import InstalledHere
from tetrad.serving import EngineSpec, ProviderDirectory, ProviderModel, ProviderSpec
from tetrad.serving._engine_directory import EngineDirectory
from tetrad.serving._store import SqlEngineStore, SqlProviderStore
from tetrad.tools import ToolServerSpec
from tetrad.tools._service import ToolServers
from tetrad.tools._store import SqlToolServerStore
from tetrad.tools.ports import Listing


def nothing_shown(_: ToolServerSpec) -> Listing:
    raise AssertionError("nobody is asked what it shows")


def test_names_resolve_in_their_own_project_only(database: Database) -> None:
    identity = make_identity(database)
    with contextlib.suppress(Conflict):  # the first project may be there from the start
        identity.projects.create(ADMIN, "default", "Default")
    identity.secrets.put(ADMIN, "default", "US_KEY", "value")
    providers = ProviderDirectory(SqlProviderStore(database, FixedClock()))
    providers.put(
        ProviderSpec(
            name="us", project="default", base_url="https://us.example/v1",
            models=(ProviderModel("gpt"), ProviderModel("vectors", ("embeddings",))),
        )
    )  # fmt: skip
    engines = EngineDirectory(SqlEngineStore(database), FixedClock())
    engines.want(EngineSpec(name="small", kind="llama_cpp", model="sha256:" + "1" * 64, served_name="local/small"))
    servers = ToolServers(
        SqlToolServerStore(database, FixedClock()),
        FixedClock(),
        lister=lambda _: nothing_shown,
        reveal=identity.secrets.reveal,
        commands="",
        audit=identity.audit.record,
    )
    url = "https://mcp.example/mcp"
    servers.put(ADMIN, ToolServerSpec(name="files", project="default", url=url))
    locked = {"Authorization": "Bearer {ABSENT_KEY}"}
    servers.put(ADMIN, ToolServerSpec(name="locked", project="default", url=url, headers=locked))
    installed = InstalledHere(providers, engines, servers, identity.secrets)
    assert installed.mcp_server_problem("default", "files") == ""
    assert "ABSENT_KEY" in (installed.mcp_server_problem("default", "locked") or "")
    assert installed.mcp_server_problem("other", "files") is None
    assert installed.provider_models("default", "us") == ["gpt", "vectors"]
    assert installed.provider_models("other", "us") is None
    assert installed.engine_models("small") == ["local/small"]
    assert installed.engine_models("large") is None
    assert installed.has_secret("default", "US_KEY")
    assert not installed.has_secret("other", "US_KEY")
    bindings = Bindings(wire(database).registry, installed)
    made = document("us", models={"chat": "gpt"}, secret="US_KEY")
    made["providers"]["local"] = {"engine": "small"}
    assert bindings.put("default", "production", made, actor=ALICE, create=True).warnings == ()
    binding = bindings.find("default", "production").binding
    assert len(bindings.check("other", binding)) == 2, "another project has neither the provider nor the secret"
