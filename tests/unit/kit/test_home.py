"""Where a home lies when nobody says it, and what to say where there is no such place."""

from __future__ import annotations

import os
import pwd
from pathlib import Path

import pytest

from tetrad.kit.home import CACHE, HOME, SETTINGS, Home, HomeUnusable, cache_folder, user_folder
from tetrad.kit.settings import Settings, load_settings


def defaults() -> Settings:
    return load_settings([SETTINGS], environ={})


def test_it_lies_in_the_folder_that_home_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/srv/someone")
    assert Home.of(defaults()).root == Path("/srv/someone/.tetrad")
    assert cache_folder(defaults()) == Path("/srv/someone/.cache/tetrad")


@pytest.mark.parametrize("named", [None, ""])
def test_without_the_variable_the_system_is_asked(monkeypatch: pytest.MonkeyPatch, named: str | None) -> None:
    monkeypatch.delenv("HOME", raising=False)
    if named is not None:
        monkeypatch.setenv("HOME", named)
    assert user_folder(HOME) == Path(pwd.getpwuid(os.getuid()).pw_dir)


def test_an_account_without_a_folder_is_told_which_settings_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> None:
        raise KeyError(number)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    with pytest.raises(HomeUnusable, match="HOME is not set") as refused:
        Home.of(defaults())
    assert HOME.variable in refused.value.hint
    with pytest.raises(HomeUnusable) as refused:
        cache_folder(defaults())
    assert CACHE.variable in refused.value.hint


def test_a_home_variable_that_is_no_whole_path_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "here")
    with pytest.raises(HomeUnusable, match="HOME is 'here'"):
        user_folder(HOME)
