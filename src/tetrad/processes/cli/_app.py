"""Put the commands of all slices together and turn errors into messages."""

from __future__ import annotations

import errno
import importlib
from dataclasses import dataclass
from typing import Any

import typer
from typer.core import TyperGroup

from tetrad import __version__
from tetrad.kernel import TetradError

SHOWN_DETAILS = 20
_REMEDY = "`tetrad settings` shows which folders and addresses are in use"
_REMEDIES = {
    errno.ENOSPC: "free some disk, or move TETRAD_HOME or TETRAD_CACHE to another one",
    errno.EDQUOT: "your quota is used up: free some disk, or move TETRAD_HOME or TETRAD_CACHE to another one",
    errno.EACCES: "run this as the user that the file belongs to, or set TETRAD_HOME to a folder of yours",
    errno.EPERM: "run this as the user that the file belongs to, or set TETRAD_HOME to a folder of yours",
    errno.EROFS: "set TETRAD_HOME and TETRAD_CACHE to folders that can be written",
    errno.EMFILE: "raise the limit of open files, `ulimit -n`",
    errno.ENOMEM: "free some memory, and try again",
}
_COMPLETION = ("install_completion", "show_completion")


@dataclass(frozen=True, slots=True)
class _Group:
    """A command group that is imported only when it is used or its help is shown."""

    module: str
    attribute: str
    help: str


@dataclass(frozen=True, slots=True)
class _Command:
    """A command that is imported only when it is used or its help is shown."""

    module: str
    attribute: str


GROUPS: dict[str, _Group] = {
    "app": _Group("tetrad.releases.cli", "apps", "Apps: what each serves and how it got there."),
    "release": _Group("tetrad.releases.cli", "releases", "Releases: compose, derive, diff, list, show."),
    "ref": _Group("tetrad.releases.cli", "refs", "Refs: list, move, log."),
    "binding": _Group("tetrad.bindings.cli", "bindings", "Bindings: what a release's names mean in an environment."),
    "change": _Group("tetrad.changes.cli", "changes", "Change requests: open, push, review, rebase, merge."),
    "gate": _Group("tetrad.registry.cli", "gates", "Gates: which evidence a ref needs before it moves."),
    "evidence": _Group(
        "tetrad.registry.cli", "evidence", "Evidence: signed test results and approvals, and the keys that sign."
    ),
    "code": _Group("tetrad.code.cli", "code", "Code: keep a folder as a snapshot, show it."),
    "dataset": _Group("tetrad.datasets.cli", "datasets", "Datasets: import, diff, split, derive, export."),
    "model": _Group("tetrad.models.cli", "models", "Models: import, derive, alias, list, show."),
    "run": _Group("tetrad.registry.cli", "runs", "Runs: log trainings and evaluations, compare them."),
    "prompt": _Group("tetrad.prompts.cli", "prompts", "Prompts: versions, render, diff, import, export, sync."),
    "trace": _Group("tetrad.traces.cli", "traces", "Traces: list, show, follow."),
    "engine": _Group("tetrad.adapters.engines.cli", "engines", "Engines: list, show, pull the bundled models."),
    "provider": _Group("tetrad.serving.cli", "providers", "Providers: remote model APIs to send requests to."),
    "route": _Group("tetrad.serving.route_cli", "routes", "Routes: one name for several models, and its fallbacks."),
    "cache": _Group("tetrad.serving.cli", "caches", "Cached answers: how they are kept, what they save."),
    "batch": _Group("tetrad.batches.cli", "batches", "Batches: list, show, cancel."),
    "response": _Group("tetrad.responses.cli", "responses", "Responses in the background: list, show, cancel."),
    "mcp": _Group("tetrad.tools.cli", "servers", "MCP servers: register, test, approve their tools."),
    "import": _Group("tetrad.adapters.litellm.cli", "imports", "Take over the configuration of another gateway."),
    "job": _Group("tetrad.kit.jobs.cli", "jobs", "Jobs: long work that outlives a restart; list, run, cancel."),
    "limit": _Group("tetrad.limits.cli", "limits", "Limits: requests, tokens and calls at once."),
    "budget": _Group("tetrad.limits.cli", "budgets", "Budgets: what may be spent, and what was."),
    "key": _Group("tetrad.identity.cli", "keys", "API keys: create, rotate, revoke."),
    "team": _Group("tetrad.identity.cli", "teams", "Teams: people and keys that belong together."),
    "project": _Group("tetrad.identity.cli", "projects", "Projects: list, create."),
    "secret": _Group("tetrad.identity.cli", "secrets", "Secrets of providers: list, set, delete; encrypted at rest."),
    "audit": _Group("tetrad.identity.cli", "audit", "The audit log: list, verify, export its head."),
}

COMMANDS: dict[str, _Command] = {
    "up": _Command("tetrad.processes.cli._commands", "up"),
    "down": _Command("tetrad.processes.cli._commands", "down"),
    "status": _Command("tetrad.processes.cli._commands", "status"),
    "logs": _Command("tetrad.processes.cli._commands", "logs"),
    "env": _Command("tetrad.processes.cli._commands", "env"),
    "login": _Command("tetrad.processes.cli._commands", "login"),
    "settings": _Command("tetrad.processes.cli._commands", "settings"),
    "rollback": _Command("tetrad.processes.cli._rollback", "rollback"),
    "revoke": _Command("tetrad.processes.cli._keeping", "revoke"),
    "erase": _Command("tetrad.processes.cli._keeping", "erase"),
    "gc": _Command("tetrad.processes.cli._keeping", "gc"),
    "stale": _Command("tetrad.processes.cli._stale", "stale"),
    "reproduce": _Command("tetrad.releases._reproduce_cli", "reproduce"),
}


SECTIONS: dict[str, tuple[str, ...]] = {
    "This installation": ("up", "down", "status", "logs", "env", "login", "settings"),
    "The four parts": ("prompt", "dataset", "model", "code"),
    "Releases and where they serve": ("app", "release", "ref", "binding", "rollback", "stale", "reproduce"),
    "Review and proof": ("change", "gate", "evidence", "audit"),
    "Models, tools and the gateway": ("provider", "engine", "route", "cache", "mcp", "import"),
    "What ran": ("trace", "batch", "response", "run", "job"),
    "Access and keeping": ("project", "team", "key", "limit", "budget", "secret", "revoke", "erase", "gc"),
}
"""The commands as `tetrad --help` shows them: what a newcomer needs first comes first."""


class _LazyGroup(TyperGroup):
    """Lists all commands, imports one: `tetrad rollback` must not pay for what `tetrad up` needs."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the caller passes it
        return [name for names in SECTIONS.values() for name in names]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        found = self._imported(ctx, cmd_name)
        if found is not None:
            section = next((title for title, names in SECTIONS.items() if cmd_name in names), None)
            found.rich_help_panel = section
        return found

    def _imported(self, ctx: Any, cmd_name: str) -> Any:
        single = COMMANDS.get(cmd_name)
        if single is not None:
            alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode="markdown")
            alone.command(cmd_name)(getattr(importlib.import_module(single.module), single.attribute))
            return typer.main.get_command(alone)
        group = GROUPS.get(cmd_name)
        if group is None:
            return super().get_command(ctx, cmd_name)
        command = typer.main.get_command(getattr(importlib.import_module(group.module), group.attribute))
        command.name, command.help, command.short_help = cmd_name, group.help, group.help
        # Completion is installed for `tetrad` as a whole; a group that offered it would install it for itself.
        command.params = [each for each in command.params if each.name not in _COMPLETION]
        return command


def _version(value: bool) -> None:
    if value:
        typer.echo(f"tetrad {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=_LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
    rich_markup_mode="markdown",
    help="Release engineering for LLM applications: code, data, model and prompt as one release.",
)


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and end."
    ),
) -> None:
    del version


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; errors are told on stderr, never as a traceback."""
    try:
        app(arguments, prog_name="tetrad")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    except TetradError as error:
        show_error(error)
        return 2 if error.status == 400 else 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 0
    except OSError as error:
        show_error(refused_by_the_system(error))
        return 1
    return 0


def refused_by_the_system(error: OSError) -> TetradError:
    """Tell what the system refused, and to which file, with what usually helps."""
    where = f"{str(error.filename)!r}: " if error.filename is not None else ""
    return TetradError(
        f"{where}{error.strerror or error}", code="system_refused", hint=_REMEDIES.get(error.errno or 0, _REMEDY)
    )


def show_error(error: TetradError) -> None:
    """Tell a person what happened and what to do next."""
    from rich.console import Console

    console = Console(stderr=True, soft_wrap=True, highlight=False)
    console.print("[bold red]error:[/] ", end="")
    console.print(error.message, markup=False)
    places = [(" ".join(place), said) for place, said in error.details] or list(getattr(error, "errors", ()))
    for place, said in places[:SHOWN_DETAILS] if len(places) > 1 else ():
        console.print(f"  {place}: {said}", markup=False)
    if error.hint:
        console.print("[bold]hint:[/]  ", end="")
        console.print(error.hint, markup=False)
