"""A provider that speaks Responses alone is tried, and takes batches, as any other."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.fake_responses import FakeResponses, called, response, said
from support.spoken import Spoken
from support.translation import call_of
from tetrad.kernel import SystemClock
from tetrad.serving import ProviderModel, ProviderProbe, ProviderSpec

SPOKEN = Spoken("openai", FakeResponses, fields={"operations": ("responses",)})
QUESTION = {"role": "user", "content": "Hi"}


async def test_everything_of_it_that_matters_is_tried() -> None:
    with FakeResponses() as fake:
        spec = ProviderSpec(
            project="default", name="gpt", base_url=fake.base_url, models=(ProviderModel("tools"),),
            operations=("responses",), internal=True,
        )  # fmt: skip
        checks = await ProviderProbe(lambda _project, _name: "key", SystemClock()).test(spec)
    assert {check.what: check.works for check in checks} == dict.fromkeys(
        ("chat", "stream", "tools", "count_tokens", "models"), True
    )


@pytest.mark.parametrize("operation", ["messages", "chat"])
async def test_a_line_of_a_batch_is_rendered_and_its_answer_read(operation: str) -> None:
    body: dict[str, Any] = {"model": "m1", "max_tokens": 99, "messages": [QUESTION]}
    with FakeResponses() as fake:
        async with SPOKEN.endpoint(fake) as endpoint:
            bound: Any = endpoint
            path, sent = await bound.rendered(call_of(operation, body))
            done = json.dumps(response([said(1, "Hi."), called(2, "Oslo")], body)).encode()
            answer = await bound.answered(call_of(operation, body), 200, done)
            told = json.loads(await answer.read())
            refused = await bound.answered(call_of(operation, body), 400, b'{"error":{"message":"no","code":"c"}}')
            error = json.loads(await refused.read())
        assert fake.requests == []
    assert path == "/responses"
    assert json.loads(sent)["input"] == [{"type": "message", **QUESTION}]
    if operation == "messages":
        assert [block["type"] for block in told["content"]] == ["text", "tool_use"]
    else:
        assert told["choices"][0]["finish_reason"] == "tool_calls"
    assert error["error"]["message"] == "no"
