"""What the help of every command has in common."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import typer

from tetrad.processes.cli._app import GROUPS, app

_LISTED_OTHERWISE = {"code", "import"}
"""Groups of things that are never many: a snapshot is found by its digest."""


def commands(name: str) -> dict[str, Any]:
    root: Any = typer.main.get_command(app)
    group = root.get_command(typer.Context(root), name)
    context = typer.Context(group)
    return {each: group.get_command(context, each) for each in group.list_commands(context)}


def every_command() -> Iterator[tuple[str, Any]]:
    for group in GROUPS:
        for name, command in commands(group).items():
            yield f"{group} {name}", command


@pytest.mark.parametrize("group", sorted(set(GROUPS) - _LISTED_OTHERWISE))
def test_every_group_lists_what_there_is_by_the_same_word(group: str) -> None:
    shown = [name for name, command in commands(group).items() if not command.hidden]
    assert "ls" not in shown
    assert "list" in shown


def test_batches_are_still_listed_by_the_word_that_was_there_first() -> None:
    assert commands("batch")["ls"].callback is not None


def test_completion_is_offered_for_the_whole_and_not_for_a_group() -> None:
    root: Any = typer.main.get_command(app)
    assert {"install_completion", "show_completion"} <= {each.name for each in root.params}
    for group in GROUPS:
        assert not {"install_completion", "show_completion"} & {
            each.name for each in root.get_command(typer.Context(root), group).params
        }, group


def test_every_command_and_every_option_says_what_it_is_for() -> None:
    silent = [name for name, command in every_command() if not (command.help or "").strip()]
    silent += [
        f"{name} {each.name}"
        for name, command in every_command()
        for each in command.params
        if not (getattr(each, "help", "") or "").strip()
    ]
    assert silent == []
