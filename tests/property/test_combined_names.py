"""Names of tools where those of several servers stand together: any name, any server, and the way back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tetrad.tools._names import MAX_COMBINED_NAME, combined_name, own_name, split_name

SERVERS = st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)
TOOLS = st.from_regex(r"[A-Za-z0-9_./-]{1,128}", fullmatch=True)


@given(SERVERS, TOOLS, st.lists(TOOLS, max_size=5))
def test_every_name_fits_and_leads_back_to_its_server_and_tool(server: str, tool: str, others: list[str]) -> None:
    combined = combined_name(server, tool)
    assert len(combined) <= MAX_COMBINED_NAME
    assert split_name(combined)[0] == server
    assert own_name(combined, [*others, tool]) == tool


@given(SERVERS, TOOLS, SERVERS, TOOLS)
def test_no_two_tools_have_one_name(server: str, tool: str, other: str, another: str) -> None:
    if (server, tool) != (other, another):
        assert combined_name(server, tool) != combined_name(other, another)


def test_a_long_name_that_nobody_knows_means_nothing_else() -> None:
    combined = combined_name("s" * 63, "t" * 128)
    assert own_name(combined, ()) != "t" * 128
    assert own_name(combined, ["t" * 127]) != "t" * 127
