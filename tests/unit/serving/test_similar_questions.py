"""The cache of similar questions: what is compared, what never is, and that a slow or lying index costs nothing."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from support import gateway as g
from support.caching import Bench
from tetrad.serving import CachePolicy
from tetrad.serving._cache_key import sharp_words

ANY = CachePolicy(use="always", semantic="any")
COLD = CachePolicy(use="always", semantic="cold")


class EverythingIsSimilar:
    """Finds the last question of the very partition, whatever is asked."""

    def __init__(self) -> None:
        self.failures = 0
        self.known: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self.score = 0.99
        self.lie: bytes | None = None

    async def find(self, partition: str, text: str, threshold: float) -> tuple[bytes, float] | None:
        self.asked.append((partition, text))
        key = self.lie or self.known.get(partition)
        return None if key is None or self.score < threshold else (key, self.score)

    async def add(self, partition: str, text: str, key: bytes, ttl_s: int) -> None:
        assert ttl_s > 0
        self.known[partition] = key


def bench(policy: CachePolicy = ANY) -> tuple[Bench, EverythingIsSimilar]:
    similar = EverythingIsSimilar()
    return Bench(policy, similar=similar), similar


async def both(made: Bench, first: dict[str, Any], second: dict[str, Any]) -> str:
    for given, ask in (({}, first), ({}, second)):
        reply = await made.chat(**{**given, **ask})
        await made.cache.close()
    return reply.cache


async def test_a_similar_question_gets_the_earlier_answer_and_the_record_says_so() -> None:
    made, _ = bench()
    assert await both(made, {"text": "how do I pay"}, {"text": "how can I pay"}) == "hit"
    attempt = made.records[-1].attempts[-1]
    assert attempt.outcome.attributes["cache.kind"] == "similar"
    assert attempt.outcome.attributes["cache.similarity"] == "0.9900"
    assert attempt.cost == "0"
    assert len(made.upstreams.calls) == 1


async def test_below_the_threshold_nothing_is_similar() -> None:
    made, similar = bench()
    similar.score = 0.5
    assert await both(made, {"text": "a"}, {"text": "b"}) == "miss"


@pytest.mark.parametrize(
    "other",
    [
        {"temperature": 0.9},
        {"seed": 4},
        {"key": g.OTHER_KEY},
        {"model": "app:assistant", "tetrad": {"variables": {"name": "Bo"}}},
        {"messages": [{"role": "system", "content": "Lie."}, {"role": "user", "content": "b"}]},
        {"messages": [{"role": "user", "content": "x"}, {"role": "user", "content": "b"}]},
        {"text": "order 67"},
        {"text": "b is not b"},
    ],
    ids=str,
)
async def test_everything_but_the_words_of_the_last_question_must_be_equal(other: dict[str, Any]) -> None:
    made, _ = bench()
    made.install(caches={"default/": ANY, "other/": ANY})
    assert await both(made, {"text": "a"}, {"text": "b", **other}) == "miss"


async def test_in_a_conversation_only_the_last_turn_is_compared() -> None:
    made, _ = bench()
    earlier = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yes?"}]
    first = {"messages": [*earlier, {"role": "user", "content": "a"}]}
    second = {"messages": [*earlier, {"role": "user", "content": [{"type": "text", "text": "b"}]}]}
    assert await both(made, first, second) == "hit"
    third = {"messages": [earlier[0], {"role": "assistant", "content": "no?"}, {"role": "user", "content": "a"}]}
    assert (await made.chat(**third)).cache == "miss"


async def test_one_user_never_gets_anothers_answer_where_answers_are_the_users() -> None:
    made, _ = bench(CachePolicy(use="always", semantic="any", shared_by="user"))
    ann, bob = {"headers": {b"x-tetrad-user": b"ann"}}, {"headers": {b"x-tetrad-user": b"bob"}}
    assert await both(made, {"text": "a", **ann}, {"text": "b", **bob}) == "miss"
    assert (await made.chat("c", **ann)).cache == "hit"


@pytest.mark.parametrize(
    "ask",
    [
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
        {"messages": [{"role": "assistant", "content": "a"}]},
        {"messages": [{"role": "user", "content": "a", "name": "ann"}]},
        {"text": "x" * 2001},
        {"text": " "},
    ],
    ids=lambda ask: str(ask)[:60],
)
async def test_what_is_no_plain_question_is_not_compared(ask: dict[str, Any]) -> None:
    made, similar = bench()
    await made.chat(**ask)
    assert similar.asked == []


@pytest.mark.parametrize(("temperature", "compared"), [(None, 0), (0, 1), (0.2, 1), (0.7, 0), ("warm", 0)])
async def test_cold_policies_compare_where_little_variety_is_wanted(temperature: Any, compared: int) -> None:
    made, similar = bench(COLD)
    await made.chat("a", **({} if temperature is None else {"temperature": temperature}))
    assert len(similar.asked) == compared


async def test_a_new_release_has_no_similar_questions() -> None:
    made, _ = bench()
    ask = {"model": "app:assistant", "tetrad": {"variables": {"name": "Bo"}}}
    await made.chat("a", **ask)
    await made.cache.close()
    new = msgspec.structs.replace(made.table.releases[g.RELEASE], digest="sha256:" + "7" * 64)
    app = made.table.apps["default/assistant"]
    made.install(
        releases={**made.table.releases, new.digest: new},
        apps={"default/assistant": msgspec.structs.replace(app, refs={**app.refs, "production": new.digest})},
    )
    assert (await made.chat("b", **ask)).cache == "miss"


async def test_an_index_that_names_an_answer_that_is_gone_is_a_miss() -> None:
    made, similar = bench()
    similar.lie = b"\0" * 32
    assert (await made.chat("a")).cache == "miss"


async def test_a_similar_answer_comes_as_the_stream_that_was_asked_for() -> None:
    made, _ = bench()
    await made.chat("a")
    await made.cache.close()
    reply = await made.chat("b", stream=True)
    assert reply.cache == "hit"
    assert reply.body.endswith(b"data: [DONE]\n\n")
    assert b"Paris." in reply.body
    assert json.loads(reply.body.split(b"\n\n")[0][6:])["object"] == "chat.completion.chunk"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("order 66", "order 67"),
        ("can I cancel", "can't I cancel"),
        ("with fee", "without fee"),
        ("pay 5 to 6", "pay 5"),
        ("on 2024-01-02", "on 2024-01-03"),
    ],
)
def test_figures_and_negations_are_sharp(one: str, other: str) -> None:
    assert sharp_words(one) != sharp_words(other)


def test_order_and_case_of_plain_words_are_not() -> None:
    assert sharp_words("Where is order A66?") == sharp_words("order a66, where is it")
