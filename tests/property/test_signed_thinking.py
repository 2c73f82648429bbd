"""Whatever Anthropic thinks, says and calls goes through a client of Responses and comes back equal."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from support.fake_anthropic import turns_of
from support.translation import call_of, claude_message, claude_stream, data_of, events_of
from tetrad.kernel import TetradError
from tetrad.serving import RequestRefused
from tetrad.serving.translation import Translation, find, maker_of, read_thought
from tetrad.serving.translation._placing import placed
from tetrad.serving.translation.anthropic_signatures import SignedBlock, seal_thought

MAKER = maker_of("anthropic", "claude-2026")
USER = {"role": "user", "content": "x"}

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
thoughts = st.builds(
    lambda text, signature: {"type": "thinking", "thinking": text, "signature": signature}, words, texts
) | st.builds(lambda data: {"type": "redacted_thinking", "data": data}, texts)
said = st.builds(lambda text: {"type": "text", "text": text}, texts)
uses = st.builds(lambda city: {"type": "tool_use", "id": "", "name": "weather", "input": {"city": city}}, texts)


@st.composite
def answers(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Blocks in any order, of which the last is no thought, as in every whole answer."""
    blocks = [*draw(st.lists(thoughts | said | uses, max_size=8)), draw(said | uses)]
    for number, block in enumerate(blocks):
        if block["type"] == "tool_use":
            block["id"] = f"toolu_{number}"
    return blocks


def made(items: list[Any], **more: Any) -> Translation:
    translate = find("responses", ["messages"])
    assert translate is not None
    call = call_of("responses", {"model": "claude-2026", "input": items, **more})
    return translate(msgspec.structs.replace(call, maker=MAKER), True)


def come_back(output: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the blocks of the turn that Anthropic gets for an answer's items."""
    translation = made([USER, *output])
    assert translation.dropped == ()
    (_, _), (role, blocks) = turns_of(json.loads(bytes(translation.call.fields["messages"])))
    assert role == "assistant"
    return blocks


def joined(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Texts that follow each other are one text: no client can tell them apart."""
    found: list[dict[str, Any]] = []
    for block in blocks:
        if block["type"] == "text" and found and found[-1]["type"] == "text":
            found[-1] = {"type": "text", "text": found[-1]["text"] + block["text"]}
        else:
            found.append(block)
    return found


def texts_first(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Between two thoughts, chat completions know texts and calls apart, and not their order."""
    found: list[dict[str, Any]] = []
    part: list[dict[str, Any]] = []
    for block in [*blocks, None]:
        if block is not None and block["type"] in ("text", "tool_use"):
            part.append(block)
            continue
        found += sorted(part, key=lambda each: str(each["type"]))  # text, then tool_use; sorting is stable
        part = []
        found += [block] if block is not None else []
    return found


@given(answers())
def test_a_whole_answer_comes_back_equal(content: list[dict[str, Any]]) -> None:
    output = json.loads(made([USER]).whole(json.dumps(claude_message(content)).encode()))["output"]
    assert joined(come_back(output)) == joined(texts_first(content))


@given(answers(), st.integers(1, 40))
def test_a_streamed_answer_comes_back_equal_however_it_is_torn(content: list[dict[str, Any]], size: int) -> None:
    events, data = made([USER], stream=True).events(), claude_stream(content)
    told = b"".join(events.feed(data[at : at + size]) for at in range(0, len(data), size)) + events.end()
    output = data_of(told)[-1]["response"]["output"]
    assert joined(come_back(output)) == joined(content)


@given(thoughts, words, words)
def test_what_is_sealed_is_read_by_nobody_else_or_not_at_all(block: dict[str, Any], provider: str, cut: str) -> None:
    maker = maker_of(provider, "m")
    sealed = seal_thought(
        maker, SignedBlock(block["type"], signature=block.get("signature", ""), data=block.get("data", "")),
        block.get("thinking", ""),
    )  # fmt: skip
    thought = read_thought(sealed)
    assert thought is not None
    assert (thought.maker, thought.block()) == (maker, block)
    for mangled in (sealed[:-1], sealed + "A", sealed[: len(sealed) // 2] + cut + sealed[len(sealed) // 2 + 1 :]):
        found = read_thought(mangled)
        assert mangled == sealed or found is None


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), thoughts), max_size=5),
    st.lists(said, max_size=4),
    st.lists(uses, max_size=4),
)
def test_wherever_thoughts_are_put_nothing_is_lost_or_told_twice(
    places: list[Any], text: list[dict[str, Any]], calls: list[dict[str, Any]]
) -> None:
    found = placed(places, text, calls)
    assert [each for each in found if "thinking" in each["type"]] == [thought for _, _, thought in places]
    assert [each for each in found if each["type"] == "tool_use"] == calls
    assert "".join(each["text"] for each in found if each["type"] == "text") == "".join(each["text"] for each in text)


rubbish = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | texts
    | st.sampled_from(["reasoning", "message", "assistant", "thinking", "tetrad.anthropic.", "tetrad.google.call.x"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["type", "role", "content", "text", "encrypted_content", "signature", "blocks", "index", "delta",
             "content_block", "thinking", "data", "message", "stop_reason"]
        ), inner, max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip


@given(st.lists(rubbish, max_size=4))
def test_no_input_makes_it_fail_otherwise_than_by_a_refusal(items: list[Any]) -> None:
    with contextlib.suppress(RequestRefused):
        made(items)


@given(st.lists(rubbish, max_size=4), st.lists(st.sampled_from(["content_block_start", "content_block_delta",
       "content_block_stop", "message_stop"]), max_size=4))  # fmt: skip
def test_no_stream_makes_it_fail_otherwise_than_by_an_error_of_ours(events: list[Any], kinds: list[str]) -> None:
    told = [
        {**each, "type": kind} if isinstance(each, dict) else each for each, kind in zip(events, kinds, strict=False)
    ]
    stream = made([USER], stream=True).events()
    with contextlib.suppress(TetradError):
        stream.feed(events_of([each for each in told if isinstance(each, dict)]))
        stream.end()
