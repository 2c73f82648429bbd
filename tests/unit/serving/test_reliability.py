"""Routes at work, in virtual time: what is tried, what the client sees, what is written down."""

from __future__ import annotations

import asyncio

import pytest

from support import gateway as g
from support.simulated import DONE, ROLE, Act, SimReply, Simulation, word
from tetrad.kernel import TetradError
from tetrad.kit.upstream import ConnectFailed, TimedOut
from tetrad.serving import GatewayHealth, Price, Upstream

DOWN = Act(error=ConnectFailed("cannot connect"))
NO_RETRY = {"retries": 0}


def busy(after: str = "1") -> Act:
    return Act(status=429, code="rate_limit_exceeded", headers=[(b"retry-after", after.encode())])


# what users complain of


def test_a_stream_that_failed_before_its_first_word_is_answered_once_by_the_fallback() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY)
    sim.provider.acts["a"] = [Act(pieces=[ROLE, ConnectFailed("lost")])]
    reply = sim.one(stream=True)
    assert reply.status == 200
    assert reply.text == (ROLE + word("b") + DONE).decode()
    assert sim.reasons == ["", "fallback"]
    assert sim.records[0].error_type == ""


def test_a_stream_that_broke_after_its_first_word_tells_so_and_is_never_answered_twice() -> None:
    sim = Simulation("a", "b")
    sim.provider.acts["a"] = [Act(pieces=[ROLE, word("half"), ConnectFailed("lost in the middle")])]
    reply = sim.one(stream=True)
    assert sim.called == ["a"]
    assert '"half"' in reply.text
    assert "lost in the middle" in reply.text
    assert "[DONE]" not in reply.text
    assert sim.records[0].error_type == "upstream_unreachable"


def test_retry_and_fallback_are_wired_together_in_streams_as_in_whole_answers() -> None:
    for stream in (False, True):
        sim = Simulation("a", "b", retry={"retries": 2, "first_pause_s": 0.1})
        sim.provider.acts["a"] = [DOWN]
        reply = sim.one(stream=stream)
        assert reply.status == 200
        assert sim.called == ["a", "a", "a", "b"]
        assert sim.reasons == ["", "retry", "retry", "fallback"]
        assert reply.headers[b"x-tetrad-attempts"] == b"4"
        assert reply.headers[b"x-tetrad-route"] == b"smart"


def test_a_key_at_its_limit_gives_way_to_another_key_before_any_fallback() -> None:
    sim = Simulation()
    sim.upstream = {"secret": "k1", "secrets": ("k2", "k3")}
    sim.provider.acts["a#k1"] = [busy()]
    sim.route("a", "b")
    reply = sim.one()
    assert reply.status == 200
    assert sim.provider.calls == [("a", "k1"), ("a", "k2")]
    assert sim.reasons == ["", "key"]


def test_when_every_key_is_at_its_limit_the_fallback_answers() -> None:
    sim = Simulation()
    sim.upstream = {"secret": "k1", "secrets": ("k2",)}
    sim.route("a", fallbacks={"rate_limit": [{"model": "p/f"}]})
    for key in ("k1", "k2"):
        sim.provider.acts[f"a#{key}"] = [busy()]
    assert sim.one().json["model"] == "f"
    assert [name for name, _ in sim.provider.calls] == ["a", "a", "f"]


def test_a_client_that_leaves_cancels_the_upstream_in_every_state_of_a_request() -> None:
    for acts in ([Act(wait_s=60)], [DOWN, Act(wait_s=60)], [Act(pieces=[ROLE, 60.0, word("x")])]):
        sim = Simulation("a", "b", retry={"retries": 1, "first_pause_s": 0.0})
        sim.provider.acts["a"] = list(acts)

        async def leave(sim: Simulation = sim) -> float:
            task = asyncio.create_task(sim.ask(stream=True))
            await asyncio.sleep(5)
            left_at = sim.clock.now_s
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            return sim.clock.now_s - left_at

        assert sim.run(leave()) < 0.5
        assert sim.records[0].error_type == "client_disconnected"
        assert sim.records[0].attempts[-1].error_type == "cancelled"
        assert all(each.in_flight == 0 for each in sim.compiled.health().targets)
        assert sim.called == ["a"] * len(sim.provider.calls)
        assert "a" in sim.provider.cancelled or sim.provider.answers[-1].closed


def test_a_client_that_leaves_cancels_both_sides_of_a_hedge() -> None:
    sim = _hedging()

    async def leave() -> None:
        await _warm(sim)
        sim.provider.acts["a"] = sim.provider.acts["b"] = [Act(wait_s=60)]
        task = asyncio.create_task(sim.ask(stream=True))
        await asyncio.sleep(5)
        assert sim.called[-2:] == ["a", "b"]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    sim.run(leave())
    assert sorted(sim.provider.cancelled) == ["a", "b"]
    assert all(each.in_flight == 0 for each in sim.compiled.health().targets)


# kinds of failure


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (Act(status=500, code="server_error"), "error"),
        (Act(error=TimedOut("too slow")), "error"),
        (busy(), "rate_limit"),
        (Act(status=429, code="insufficient_quota"), "rate_limit"),
        (Act(status=400, code="context_length_exceeded"), "context_window"),
        (Act(status=400, message="prompt is too long: 210000 tokens > 200000 maximum"), "context_window"),
        (Act(status=400, code="content_filter"), "content_policy"),
    ],
)
def test_each_kind_of_failure_has_its_own_fallbacks(act: Act, kind: str) -> None:
    kinds = ("error", "rate_limit", "context_window", "content_policy")
    names = dict(zip(kinds, "bcde", strict=True))
    sim = Simulation("a", retry=NO_RETRY, fallbacks={each: [{"model": f"p/{names[each]}"}] for each in kinds})
    sim.provider.acts["a"] = [act]
    assert sim.one().json["model"] == names[kind]
    assert sim.reasons == ["", "fallback"]


def test_an_answer_that_the_provider_filtered_away_falls_back_only_where_a_list_says_so() -> None:
    filtered = Act(finish_reasons=("content_filter",))
    for stream in (False, True):
        sim = Simulation("a", "b", fallbacks={"content_policy": [{"model": "p/c"}]})
        sim.provider.acts["a"] = [filtered]
        assert sim.one(stream=stream).status == 200
        assert sim.called == ["a", "c"]
        sim = Simulation("a", "b")
        sim.provider.acts["a"] = [filtered]
        assert sim.one(stream=stream).status == 200
        assert sim.called == ["a"]


def test_a_request_that_is_wrong_is_the_clients_and_no_other_model_is_asked() -> None:
    sim = Simulation("a", "b", fallbacks={"error": [{"model": "p/c"}]})
    sim.provider.acts["a"] = [Act(status=400, code="invalid_type", message="messages must be an array")]
    reply = sim.one()
    assert reply.status == 400
    assert sim.called == ["a"]


def test_when_everything_fails_the_client_gets_the_last_failure_and_the_record_says_so() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY)
    sim.provider.acts["a"] = [DOWN]
    sim.provider.acts["b"] = [Act(status=503, code="overloaded", message="busy")]
    reply = sim.one()
    assert reply.status == 503
    record = sim.records[0]
    assert record.error_type == "overloaded"
    assert [made.error_type for made in record.attempts] == ["upstream_unreachable", "overloaded"]
    assert all(made.end_ns for made in record.attempts)


def test_an_upstream_that_says_not_to_retry_is_not_retried() -> None:
    sim = Simulation("a", retry={"retries": 3})
    sim.provider.acts["a"] = [Act(status=503, headers=[(b"x-should-retry", b"false")])]
    assert sim.one().status == 503
    assert sim.called == ["a"]


def test_a_client_is_told_not_to_retry_where_every_target_refused_our_credential() -> None:
    def told(*acts: Act) -> list[bytes]:
        sim = Simulation("a", "b", retry=NO_RETRY)
        for name, act in zip("ab", acts, strict=True):
            sim.provider.acts[name] = [act]
        return [value for name, value in sim.one().headers.items() if name == b"x-should-retry"]

    class Refused(TetradError):
        code = "upstream_credential_refused"
        headers = ((b"x-should-retry", b"false"),)

    def refused() -> Act:
        return Act(error=Refused("no"))

    assert told(refused(), refused()) == [b"false"]
    assert told(Act(status=503, code="overloaded", message="busy"), refused()) == [], (
        "the first may answer the next try"
    )


def test_attempts_are_bounded_whatever_the_lists_say() -> None:
    sim = Simulation(*"abcdef", retry={"retries": 8, "first_pause_s": 0.0}, max_attempts=3)
    for name in "abcdef":
        sim.provider.acts[name] = [DOWN]
    sim.one()
    assert len(sim.called) == 3


# pauses, deadlines, budgets


def test_a_retry_waits_as_long_as_the_upstream_asks() -> None:
    sim = Simulation("a", retry={"retries": 1, "longest_pause_s": 10})
    sim.provider.acts["a"] = [busy("7"), Act()]
    reply = sim.one()
    assert reply.status == 200
    assert 7 <= reply.begun_at - 1000 <= 7.5


@pytest.mark.parametrize("headers", [{b"x-tetrad-timeout-ms": b"3000"}, {}])
def test_no_pause_is_longer_than_what_is_left_of_the_deadline(headers: dict[bytes, bytes]) -> None:
    deadlines = {} if headers else {"total_s": 3.0}
    sim = Simulation("a", retry={"retries": 1, "longest_pause_s": 10}, deadlines=deadlines)
    sim.provider.acts["a"] = [busy("7"), Act()]
    reply = sim.one(headers=headers)
    assert reply.status == 429
    assert sim.called == ["a"]


def test_all_attempts_share_one_deadline() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY, deadlines={"total_s": 10, "first_token_s": 6})
    sim.provider.acts["a"] = sim.provider.acts["b"] = [Act(wait_s=60)]
    reply = sim.one()
    assert reply.status == 504
    assert reply.json["error"]["code"] == "deadline_exceeded"
    assert reply.begun_at - 1000 == pytest.approx(10)
    assert sim.called == ["a", "b"]


def test_a_stream_that_is_slow_to_begin_gives_way_and_one_that_began_may_take_its_time() -> None:
    sim = Simulation("a", "b", deadlines={"first_token_s": 2})
    sim.provider.acts["a"] = [Act(pieces=[ROLE, 5.0, word("late"), DONE])]
    sim.provider.acts["b"] = [Act(pieces=[ROLE, 1.0, word("b"), 30.0, word("b2"), DONE])]
    reply = sim.one(stream=True)
    assert '"b2"' in reply.text
    assert "late" not in reply.text
    assert sim.records[0].attempts[0].error_type == "upstream_timeout"


def test_a_deadline_ends_a_stream_with_an_error_in_it() -> None:
    sim = Simulation("a", deadlines={"total_s": 5})
    sim.provider.acts["a"] = [Act(pieces=[word("x"), 60.0, word("y"), DONE])]
    reply = sim.one(stream=True)
    assert reply.status == 200
    assert "deadline_exceeded" in reply.text


def test_a_plain_model_keeps_the_clients_deadline_too() -> None:
    sim = Simulation("b")
    sim.provider.acts["a"] = [Act(wait_s=60)]
    reply = sim.one("p/a", headers={b"x-tetrad-timeout-ms": b"1500"})
    assert reply.status == 504
    assert b"x-tetrad-route" not in reply.headers


@pytest.mark.parametrize("said", [b"0", b"-1", b"soon", b"86400001", b"1" * 40])
def test_a_deadline_that_is_none_is_refused(said: bytes) -> None:
    reply = Simulation("a").one(headers={b"x-tetrad-timeout-ms": said})
    assert reply.status == 400
    assert reply.json["error"]["param"] == "x-tetrad-timeout-ms"


def test_a_clients_hurry_does_not_open_a_breaker() -> None:
    sim = Simulation("a", breaker={"consecutive": 2})
    sim.provider.acts["a"] = [Act(wait_s=60)]

    async def hurry() -> SimReply:
        for _ in range(10):
            await sim.ask(headers={b"x-tetrad-timeout-ms": b"10"})
        sim.provider.acts["a"] = [Act()]
        return await sim.ask()

    assert sim.run(hurry()).status == 200


def test_retries_are_at_most_their_part_of_the_traffic() -> None:
    sim = Simulation(
        "a",
        retry={"retries": 1, "budget_percent": 10, "first_pause_s": 0.0},
        breaker={"consecutive": 1000, "ratio": 1, "min_calls": 100000},
    )
    sim.provider.acts["a"] = [Act(status=503)]

    async def flood() -> None:
        for _ in range(500):
            await sim.ask()

    sim.run(flood())
    assert 500 < len(sim.called) <= 500 + 10 + 50


# breakers at work


def test_a_target_that_keeps_failing_is_left_alone_and_tried_again_by_one_call() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY, breaker={"consecutive": 3, "open_s": 10})
    sim.provider.acts["a"] = [DOWN]

    async def story() -> None:
        for _ in range(6):
            assert (await sim.ask()).status == 200
        assert sim.called.count("a") == 3
        assert {each.model: each.state for each in sim.compiled.health().targets} == {
            "p/a": "open",
            "p/b": "closed",
        }
        await asyncio.sleep(11)
        sim.provider.acts["a"] = [Act(wait_s=1)]
        await asyncio.gather(*(sim.ask() for _ in range(5)))
        assert sim.called.count("a") == 4
        await sim.ask()
        assert sim.called.count("a") == 5

    sim.run(story())


def test_when_all_targets_are_left_alone_the_answer_is_quick_and_says_when_to_come_back() -> None:
    sim = Simulation("a", retry=NO_RETRY, breaker={"consecutive": 1, "open_s": 30})
    sim.provider.acts["a"] = [DOWN]

    async def story() -> SimReply:
        await sim.ask()
        return await sim.ask()

    reply = sim.run(story())
    assert reply.status == 503
    assert reply.json["error"]["code"] == "no_target_ready"
    assert 25 <= int(reply.headers[b"retry-after"]) <= 30
    assert sim.called == ["a"]


def test_what_is_known_of_targets_outlives_a_new_route_table() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY, breaker={"consecutive": 1, "open_s": 100})
    sim.provider.acts["a"] = [DOWN]

    async def story() -> None:
        await sim.ask()
        sim.install()
        await sim.ask()

    sim.run(story())
    assert sim.called == ["a", "b", "b"]


# choosing


def test_data_with_a_label_never_reaches_a_target_that_may_not_see_it_not_even_as_fallback() -> None:
    sim = Simulation(
        {"model": "p/a", "when": {"sensitivities": ["public"]}},
        {"model": "p/b"},
        retry=NO_RETRY,
        fallbacks={"error": [{"model": "p/c", "when": {"sensitivities": ["public"]}}]},
    )
    sim.provider.acts["a"] = sim.provider.acts["b"] = [DOWN]

    async def story() -> None:
        await sim.ask(headers={b"x-tetrad-sensitivity": b"secret"})
        assert sim.called == ["b"]
        await sim.ask()
        assert sim.called == ["b", "b"]
        await sim.ask(tetrad={"sensitivity": "public"})
        assert sim.called == ["b", "b", "a", "b", "c"]

    sim.run(story())


def test_a_request_that_no_target_may_answer_is_refused() -> None:
    sim = Simulation({"model": "p/a", "when": {"regions": ["eu"]}})
    reply = sim.one(headers={b"x-tetrad-region": b"us"})
    assert (reply.status, reply.json["error"]["code"]) == (400, "no_target_for_request")
    assert sim.called == []


def test_a_request_that_names_no_region_is_of_the_gateways_own() -> None:
    targets = [{"model": "p/a", "when": {"regions": ["there"]}}, {"model": "p/b", "when": {"regions": ["here"]}}]
    assert Simulation(*targets).one().json["model"] == "b"
    assert Simulation(*targets).one(headers={b"x-tetrad-region": b"there"}).json["model"] == "a"


def test_what_is_too_much_for_the_engine_spills_to_the_provider_and_then_is_refused() -> None:
    sim = Simulation({"model": "p/a", "max_in_flight": 2}, {"model": "p/b", "max_in_flight": 1})
    sim.provider.acts["a"] = sim.provider.acts["b"] = [Act(wait_s=10)]

    async def burst() -> list[SimReply]:
        return list(await asyncio.gather(*(sim.ask() for _ in range(4))))

    replies = sim.run(burst())
    assert sim.called == ["a", "a", "b"]
    assert sorted(reply.status for reply in replies) == [200, 200, 200, 429]


def test_a_session_stays_where_it_is_while_its_target_answers() -> None:
    sim = Simulation("a", "b", "c", strategy="weighted", affinity="session", retry=NO_RETRY)

    async def story() -> None:
        homes = {}
        for number in range(12):
            headers = {b"x-tetrad-session": b"s%d" % number}
            for _ in range(3):
                await sim.ask(headers=headers)
            assert len(set(sim.called[-3:])) == 1
            homes[number] = sim.called[-1]
        assert set(homes.values()) == {"a", "b", "c"}
        sim.provider.acts["a"] = [DOWN]
        for number, home in homes.items():
            await sim.ask(headers={b"x-tetrad-session": b"s%d" % number})
            assert (sim.called[-1] == home) is (home != "a")

    sim.run(story())


def test_requests_with_the_same_system_message_go_where_its_prompt_is_cached() -> None:
    sim = Simulation(*"abcdef", strategy="weighted", affinity="prompt")

    async def story() -> None:
        for number in range(8):
            for turn in range(3):
                system = {"role": "system", "content": f"You are {number}."}
                await sim.ask(messages=[system, {"role": "user", "content": f"turn {turn}"}])
            assert len(set(sim.called[-3:])) == 1
        assert len(set(sim.called)) > 1

    sim.run(story())


def test_the_cheapest_target_is_first_and_one_without_a_price_is_last() -> None:
    sim = Simulation()
    sim.prices = {"b": Price("1", "2"), "c": Price("0.5", "1")}
    sim.route("a", "b", "c", strategy="cost", retry=NO_RETRY)
    for name in "abc":
        sim.provider.acts[name] = [DOWN]
    sim.one()
    assert sim.called == ["c", "b", "a"]


def test_the_quickest_target_gets_what_comes() -> None:
    sim = Simulation("a", "b", strategy="latency")
    sim.provider.acts["a"] = [Act(wait_s=3)]
    sim.provider.acts["b"] = [Act(wait_s=0.2)]

    async def story() -> None:
        for _ in range(10):
            await sim.ask(stream=True)

    sim.run(story())
    assert sim.called.count("b") >= 8


@pytest.mark.parametrize("strategy", ["latency", "least-busy"])
def test_a_target_that_fails_at_once_does_not_draw_everything_to_itself(strategy: str) -> None:
    sim = Simulation("a", "b", strategy=strategy, retry=NO_RETRY, breaker={"consecutive": 1000, "ratio": 1.0})
    sim.provider.acts["a"] = [DOWN]
    sim.provider.acts["b"] = [Act(wait_s=0.2)]

    async def story() -> None:
        for _ in range(100):
            await sim.ask()
        assert sim.called.count("a") < 20
        sim.provider.acts["a"] = [Act(wait_s=0.01)]
        await asyncio.sleep(6)
        for _ in range(20):
            await sim.ask()
        assert sim.called[-5:].count("a") >= 1, "it is tried again"

    sim.run(story())


def test_a_stream_that_breaks_off_counts_against_its_target() -> None:
    sim = Simulation("a", breaker={"consecutive": 1})
    sim.provider.acts["a"] = [Act(pieces=[word("x"), ConnectFailed("gone")])]
    sim.one(stream=True)
    (target,) = sim.compiled.health().targets
    assert (target.state, target.in_flight) == ("open", 0)


def test_a_route_has_aliases_and_hides_a_model_of_its_name() -> None:
    sim = Simulation("b", aliases=["gpt-9", "p/a"])
    for name in ("smart", "gpt-9", "p/a"):
        assert sim.one(name).json["model"] == "b"


def test_a_model_with_one_key_and_no_limit_has_nothing_between_it_and_its_upstream() -> None:
    sim = Simulation()
    sim.install()
    key = sim.compiled.table.keys[g.key_hash(g.KEY)]
    assert sim.compiled.resolve(key, "p/a", "chat").plan is None
    assert sim.compiled.health() == GatewayHealth()
    assert sim.one("p/a").headers.keys().isdisjoint({b"x-tetrad-route", b"x-tetrad-attempts"})


def test_a_release_whose_model_is_a_route_is_answered_by_it() -> None:
    sim = Simulation("a", "b", aliases=["local/m1"], retry=NO_RETRY)
    sim.provider.acts["a"] = [DOWN]
    reply = sim.one("app:assistant", tetrad={"variables": {"name": "Ann"}})
    assert reply.json["model"] == "b"
    assert reply.headers[b"x-tetrad-release"] == g.RELEASE.encode()
    assert reply.headers[b"x-tetrad-attempts"] == b"2"


def test_clients_see_routes_and_aliases_among_their_models_and_only_their_own() -> None:
    sim = Simulation("a", aliases=["p/b"])
    mine, other = (sim.compiled.table.keys[g.key_hash(key)] for key in (g.KEY, g.OTHER_KEY))
    names = [name for name, _, _ in sim.compiled.names(mine)]
    assert {"smart", "p/b", "p/a"} <= set(names)
    assert names.count("p/b") == 1
    assert "smart" not in {name for name, _, _ in sim.compiled.names(other)}


def test_a_route_keeps_deadlines_of_its_own_for_connecting_and_pauses() -> None:
    sim = Simulation("a")
    bound: list[Upstream] = []
    endpoint = sim.provider.endpoint
    sim.provider.endpoint = lambda upstream: (bound.append(upstream), endpoint(upstream))[1]  # type: ignore[method-assign]
    sim.route("a", deadlines={"connect_s": 1.5, "idle_s": 2.5})
    kept = {(upstream.connect_timeout_s, upstream.idle_timeout_s) for upstream in bound if upstream.name == "p"}
    assert kept == {(5.0, 60.0), (1.5, 2.5)}


def test_a_route_may_hide_a_model_and_still_call_it() -> None:
    sim = Simulation("a", "b", aliases=["p/a"], retry=NO_RETRY)
    sim.provider.acts["a"] = [DOWN]
    assert sim.one("p/a").json["model"] == "b"
    assert sim.called == ["a", "b"]


def test_a_route_of_another_project_is_not_there() -> None:
    sim = Simulation("a")
    reply = sim.one(headers={b"authorization": b"Bearer " + g.OTHER_KEY.encode()})
    assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


def test_a_target_that_is_gone_does_not_take_the_route_with_it() -> None:
    sim = Simulation({"model": "gone/x"}, "b")
    assert "gone/x" in str(sim.compiled.problems)
    assert sim.one().json["model"] == "b"


def test_a_target_of_another_kind_is_passed_over() -> None:
    sim = Simulation("vectors", "b")
    assert sim.one().json["model"] == "b"


# streams


def test_an_error_event_before_any_content_is_a_failure_like_any_other() -> None:
    sim = Simulation("a", "b", retry=NO_RETRY)
    sim.provider.acts["a"] = [Act(pieces=[ROLE, b'data: {"error":{"message":"x","code":"server_error"}}\n\n', DONE])]
    reply = sim.one(stream=True)
    assert "error" not in reply.text
    assert sim.called == ["a", "b"]


def test_no_more_is_held_back_than_is_allowed() -> None:
    sim = Simulation("a", "b")
    endless: list[bytes | Exception | float] = [ROLE] * 70
    sim.provider.acts["a"] = [Act(pieces=[*endless, ConnectFailed("late")])]
    reply = sim.one(stream=True)
    assert sim.called == ["a"]
    assert "late" in reply.text


def test_an_empty_answer_is_an_answer() -> None:
    sim = Simulation("a", "b")
    sim.provider.acts["a"] = [Act(pieces=[ROLE, DONE])]
    assert sim.one(stream=True).text == (ROLE + DONE).decode()
    assert sim.called == ["a"]


# hedges


def _hedging(**hedge: object) -> Simulation:
    return Simulation("a", "b", hedge={"enabled": True, "min_samples": 10, **hedge}, retry=NO_RETRY)


async def _warm(sim: Simulation, requests: int = 60) -> None:
    sim.provider.acts["a"] = [Act(wait_s=0.2)]
    for _ in range(requests):
        await sim.ask(stream=True)


def test_a_slow_first_word_is_overtaken_by_the_next_target_and_the_slow_call_is_ended() -> None:
    sim = _hedging()

    async def story() -> SimReply:
        await _warm(sim)
        sim.provider.acts["a"] = [Act(wait_s=30)]
        sim.provider.acts["b"] = [Act(wait_s=0.1)]
        before = sim.clock.now_s
        reply = await sim.ask(stream=True)
        assert reply.begun_at - before < 0.5
        return reply

    reply = sim.run(story())
    assert reply.text == (ROLE + word("b") + DONE).decode()
    assert sim.provider.cancelled == ["a"]
    record = sim.records[-1]
    assert [(made.model.name, made.reason, made.error_type) for made in record.attempts] == [
        ("p/a", "", "cancelled"),
        ("p/b", "hedge", ""),
    ]
    assert record.error_type == ""
    assert all(each.in_flight == 0 for each in sim.compiled.health().targets)


def test_a_hedge_that_loses_is_ended_and_the_first_target_answers() -> None:
    sim = _hedging()

    async def story() -> SimReply:
        await _warm(sim)
        sim.provider.acts["a"] = [Act(wait_s=0.5)]
        sim.provider.acts["b"] = [Act(wait_s=30)]
        return await sim.ask(stream=True)

    assert '"a"' in sim.run(story()).text
    assert sim.provider.cancelled == ["b"]
    assert sim.records[-1].attempts[-1].model.name == "p/a"


def test_hedges_are_at_most_two_of_a_hundred_requests() -> None:
    sim = _hedging()

    async def story() -> None:
        await _warm(sim, 20)
        for number in range(500):
            sim.provider.acts["a"] = [Act(wait_s=30 if number % 5 else 0.2)]
            await sim.ask(stream=True)

    sim.run(story())
    assert 2 <= sim.called.count("b") <= 520 * 0.02 + 1


def test_two_sides_of_a_hedge_that_both_fail_are_one_failure() -> None:
    sim = _hedging()

    async def story() -> SimReply:
        await _warm(sim)
        sim.provider.acts["a"] = sim.provider.acts["b"] = [Act(wait_s=1, error=ConnectFailed("down"))]
        return await sim.ask(stream=True)

    assert sim.run(story()).status == 503
    assert all(made.end_ns for made in sim.records[-1].attempts)


# keys


def test_a_refused_key_is_retired_until_it_changes(caplog: pytest.LogCaptureFixture) -> None:
    sim = Simulation()
    sim.upstream = {"secret": "k1", "secrets": ("k2",)}
    sim.install()
    refused = TetradError("refused", code="upstream_credential_refused", status=502)
    sim.provider.acts["a#k1"] = [Act(error=refused)]

    async def story() -> None:
        for _ in range(4):
            assert (await sim.ask("p/a")).status == 200
        assert [key for _, key in sim.provider.calls].count("k1") == 1
        assert sim.compiled.health().keys == {"p": {"ready": 1, "cooling": 0, "retired": 1}}
        sim.install()
        assert sim.compiled.health().keys["p"]["retired"] == 1
        sim.upstream = {"secret": "k1-new", "secrets": ("k2",)}
        sim.install()
        await sim.ask("p/a")
        assert sim.provider.calls[-1] == ("a", "k1-new")

    sim.run(story())
    assert "is retired" in caplog.text
    assert "k1" not in caplog.text


def test_a_provider_whose_keys_are_all_refused_is_still_asked_so_that_it_can_recover() -> None:
    sim = Simulation()
    sim.upstream = {"secret": "k1", "secrets": ("k2",)}
    sim.install()
    refused = TetradError("refused", code="upstream_credential_refused", status=502)
    sim.provider.acts["a"] = [Act(error=refused)]

    async def story() -> None:
        assert (await sim.ask("p/a")).status == 502
        sim.provider.acts["a"] = [Act()]
        assert (await sim.ask("p/a")).status == 200
        assert sim.compiled.health().keys["p"]["ready"] == 1

    sim.run(story())
