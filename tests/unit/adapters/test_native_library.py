"""What the embedded engine says where its native library cannot be loaded."""

from __future__ import annotations

import pytest

from tetrad.adapters.engines._native import not_loaded

DLOPEN = "{}: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("said", "message", "hint"),
    [
        (
            DLOPEN.format("libgomp.so.1"),
            "needs libgomp.so.1, which is not",
            "apt-get install libgomp1`",
        ),
        (DLOPEN.format("libstdc++.so.6"), "needs libstdc++.so.6", "apt-get install libstdc++6`"),
        (DLOPEN.format("libodd-2.so.0.1"), "needs libodd-2.so.0.1", "system's package that brings it"),
        ("/lib/x/libc.so.6: version `GLIBC_2.99' not found (required by /v/x.so)", "needs GLIBC_2.99", "newer release"),
        ("No module named 'xllamacpp'", "is not installed", "pip install xllamacpp"),
        ("/v/x.so: invalid ELF header", "cannot be loaded: /v/x.so: invalid ELF header", "install Tetrad again"),
        ("", "cannot be loaded", "install Tetrad again"),
    ],
)
def test_what_is_missing_is_named_with_the_way_to_get_it(said: str, message: str, hint: str) -> None:
    error = not_loaded(said)
    assert message in error.message
    assert hint in error.hint
