"""`tetrad rollback` as other commands are declared: for its help, and for whatever `_hurry` does not read itself."""

from __future__ import annotations

from typing import Annotated

import typer

from tetrad.kit.cli_output import InProject, Json
from tetrad.processes.cli._hurry import Wanted, roll_back


def rollback(
    ref: Annotated[str, typer.Argument(help="The ref, as APP/REF, such as assistant/production.")],
    to: Annotated[
        str, typer.Option("--to", help="An earlier release: its digest, its first digits, or APP/REF@3.")
    ] = "",
    reason: Annotated[str, typer.Option("--reason", "-m", help="Why, for those who read the history.")] = "",
    force: Annotated[
        bool, typer.Option("--force", help="Also to a release that the ref never had; needs --reason.")
    ] = False,
    project: InProject = "default",
    as_json: Json = False,
) -> None:
    """Move a ref back to the release that it had before: code, data, model, prompt and configuration at once.

    Rolling back twice goes back two releases. What the gateways serve changes a moment after the ref; callers whose
    code is not that of the release are listed, since Tetrad does not run them.
    """
    roll_back(Wanted(ref, to, reason, force, project, as_json))
