"""`tetrad --help` shows every command, in one section."""

from __future__ import annotations

from tetrad.processes.cli._app import COMMANDS, GROUPS, SECTIONS


def test_every_command_stands_in_exactly_one_section() -> None:
    shown = [name for names in SECTIONS.values() for name in names]
    assert sorted(shown) == sorted([*COMMANDS, *GROUPS])
