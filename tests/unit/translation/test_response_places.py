"""What gets lost or is wrong on the second half of the way, named by the item of Responses that said it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tetrad.serving import OPERATIONS, RequestRefused
from tetrad.serving.ports import ModelCall
from tetrad.serving.translation import Translation, find

RESPONSES = next(each for each in OPERATIONS if each.name == "responses")
WEB = {"type": "input_image", "image_url": "https://example.test/a.png"}
TEXT = {"type": "input_text", "text": "look"}
FILE = {"type": "input_file", "file_data": "data:text/csv;base64,YQ==", "filename": "a.csv"}
SAID = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Well."}]}


def user(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": list(parts)}


def call(number: int, arguments: str = "{}") -> dict[str, Any]:
    return {"type": "function_call", "call_id": f"c{number}", "name": "now", "arguments": arguments}


def result(number: int, *parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": list(parts) or "noon"}


def said(upstream: str, items: Any, *, strict: bool = False, **fields: Any) -> Translation:
    translate = find("responses", [upstream])
    assert translate is not None
    body = {"model": "m", "input": items, **fields}
    return translate(ModelCall(RESPONSES, {n: msgspec.Raw(msgspec.json.encode(v)) for n, v in body.items()}), strict)


LOSSES: list[tuple[str, list[Any], str]] = [
    ("gemini", [user(TEXT, WEB)], "input[0].content[1].image_url"),
    ("gemini", [SAID, call(1), call(2), result(1), result(2), user(TEXT, TEXT, WEB)], "input[5].content[2].image_url"),
    ("messages", [SAID, call(1), result(1, TEXT, FILE)], "input[2].output[1]"),
    ("messages", [user(TEXT), user(FILE)], "input[1].content[0]"),
    ("converse", [user(TEXT), user(TEXT, WEB)], "input"),
    ("mistral", [{"role": "system", "content": "Be brief."}, user(TEXT, FILE)], "input[1].content[1]"),
    ("mistral", [user(TEXT, {"type": "input_image", "file_id": "f"}, FILE)], "input[0].content[1]"),
]


@pytest.mark.parametrize(("upstream", "items", "path"), LOSSES)
@pytest.mark.parametrize("fields", [{}, {"instructions": "Be kind."}])
def test_a_loss_is_named_by_its_item(upstream: str, items: list[Any], path: str, fields: dict[str, Any]) -> None:
    assert path in said(upstream, items, **fields).dropped
    with pytest.raises(RequestRefused) as caught:
        said(upstream, items, strict=True, **fields)
    assert caught.value.param == path
    assert repr(path) in caught.value.message


WRONG: list[tuple[list[Any], str]] = [
    ([SAID, call(1), call(2, "no JSON"), result(1), result(2)], "input[2].arguments"),
    ([call(1, "[]"), result(1)], "input[0].arguments"),
    ([user(TEXT), user(TEXT, {**WEB, "image_url": "ftp://a"})], "input[1].content[1].image_url"),
]


@pytest.mark.parametrize(("items", "path"), WRONG)
def test_what_is_wrong_is_named_by_its_item(items: list[Any], path: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        said("messages", items, instructions="Be kind.")
    assert (caught.value.param, caught.value.message.startswith(path)) == (path, True)


ITEMS = st.one_of(
    st.lists(st.sampled_from([TEXT, WEB, FILE]), min_size=1, max_size=4).map(lambda parts: user(*parts)),
    st.just(SAID),
    st.integers(0, 9).map(call),
    st.builds(
        lambda n, parts: result(n, *parts), st.integers(0, 9), st.lists(st.sampled_from([TEXT, WEB]), max_size=3)
    ),
    st.just({"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}),
    st.just({"type": "reasoning", "summary": []}),
    st.just({"type": "web_search_call", "id": "ws_1"}),
)


@given(st.lists(ITEMS, max_size=12), st.booleans())
def test_each_part_that_is_lost_is_named_where_it_stands(items: list[Any], instructed: bool) -> None:
    fields = {"instructions": "Be kind."} if instructed else {}
    lost = set(said("messages", items, **fields).dropped)
    files = {
        f"input[{n}].content[{at}]"
        for n, item in enumerate(items)
        for at, part in enumerate(item.get("content", []))
        if part is FILE
    }
    named = {
        path for path in lost if "content[" in path and items[int(path[6 : path.index("]")])].get("role") == "user"
    }
    assert named == files
