"""One small program per framework, run in an environment of their own: `python clients.py NAME BASE_URL KEY`.

Each prints one JSON object of what it got. The model calls the tool `weather`, and says what the tool said.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

MODEL = "local/agent"


def weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"cold in {city}"


def agents(url: str, key: str) -> dict[str, Any]:
    from agents import (
        Agent,
        OpenAIResponsesModel,
        Runner,
        function_tool,
        set_tracing_disabled,
    )
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    model = OpenAIResponsesModel(MODEL, openai_client=AsyncOpenAI(base_url=url, api_key=key))
    agent = Agent(name="a", instructions="Help.", tools=[function_tool(weather)], model=model)

    async def run() -> dict[str, Any]:
        whole = await Runner.run(agent, "Weather in Oslo?")
        streamed = Runner.run_streamed(agent, "Weather in Oslo?")
        kinds = {event.data.type async for event in streamed.stream_events() if event.type == "raw_response_event"}
        return {"whole": whole.final_output, "streamed": streamed.final_output, "events": sorted(kinds)}

    return asyncio.run(run())


def langchain(url: str, key: str) -> dict[str, Any]:
    from langchain_core.messages import HumanMessage, ToolMessage
    from langchain_core.tools import tool
    from langchain_openai import ChatOpenAI

    found = {}
    for name, responses in (("responses", True), ("chat", False)):
        model = ChatOpenAI(model=MODEL, base_url=url, api_key=key, use_responses_api=responses)
        bound = model.bind_tools([tool(weather)])
        asked: list[Any] = [HumanMessage("Weather in Oslo?")]
        called = bound.invoke(asked)
        (call,) = called.tool_calls
        asked += [called, ToolMessage(weather(**call["args"]), tool_call_id=call["id"])]
        found[name] = bound.invoke(asked).text
        found[f"{name} streamed"] = "".join(chunk.text for chunk in bound.stream(asked))
    return found


def llama_index(url: str, key: str) -> dict[str, Any]:
    from llama_index.core.llms import ChatMessage
    from llama_index.llms.openai_like import OpenAILike

    chats = OpenAILike(model="local/m1", api_base=url, api_key=key, is_chat_model=True)
    completes = OpenAILike(model="local/m1", api_base=url, api_key=key, is_chat_model=False)
    message = [ChatMessage(role="user", content="Hi")]
    return {
        "whole": chats.chat(message).message.content,
        "streamed": "".join(piece.delta or "" for piece in chats.stream_chat(message)),
        "completed": completes.complete("Say").text,
    }


def pydantic_ai(url: str, key: str) -> dict[str, Any]:
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIResponsesModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIResponsesModel(MODEL, provider=OpenAIProvider(base_url=url, api_key=key))
    agent = Agent(model, tools=[weather])

    async def streamed() -> str:
        async with agent.run_stream("Weather in Oslo?") as result:
            return await result.get_output()

    return {"whole": agent.run_sync("Weather in Oslo?").output, "streamed": asyncio.run(streamed())}


if __name__ == "__main__":
    name, url, key = sys.argv[1:]
    json.dump(globals()[name](url, key), sys.stdout)
