"""A module that looks like any-llm and misbehaves as scripted by the model's name; no network."""

from __future__ import annotations

import asyncio
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

WORDS = ["Hel", "lo ", "wor", "ld", "."]
USAGE = {
    "prompt_tokens": 12,
    "completion_tokens": 5,
    "total_tokens": 17,
    "prompt_tokens_details": {"cached_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 1},
}


class AnyLLMError(Exception):
    def __init__(self, message: str, original: Exception | None = None, **told: Any) -> None:
        super().__init__(message)
        self.message = message
        self.original_exception = original
        self.status_code = self.code = self.param = self.error_type = None
        self.__dict__.update(told)


ERRORS: dict[str, type[AnyLLMError]] = {
    name: type(name, (AnyLLMError,), {})
    for name in (
        "AuthenticationError",
        "ContentFilterError",
        "ContextLengthExceededError",
        "GatewayTimeoutError",
        "InsufficientFundsError",
        "InvalidRequestError",
        "MissingApiKeyError",
        "ModelNotFoundError",
        "ProviderError",
        "RateLimitError",
        "UnsupportedParameterError",
        "UnsupportedProviderError",
        "UpstreamProviderError",
    )
}


class Model:
    """What stands for any-llm's pydantic objects."""

    def __init__(self, said: Any, **more: Any) -> None:
        self.said = said
        self.__dict__.update(more)

    def model_dump(self, *, mode: str, exclude_none: bool, warnings: bool) -> Any:
        assert (mode, exclude_none, warnings) == ("json", True, False)
        return self.said


class FakeAnyLLM(types.ModuleType):
    """`any_llm` itself: `calls` are the arguments that it was given, `made` those of its clients."""

    def __init__(self) -> None:
        super().__init__("any_llm")
        self.calls: list[dict[str, Any]] = []
        self.made: list[dict[str, Any]] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.given_up = 0
        self.closed_streams = 0
        self.closed_clients = 0
        self.retries = True
        self.unknown: dict[str, str] = {}
        fake = self

        class AnyLLM:
            @staticmethod
            def create(provider: str, **given: Any) -> Client:
                return Client(fake, provider, given)

        self.AnyLLM = AnyLLM


class Client:
    TIMEOUT_SUPPORT = "native"

    def __init__(self, fake: FakeAnyLLM, provider: str, given: dict[str, Any]) -> None:
        if provider == "lacking":
            raise ImportError("lacking required packages are not installed: pip install any-llm-sdk[lacking]")
        if provider == "unheard":
            raise ERRORS["UnsupportedProviderError"]("'unheard' is not a supported provider")
        if "max_retries" in given and not fake.retries:
            raise ERRORS["UnsupportedParameterError"]("no retries", parameter_name="max_retries")
        fake.made.append({"provider": provider, **given})
        self.fake = fake
        self.key = given["api_key"]
        self.base = given["api_base"]
        self.client = self

    async def close(self) -> None:
        self.fake.closed_clients += 1

    async def acompletion(self, model: str, **given: Any) -> Any:
        self.fake.threads.add(threading.current_thread().name)
        self.fake.calls.append({"model": model, **given})
        for name, how in self.fake.unknown.items():
            if name in given:
                raise ERRORS["UnsupportedParameterError"](f"{name!r} {how}", parameter_name=name)
        act, _, argument = model.partition(":")
        perform: Callable[[str, bool], Any] = getattr(self, f"act_{act}", self.act_m1)
        return await perform(argument, bool(given.get("stream")))

    async def aembedding(self, model: str, **given: Any) -> Any:
        self.fake.calls.append({"model": model, **given})
        data = [{"object": "embedding", "index": i, "embedding": [0.5, -1.0]} for i in range(len(given["inputs"]))]
        return Model({"object": "list", "model": "e1", "data": data, "usage": {"prompt_tokens": 3, "total_tokens": 3}})

    async def alist_models(self) -> list[Model]:
        return [Model({}, id="b"), Model({}, id="a"), Model({}, id=7)]

    async def act_m1(self, argument: str, stream: bool) -> Any:
        message = {"role": "assistant", "content": "".join(WORDS), "reasoning": "because"}
        return self.chunks(WORDS) if stream else self.whole(message)

    async def act_leak(self, argument: str, stream: bool) -> Any:
        return self.whole({"role": "assistant", "content": f"your key is {self.key}"})

    async def act_error(self, argument: str, stream: bool) -> Any:
        name, _, status = argument.partition("/")
        told = f"as scripted for {self.key} at {self.base}"
        raise ERRORS[name](told, status_code=int(status) if status else None, retry_after="7")

    async def act_raises(self, argument: str, stream: bool) -> Any:
        cause = type(argument, (Exception,), {})(f"at {self.base} with {self.key}")
        raise ERRORS["ProviderError"](str(cause), cause)

    async def act_odd(self, argument: str, stream: bool) -> Any:
        raise ZeroDivisionError(f"with {self.key}")

    async def act_text(self, argument: str, stream: bool) -> Any:
        return "hello"

    async def act_list(self, argument: str, stream: bool) -> Any:
        return Model({"choices": ["x"]})

    async def act_large(self, argument: str, stream: bool) -> Any:
        return self.whole({"role": "assistant", "content": "x" * 20_000})

    async def act_stall(self, argument: str, stream: bool) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.fake.given_up += 1
            raise

    async def act_block(self, argument: str, stream: bool) -> Any:
        self.fake.gate.wait(10)  # what an SDK should not do
        return await self.act_m1(argument, stream)

    async def act_nodone(self, argument: str, stream: bool) -> Any:
        return self.chunks(WORDS, ends=False)

    async def act_stallmid(self, argument: str, stream: bool) -> Any:
        return self.chunks(WORDS, stalls=True)

    async def act_breaks(self, argument: str, stream: bool) -> Any:
        return self.chunks(WORDS[: int(argument)], error=ERRORS["RateLimitError"]("too much", status_code=429))

    @staticmethod
    def whole(message: dict[str, Any]) -> Model:
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return Model(
            {"id": "c1", "object": "chat.completion", "created": 1, "model": "m-2026", "choices": [choice],
             "usage": USAGE}
        )  # fmt: skip

    async def chunks(
        self, words: list[str], *, ends: bool = True, stalls: bool = False, error: Exception | None = None
    ) -> Any:
        shape = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m-2026"}
        try:
            for word in words:
                yield Model({**shape, "choices": [{"index": 0, "delta": {"content": word}}]})
            if error is not None:
                raise error
            if stalls:
                await asyncio.Event().wait()
            if ends:
                yield Model({**shape, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
                yield Model({**shape, "choices": [], "usage": USAGE})
        finally:
            self.fake.closed_streams += 1


@pytest.fixture
def any_llm(monkeypatch: pytest.MonkeyPatch) -> FakeAnyLLM:
    """Put the fake where any-llm would be."""
    fake = FakeAnyLLM()
    monkeypatch.setitem(sys.modules, "any_llm", fake)
    return fake
