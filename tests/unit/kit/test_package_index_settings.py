"""Indexes, versions and platforms are read as pip and uv read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tetrad.kit.package_index import IndexSettings, allows, platform_tags
from tetrad.kit.package_index._settings import PYPI, shown
from tetrad.kit.package_index._versions import version_key


def settings(home: Path, **variables: str) -> IndexSettings:
    hidden = {"PIP_CONFIG_FILE": "/dev/null"} if "PIP_CONFIG_FILE" not in variables else {}
    return IndexSettings.from_machine({"HOME": str(home), **hidden, **variables})


def test_without_any_settings_the_public_index_is_asked(tmp_path: Path) -> None:
    assert settings(tmp_path).indexes == (PYPI,)


def test_variables_of_pip_are_honoured(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        PIP_INDEX_URL="https://mirror/simple/",
        PIP_EXTRA_INDEX_URL="file:///srv/a https://b/simple",
        PIP_FIND_LINKS="/wheels https://c/list.html",
        PIP_CERT="/ca.pem",
        PIP_PROXY="http://proxy:3128",
        PIP_TRUSTED_HOST="b",
        PIP_DEFAULT_TIMEOUT="7",
        PIP_TIMEOUT="9",
    )
    assert found.indexes == ("https://mirror/simple", "file:///srv/a", "https://b/simple")
    assert found.find_links == ("/wheels", "https://c/list.html")
    assert (found.cert, found.proxy, found.trusted_hosts) == ("/ca.pem", "http://proxy:3128", {"b"})
    assert found.timeout_s == 9


def test_variables_of_uv_come_before_those_of_pip(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        UV_DEFAULT_INDEX="https://uv/simple",
        UV_INDEX="corp=https://named/simple https://plain/simple",
        PIP_INDEX_URL="https://pip/simple",
    )
    assert found.indexes == ("https://uv/simple", "https://named/simple", "https://plain/simple")


def test_no_index_leaves_only_the_folders(tmp_path: Path) -> None:
    found = settings(tmp_path, PIP_NO_INDEX="1", PIP_FIND_LINKS="/wheels", PIP_INDEX_URL="https://x/simple")
    assert (found.indexes, found.find_links) == ((), ("/wheels",))


def test_configuration_files_are_merged_and_variables_win(tmp_path: Path) -> None:
    (tmp_path / "named.conf").write_text(
        "[global]\nindex-url = https://global/simple\nextra_index_url =\n  https://one/simple\n  https://two/simple\n"
        "[install]\nindex-url = https://install/simple\n"
    )
    user = tmp_path / ".config" / "pip" / "pip.conf"
    user.parent.mkdir(parents=True)
    user.write_text("[global]\nfind-links = /from/user\nindex-url = https://user/simple\n")
    named = str(tmp_path / "named.conf")
    found = settings(tmp_path, PIP_CONFIG_FILE=named)
    assert found.indexes == ("https://install/simple", "https://one/simple", "https://two/simple")
    assert found.find_links == ("/from/user",)
    assert settings(tmp_path, PIP_CONFIG_FILE=named, PIP_INDEX_URL="https://env/simple").indexes[0] == (
        "https://env/simple"
    )


def test_a_broken_configuration_file_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "broken.conf").write_bytes(b"\xff\xfe not [ini")
    assert PYPI in settings(tmp_path, PIP_CONFIG_FILE=str(tmp_path / "broken.conf"), PIP_INDEX_URL=PYPI).indexes


def test_passwords_are_not_shown() -> None:
    assert shown("https://me:secret@host/simple") == "https://***@host/simple"


def test_versions_sort_as_the_convention_says() -> None:
    ordered = ["1.0.dev1", "1.0a1.dev2", "1.0a1", "1.0b2", "1.0rc1", "1.0", "1.0.post1", "1.0.1", "1.10", "1!0.1"]
    keys = [version_key(text) for text in ordered]
    assert None not in keys
    assert keys == sorted(keys)  # type: ignore[type-var]
    assert version_key("1.0") == version_key("1.0.0") == version_key("v1")
    assert version_key("nonsense") is None


@pytest.mark.parametrize(
    ("specifier", "version", "expected"),
    [
        ("", "1.2", True),
        ("1.2", "1.2.0", True),
        ("==1.2", "1.2.1", False),
        ("==1.2.*", "1.2.9", True),
        ("!=1.2.*", "1.2.9", False),
        (">=1.2,<2", "1.10", True),
        (">=1.2,<2", "2.0", False),
        ("<2", "2.0rc1", False),
        ("~=1.4.2", "1.4.9", True),
        ("~=1.4.2", "1.5", False),
        ("~=1.4", "1.9", True),
        (">1.0", "1.0", False),
        ("===1.0", "1.0.0", False),
        ("==1.0", "1.0+cpu", True),
        (">=nonsense", "1.0", False),
    ],
)
def test_specifiers_allow_what_the_convention_says(specifier: str, version: str, expected: bool) -> None:
    assert allows(specifier, version) is expected


def test_the_tags_of_this_machine_end_with_any() -> None:
    tags = platform_tags()
    assert tags[-1] == "any"
    assert len(tags) == len(set(tags)) > 1
