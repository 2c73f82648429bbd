from __future__ import annotations

import threading
import time
from datetime import UTC, datetime

import msgspec
import pytest

from support.spans import SECOND_NS, Kept, a_span, an_exchange, spool
from support.wait import wait_until
from tetrad.kernel import InvalidInput, Usage, new_span_id, new_trace_id
from tetrad.kit.telemetry_db import (
    QueryTooExpensive,
    Step,
    TelemetryFailed,
    TelemetryLimits,
    TelemetryTooNew,
    TelemetryUnavailable,
    migrate_telemetry,
    open_telemetry,
)
from tetrad.traces import Span, TraceFilter, TracePage, Window
from tetrad.traces._rows import CUT
from tetrad.traces._schema import STEPS
from tetrad.traces._views import SORTS, Position, SortField
from tetrad.traces._wire import overview_out, trace_item
from tetrad.traces.errors import BadSegment, BadWindow, ChunkTooLarge, SpanNotFound, TraceNotFound

HOSTILE = [
    "'; DROP TABLE spans; --",
    "' OR 1=1 --",
    "{project:String}",
    "%(x)s %s",
    "a\x00b",
    "back\\slash \\N \\x00",
    'line\nbreak\ttab\r"quote"',
    "é漢字🙂 \u202e reversed",
    "[bold]markup[/]",
    "*/ UNION ALL SELECT /*",
]


def find(kept: Kept, project: str, only: TraceFilter | None = None, **given: object) -> list[str]:
    page = kept.traces.find(project, kept.traces.window(None, None), only or TraceFilter(), **given)  # type: ignore[arg-type]
    return [item.head.trace_id for item in page.items]


def every_page(kept: Kept, project: str, window: Window, sort: SortField, *, descending: bool, size: int) -> list[str]:
    found: list[str] = []
    after: Position | None = None
    while True:
        page: TracePage = kept.traces.find(
            project, window, TraceFilter(), sort=sort, descending=descending, after=after, limit=size
        )
        found += [item.head.trace_id for item in page.items]
        after = page.next
        if after is None:
            return found


def test_a_stored_exchange_is_listed_with_the_sums_of_its_calls(kept: Kept, project: str) -> None:
    root, call = an_exchange(project=project, app="assistant", release="sha256:" + "a" * 64, session="s1")
    kept.ship([root, call])
    (item,) = kept.traces.find(project, kept.traces.window(None, None), TraceFilter()).items
    assert item.head.span_id == root.span_id
    assert item.head.release == root.release
    assert item.head.duration_ns == SECOND_NS
    assert item.sums.tokens.total == 175
    assert [(cost.amount, cost.currency) for cost in item.sums.costs] == [("0.0015", "USD")]
    assert item.sums.models == ("local/smollm2-135m",)
    assert (item.sums.spans, item.sums.calls, item.sums.errors) == (2, 1, 0)
    assert item.sums.first_token_ns == SECOND_NS // 5 - SECOND_NS // 100


def test_a_trace_shows_every_field_of_its_spans_as_they_were_sent(kept: Kept, project: str) -> None:
    start = time.time_ns() - 5 * SECOND_NS + 123_456_789
    span = a_span(
        project=project, name="chat", start_ns=start, end_ns=start + 1_234_567_891, status="error", http_status=502,
        status_message="upstream broke", operation="chat", provider="openai", request_model="a", response_model="b",
        response_id="r", finish_reasons=("stop", "length"), usage=Usage(1, 2, 3, 4, 5), cost="0.000000000001",
        stream=True, first_chunk_ns=start + 7, attempt=2, error_type="upstream", app="app", ref="production",
        release="sha256:r", binding="sha256:b", variant="candidate", prompt_name="p", prompt_version="1.2.3",
        code_digest="sha256:c", code_match="mismatch", session="s", user="u", unit="s", key_id="key_1",
        service="tetrad-gateway", attributes={"a.b": "c", "": "empty key"},
    )  # fmt: skip
    kept.ship([span])
    (row,) = kept.traces.show(project, span.trace_id).spans
    for field in Span.__struct_fields__:
        if field in ("project", "end_ns", "usage", "cost", "currency", "first_chunk_ns", "input", "output"):
            continue
        assert getattr(row, field) == getattr(span, field), field
    assert row.duration_ns == 1_234_567_891
    assert row.first_token_ns == 7
    assert row.cost is not None
    assert row.cost.amount == "0.000000000001"
    assert row.tokens is not None
    assert (row.tokens.input, row.tokens.cache_read, row.tokens.cache_write) == (1, 2, 3)
    assert (row.tokens.output, row.tokens.reasoning, row.tokens.total) == (4, 5, 15)


def test_contents_come_back_byte_for_byte_and_lists_have_previews(kept: Kept, project: str) -> None:
    given, gave = bytes(range(256)) * 40, ("é" * 5000).encode()
    span = a_span(project=project, input=given, output=gave)
    kept.ship([span])
    content = kept.traces.span(project, span.trace_id, span.span_id)
    assert (content.input, content.output) == (given, gave)
    assert content.span.output_preview == "é" * 200
    assert (content.span.input_bytes, content.span.output_bytes) == (len(given), len(gave))


def test_the_same_piece_sent_twice_counts_once_everywhere(kept: Kept, project: str) -> None:
    spans = an_exchange(project=project, app="a")
    data = spool(spans)
    first = kept.traces.ingest("w", f"{project}-seg", 0, data)
    again = kept.traces.ingest("w", f"{project}-seg", 0, data)
    other_place = kept.traces.ingest("w", f"{project}-other", 512, data)
    assert (first.duplicate, again.duplicate, other_place.duplicate) == (False, True, False)
    assert (first.next_offset, other_place.next_offset) == (len(data), 512 + len(data))
    stored = kept.store._db.select("SELECT count() FROM spans WHERE project = {p:String}", {"p": project})
    assert stored == [[4]], "the test is about rows that are there twice"
    page = kept.traces.find(project, kept.traces.window(None, None), TraceFilter())
    assert len(page.items) == 1
    assert (page.items[0].sums.spans, page.items[0].sums.tokens.total) == (2, 175)
    trace = kept.traces.show(project, spans[0].trace_id)
    assert (len(trace.spans), trace.sums.spans, trace.sums.costs[0].amount) == (2, 2, "0.0015")
    overview = kept.traces.overview(project, "15m")
    assert (overview.now.requests, overview.now.calls, overview.now.tokens.total) == (1, 1, 175)
    assert overview.now.costs[0].amount == "0.0015"
    assert sum(point.measures.requests for point in overview.series) == 1
    assert overview.apps[0].measures.requests == 1
    for sort in SORTS:
        assert find(kept, project, sort=sort) == [spans[0].trace_id]
    assert find(kept, project, TraceFilter(min_cost="0.002")) == [], "two rows of 0.0015 are one cost of 0.0015"


def test_traces_are_found_by_the_binding_that_they_went_by(kept: Kept, project: str) -> None:
    east, west = (an_exchange(project=project, app="a", binding=f"sha256:{name}") for name in ("east", "west"))
    kept.ship([*east, *west])
    assert find(kept, project, TraceFilter(binding="sha256:east")) == [east[0].trace_id]
    assert find(kept, project, TraceFilter(binding="sha256:north")) == []


def test_many_senders_of_the_same_spans_at_once_count_once(kept: Kept, project: str) -> None:
    spans = [span for _ in range(20) for span in an_exchange(project=project)]
    gate = threading.Barrier(8)
    failed: list[BaseException] = []

    def send(number: int) -> None:
        gate.wait(10)
        try:
            kept.ship(spans, segment=f"{project}-{number % 3}")
        except BaseException as error:  # noqa: BLE001 - handed to the test below
            failed.append(error)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    overview = kept.traces.overview(project, "15m").now
    assert (overview.requests, overview.calls, overview.tokens.total) == (20, 20, 20 * 175)


def test_a_longer_piece_from_the_same_place_adds_what_is_new(kept: Kept, project: str) -> None:
    first, second = an_exchange(project=project), an_exchange(project=project)
    kept.traces.ingest("w", f"{project}-grows", 0, spool(first))
    receipt = kept.traces.ingest("w", f"{project}-grows", 0, spool([*first, *second]))
    assert receipt.duplicate is False
    assert kept.traces.overview(project, "15m").now.requests == 2


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", [True, False])
def test_pages_hold_every_trace_once_in_order_while_others_arrive(
    kept: Kept, project: str, sort: SortField, descending: bool
) -> None:
    base = time.time_ns() - 600 * SECOND_NS
    # ties in every order: starts, durations, costs and tokens repeat
    kept.ship(
        span
        for number in range(25)
        for span in an_exchange(
            project=project,
            start_ns=base + (number // 3) * SECOND_NS,
            end_ns=base + (number // 3 + 1 + number % 4) * SECOND_NS,
            usage=Usage(input=number % 5),
            cost=None if number % 6 == 0 else f"0.{number % 5}",
        )
    )
    window = kept.traces.window(None, None)
    whole = every_page(kept, project, window, sort, descending=descending, size=200)
    assert len(set(whole)) == len(whole) == 25
    found: list[str] = []
    after: Position | None = None
    newcomers: set[str] = set()
    while True:
        page = kept.traces.find(project, window, TraceFilter(), sort=sort, descending=descending, after=after, limit=7)
        found += [item.head.trace_id for item in page.items]
        after = page.next
        if after is None:
            break
        newcomer = an_exchange(project=project, usage=Usage(input=2), cost="0.2")
        newcomers.add(newcomer[0].trace_id)
        kept.ship(newcomer)
    assert len(set(found)) == len(found)
    assert [trace for trace in found if trace not in newcomers] == whole


def test_a_window_includes_its_beginning_and_excludes_its_end_to_the_nanosecond(kept: Kept, project: str) -> None:
    at = (time.time_ns() // (60 * SECOND_NS) - 5) * 60 * SECOND_NS
    spans = [a_span(project=project, start_ns=at + step) for step in (-1, 0, 1)]
    kept.ship(spans)

    def inside(begin: int, end: int) -> set[str]:
        return {item.head.trace_id for item in kept.traces.find(project, Window(begin, end), TraceFilter()).items}

    assert inside(at, at + 1) == {spans[1].trace_id}
    assert inside(at - 1, at) == {spans[0].trace_id}
    assert inside(at - 1, at + 2) == {span.trace_id for span in spans}
    assert inside(at + 2, at + 3) == set()


def test_traces_on_both_sides_of_midnight_utc_are_listed_together(kept: Kept, project: str) -> None:
    midnight = int(datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * SECOND_NS
    root = a_span(project=project, start_ns=midnight - SECOND_NS, end_ns=midnight + SECOND_NS, input=b"before")
    child = a_span(
        project=project,
        trace_id=root.trace_id,
        parent_id=root.span_id,
        kind="CLIENT",
        start_ns=midnight,
        input=b"after",
    )
    kept.ship([root, child])
    trace = kept.traces.show(project, root.trace_id)
    assert [span.span_id for span in trace.spans] == [root.span_id, child.span_id]
    assert kept.traces.span(project, root.trace_id, root.span_id).input == b"before"
    assert kept.traces.span(project, root.trace_id, child.span_id).input == b"after"
    window = Window(midnight - 10 * SECOND_NS, midnight)
    assert kept.traces.find(project, window, TraceFilter()).items[0].sums.spans == 2


def test_a_server_span_stands_for_a_trace_whose_root_lives_elsewhere(kept: Kept, project: str) -> None:
    trace_id, remote = new_trace_id(), new_span_id()
    start = time.time_ns() - 30 * SECOND_NS
    first = an_exchange(project=project, trace_id=trace_id, parent_id=remote, start_ns=start)
    second = an_exchange(project=project, trace_id=trace_id, parent_id=remote, start_ns=start + SECOND_NS)
    kept.ship([*second, *first])
    (item,) = kept.traces.find(project, kept.traces.window(None, None), TraceFilter()).items
    assert item.head.span_id == first[0].span_id
    assert (item.sums.spans, item.sums.tokens.total) == (4, 350)
    root = a_span(project=project, trace_id=trace_id, span_id=remote, kind="INTERNAL", start_ns=start - 1)
    kept.ship([root])
    (item,) = kept.traces.find(project, kept.traces.window(None, None), TraceFilter()).items
    assert item.head.span_id == remote
    assert kept.traces.overview(project, "15m").now.requests == 1


def test_filters_find_what_they_name(kept: Kept, project: str) -> None:
    wanted = an_exchange(
        project=project, app="bot", release="sha256:1", ref="production", session="s1", user="u1", key_id="key_1",
        asked="Where is my PARCEL?", model="gpt-x", cost="2.50", name="POST /v1/chat",
    )  # fmt: skip
    slow = a_span(project=project, status="error", status_message="Teapot", end_ns=time.time_ns() + 90 * SECOND_NS)
    kept.ship([*wanted, *an_exchange(project=project), slow])
    trace = wanted[0].trace_id
    for only in (
        TraceFilter(app="bot"), TraceFilter(release="sha256:1"), TraceFilter(ref="production"),
        TraceFilter(session="s1"), TraceFilter(user="u1"), TraceFilter(key="key_1"), TraceFilter(model="gpt-x"),
        TraceFilter(text="my parcel"),
        TraceFilter(min_cost="2.5"), TraceFilter(name="post /V1"),
        TraceFilter(app="bot", user="u1", model="gpt-x", text="parcel", status="ok"),
    ):  # fmt: skip
        assert find(kept, project, only) == [trace], only
        assert find(kept, "another-project", only) == []
    assert find(kept, project, TraceFilter(status="error")) == [slow.trace_id]
    assert find(kept, project, TraceFilter(text="teapot")) == [slow.trace_id]
    assert find(kept, project, TraceFilter(min_duration_ns=60 * SECOND_NS)) == [slow.trace_id]
    assert find(kept, project, TraceFilter(app="bot", user="u2")) == []
    assert find(kept, project, TraceFilter(text="%")) == [], "a search is for words, not for patterns"
    with pytest.raises(InvalidInput, match="status"):
        find(kept, project, TraceFilter(status="fine"))
    with pytest.raises(InvalidInput, match="money"):
        find(kept, project, TraceFilter(min_cost="lots"))


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_text(kept: Kept, project: str, text: str) -> None:
    span = a_span(
        project=project, name=text, app=text, release=text, ref=text, session=text, user=text, key_id=text,
        request_model=text, status_message=text, input=text.encode(), attributes={text: text},
    )  # fmt: skip
    kept.ship([span, *an_exchange(project=project, app="other")])
    only = TraceFilter(
        app=text, release=text, ref=text, model=text, session=text, user=text, key=text, name=text, text=text
    )
    assert find(kept, project, only) == [span.trace_id]
    (row,) = kept.traces.show(project, span.trace_id).spans
    assert (row.name, row.app, row.attributes, row.input_preview) == (text, text, {text: text}, text)
    assert kept.traces.overview(project, "15m", app=text).now.requests == 1
    assert find(kept, text) == []


def test_a_project_named_like_a_statement_sees_only_itself(kept: Kept, project: str) -> None:
    mine, theirs = a_span(project=f"{project}' OR '1'='1"), a_span(project=project)
    kept.ship([mine, theirs])
    assert find(kept, mine.project) == [mine.trace_id]
    with pytest.raises(TraceNotFound):
        kept.traces.show(mine.project, theirs.trace_id)
    with pytest.raises(SpanNotFound):
        kept.traces.span(mine.project, theirs.trace_id, theirs.span_id)


def test_a_content_is_not_readable_from_another_project(kept: Kept, project: str) -> None:
    secret = f"secret of {project}".encode()
    kept.ship([a_span(project=project, input=secret)])
    thief = a_span(project=f"{project}-b", input=b"mine")
    kept.ship([thief])
    assert kept.traces.span(thief.project, thief.trace_id, thief.span_id).input == b"mine"
    rows = kept.store._db.select(
        "SELECT DISTINCT project FROM payloads WHERE data = {d:String}", {"d": secret.decode()}
    )
    assert rows == [[project]]


def test_what_is_too_large_is_cut_and_says_so(kept: Kept, project: str) -> None:
    span = a_span(
        project=project,
        name="n" * 5000,
        status_message="m" * 50_000,
        attributes={f"key{number}": "v" * 20_000 for number in range(300)},
        input=b"x" * (9 * 1024 * 1024),
    )
    kept.ship([span])
    (row,) = kept.traces.show(project, span.trace_id).spans
    assert row.attributes[CUT] == "attributes,input,name,status_message"
    assert len(row.name) == 1024
    assert sum(len(key) + len(value) for key, value in row.attributes.items()) < 140_000
    content = kept.traces.span(project, span.trace_id, span.span_id)
    assert (len(content.input), content.span.input_bytes) == (8 * 1024 * 1024, 9 * 1024 * 1024)


def test_impossible_spans_are_set_aside_and_the_others_stored(kept: Kept, project: str) -> None:
    good = a_span(project=project)
    bad = [
        a_span(project=project, trace_id="xyz"),
        a_span(project=project, span_id="0" * 16),
        a_span(project=project, start_ns=0),
        a_span(project=project, start_ns=2**63 - 1, end_ns=0),
        a_span(project=""),
    ]
    receipt = kept.traces.ingest("w", f"{project}-bad", 0, spool([*bad, good]))
    assert (receipt.spans, receipt.refused) == (1, 5)
    assert find(kept, project) == [good.trace_id]
    kinds = sorted(path.name.split(".")[-2] for path in kept.quarantine.glob(f"w-{project}-bad-*"))
    assert kinds == ["project", "span_id", "time", "time", "trace_id"]


def test_damaged_frames_are_set_aside_and_the_others_stored(kept: Kept, project: str) -> None:
    spans = [a_span(project=project) for _ in range(3)]
    data = bytearray(spool(spans))
    data[len(spool(spans[:1])) + 20] ^= 1
    before = kept.traces.metrics()["traces_damaged_total"]
    receipt = kept.traces.ingest("w", f"{project}-damaged", 1000, bytes(data))
    assert (receipt.spans, receipt.damaged, receipt.next_offset) == (2, 1, 1000 + len(data))
    assert set(find(kept, project)) == {spans[0].trace_id, spans[2].trace_id}
    assert kept.traces.metrics()["traces_damaged_total"] == before + 1
    (piece,) = kept.quarantine.glob(f"w-{project}-damaged-*.checksum.bad")
    assert piece.read_bytes() == bytes(data)[len(spool(spans[:1])) : len(spool(spans[:2]))]


def test_unknown_costs_are_counted_and_never_zero(kept: Kept, project: str) -> None:
    kept.ship([*an_exchange(project=project, cost=None), *an_exchange(project=project, cost="a lot")])
    items = kept.traces.find(project, kept.traces.window(None, None), TraceFilter()).items
    assert [(item.sums.costs, item.sums.calls_without_cost) for item in items] == [((), 1), ((), 1)]
    overview = kept.traces.overview(project, "1h").now
    assert (overview.costs, overview.calls_without_cost) == ((), 2)


def test_answers_of_unknown_cost_are_told_from_calls_that_failed_and_those_that_broke_off_cost_what_they_did(
    kept: Kept, project: str
) -> None:
    torn = [an_exchange(project=project, key_id="key_1", status="error", cost="0.4") for _ in range(5)]
    unpriced = [an_exchange(project=project, key_id="key_1", cost=None) for _ in range(5)]
    unpriced += [an_exchange(project=project, key_id="key_1", cost=None, status="error")]
    refused = [an_exchange(project=project, key_id="key_1", status="error", cost=None, usage=None) for _ in range(2)]
    kept.ship([span for exchange in (*torn, *unpriced, *refused) for span in exchange])
    (used,) = kept.traces.used(project, kept.traces.window(None, None), "key")
    assert (used.calls, used.errors, used.calls_without_cost, used.answers_without_cost) == (13, 8, 8, 6)
    assert [(cost.amount, cost.currency) for cost in used.costs] == [("2", "USD")]
    assert used.tokens.total == 11 * 175, "the counts stand where they belong"


def test_calls_that_failed_before_they_used_anything_have_no_price_to_be_unknown(kept: Kept, project: str) -> None:
    """Traces and overviews told of them as calls of unknown price, which no price could mend."""
    refused = an_exchange(project=project, status="error", cost=None, usage=None)
    torn = an_exchange(project=project, status="error", cost=None)
    unpriced = an_exchange(project=project, cost=None)
    kept.ship([*refused, *torn, *unpriced])
    items = kept.traces.find(project, kept.traces.window(None, None), TraceFilter()).items
    told = {item.trace_id: item.unpriced_calls for item in map(trace_item, items)}
    assert told == {refused[0].trace_id: 0, torn[0].trace_id: 1, unpriced[0].trace_id: 1}
    view = overview_out("1h", kept.traces.overview(project, "1h"))
    assert (view.totals.calls, view.totals.unpriced_calls) == (3, 2)


def test_what_a_batch_cost_is_the_sum_of_its_lines_calls_and_of_no_other(kept: Kept, project: str) -> None:
    def line(batch: str, **given: object) -> list[Span]:
        root, call = an_exchange(**{"project": project, "key_id": "key_1", "cost": "0.25", **given})
        return [msgspec.structs.replace(root, attributes={"tetrad.batch": batch}), call]

    mine = [*line("b1"), *line("b1", cost="1", currency="EUR"), *line("b1", cost=None), *line("b1", cost="0.5")]
    refused = line("b1", cost=None, usage=None, status="error")
    others = [*line("b2"), *line("b1", project=f"{project}-other"), *line("b1", key_id="key_2")]
    spans = [*mine, *refused, *others, *an_exchange(project=project, key_id="key_1")]
    kept.ship(spans)
    kept.ship(spans, segment=f"{project}-again")
    sums = kept.traces.batch_sums(project, "b1", "key_1", kept.traces.window(None, None))
    assert (sums.calls, sums.answers_without_cost, sums.tokens.total) == (5, 1, 4 * 175)
    assert [(cost.amount, cost.currency) for cost in sums.costs] == [("1", "EUR"), ("0.75", "USD")]
    nothing = kept.traces.batch_sums(project, "b3", "key_1", kept.traces.window(None, None))
    assert (nothing.calls, nothing.costs) == (0, ())


def test_costs_are_exact_and_currencies_stay_apart(kept: Kept, project: str) -> None:
    cents = [span for _ in range(10) for span in an_exchange(project=project, cost="0.1")]
    kept.ship([*cents, *an_exchange(project=project, cost="3", currency="EUR")])
    costs = {cost.currency: cost.amount for cost in kept.traces.overview(project, "15m").now.costs}
    assert costs == {"EUR": "3", "USD": "1"}
    assert len(find(kept, project, TraceFilter(min_cost="1", currency="EUR"))) == 1


def test_an_overview_compares_with_the_time_before_and_has_every_bucket(kept: Kept, project: str) -> None:
    now = time.time_ns()
    for age_s in (10, 20, 1000, 1010, 1020):
        start = now - age_s * SECOND_NS
        kept.ship(an_exchange(project=project, app="bot", start_ns=start, end_ns=start + SECOND_NS, status="ok"))
    kept.ship([a_span(project=project, start_ns=now - 15 * SECOND_NS, status="error")])
    overview = kept.traces.overview(project, "15m")
    assert (overview.now.requests, overview.now.errors, overview.now.calls) == (3, 1, 2)
    assert (overview.before.requests, overview.before.errors) == (3, 0)
    assert len(overview.series) == 60
    assert sum(point.measures.requests for point in overview.series) == 3
    assert overview.now.latency_p50_ms == 1000
    assert overview.now.first_token_p50_ms == 190
    assert (overview.models[0].name, overview.models[0].measures.calls) == ("local/smollm2-135m", 2)
    assert [top.name for top in overview.apps] == ["bot"]
    empty = kept.traces.overview("nobody", "7d")
    assert (empty.now.requests, empty.now.latency_p95_ms, len(empty.series)) == (0, None, 56)
    with pytest.raises(BadWindow):
        kept.traces.overview(project, "2h")  # type: ignore[arg-type]


def test_a_trace_of_fifty_thousand_spans_comes_in_pages_quickly(kept: Kept, project: str) -> None:
    root = a_span(project=project)
    children = [
        a_span(
            project=project, trace_id=root.trace_id, parent_id=root.span_id, kind="INTERNAL", start_ns=root.start_ns + n
        )
        for n in range(1, 50_000)
    ]
    kept.ship([root, *children])
    began = time.perf_counter()
    page = kept.traces.show(project, root.trace_id)
    took_s = time.perf_counter() - began
    assert (len(page.spans), page.sums.spans) == (1000, 50_000)
    assert took_s < 5, "measured: well under a second on an idle machine"
    seen = {span.span_id for span in page.spans}
    for _ in range(2):
        assert page.next is not None
        page = kept.traces.show(project, root.trace_id, after=page.next, hint_ns=root.start_ns)
        assert not seen & {span.span_id for span in page.spans}
        seen |= {span.span_id for span in page.spans}
    assert len(seen) == 3000


def test_followers_hear_of_their_project_once_and_only_of_it(kept: Kept, project: str) -> None:
    woken = threading.Event()
    follower = kept.traces.follow(project, woken.set)
    try:
        spans = an_exchange(project=project)
        kept.ship(an_exchange(project=f"{project}-other"))
        kept.ship(spans)
        assert woken.wait(10)
        items, missed = follower.take()
        assert ([item.head.trace_id for item in items], missed) == ([spans[0].trace_id], 0)
        assert items[0].sums.tokens.total == 175
        kept.ship(spans)
        last = an_exchange(project=project)
        kept.ship(last)
        heard: list[str] = []
        wait_until(lambda: heard.extend(item.head.trace_id for item in follower.take()[0]) or last[0].trace_id in heard)
        assert heard == [last[0].trace_id]
        again = kept.traces.arrived_after(project, items[0].head.ingested_ns - 1, "")
        assert {item.head.trace_id for item in again} == {spans[0].trace_id, last[0].trace_id}
    finally:
        kept.traces.unfollow(follower)


def test_retention_drops_whole_days_and_nothing_else(kept: Kept, project: str) -> None:
    day_ns = 86_400 * SECOND_NS
    old = [a_span(project=project, start_ns=time.time_ns() - days * day_ns, input=b"old") for days in (20, 30)]
    new = a_span(project=project, start_ns=time.time_ns() - 9 * day_ns, input=b"new")
    kept.ship([*old, new])
    dropped = kept.traces.retain(10)
    assert (len(dropped.days), dropped.rows) == (2, 2)
    window = kept.traces.window(0, None)
    assert [item.head.trace_id for item in kept.traces.find(project, window, TraceFilter()).items] == [new.trace_id]
    assert kept.traces.span(project, new.trace_id, new.span_id).input == b"new"
    assert kept.traces.retain(10).days == ()
    with pytest.raises(InvalidInput):
        kept.traces.retain(0)


def test_what_cannot_be_asked_is_refused_with_a_reason(kept: Kept, project: str) -> None:
    with pytest.raises(BadWindow):
        kept.traces.window(20, 10)
    with pytest.raises(TraceNotFound):
        kept.traces.show(project, "a" * 32)
    with pytest.raises(InvalidInput, match="trace id"):
        kept.traces.show(project, "../../etc")
    with pytest.raises(BadSegment):
        kept.traces.ingest("..", "a/b", 0, b"")
    with pytest.raises(BadSegment):
        kept.traces.ingest("w", "s", -1, b"")
    with pytest.raises(ChunkTooLarge):
        kept.traces.ingest("w", "s", 0, bytes(64 * 1024 * 1024 + 1))
    window = kept.traces.window(-(2**62), 2**63 - 1)
    assert kept.traces.find(project, window, TraceFilter()).items == ()


def test_readers_cannot_write_and_cannot_take_the_machine(kept: Kept) -> None:
    db = kept.store._db
    with pytest.raises(TelemetryFailed, match="readonly"):
        db.select("INSERT INTO spans (project) VALUES ('x')")
    with pytest.raises(TelemetryFailed, match="readonly"):
        db.select("DROP TABLE spans")
    with pytest.raises(QueryTooExpensive, match="memory"):
        db.select("SELECT length(groupArray(toString(number))) FROM numbers(100000000)")
    assert db.select("SELECT 1") == [[1]]


def test_a_store_of_a_newer_version_is_refused_and_left_alone(kept: Kept) -> None:
    db = kept.store._db
    assert migrate_telemetry(db, STEPS) == []
    db.command("INSERT INTO schema_steps (version, name) VALUES (99, 'from the future')")
    try:
        with pytest.raises(TelemetryTooNew, match="99"):
            migrate_telemetry(db, [*STEPS, Step(2, "never", ("CREATE TABLE never (a UInt8) ENGINE = Memory",))])
        assert db.select("SELECT count() FROM system.tables WHERE name = 'never'") == [[0]]
    finally:
        db.command("ALTER TABLE schema_steps DELETE WHERE version = 99 SETTINGS mutations_sync = 2")


def test_a_process_opens_one_store_only_and_strange_addresses_are_refused(kept: Kept, tmp_path: object) -> None:
    with pytest.raises(TelemetryUnavailable):
        open_telemetry(f"chdb://{tmp_path}/second")
    with pytest.raises(TelemetryUnavailable, match="no way"):
        open_telemetry("sqlite:///x")
    with pytest.raises(TelemetryUnavailable):
        open_telemetry("http://127.0.0.1:9/none", TelemetryLimits(query_timeout_s=1))


def test_the_code_that_callers_announced_is_told_once_for_each_of_them(kept: Kept, project: str) -> None:
    old, new = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    twice = an_exchange(project=project, app="bot", code_digest=new, key_id="key_a", service="web")
    shipped = [
        *twice,
        *an_exchange(project=project, app="bot", code_digest=new, key_id="key_a", service="web"),
        *an_exchange(
            project=project, app="bot", code_digest=old, key_id="key_b", start_ns=time.time_ns() - 300 * SECOND_NS
        ),
        *an_exchange(project=project, app="bot"),
        *an_exchange(project=project, app="other", code_digest=old),
        *an_exchange(project=project, app="bot", code_digest=old, start_ns=time.time_ns() - 3600 * SECOND_NS),
    ]
    kept.ship(shipped)
    kept.ship(twice)
    found = kept.traces.announced(project, "bot", last_s=900)
    assert [(each.code, each.key_id, each.service, each.requests) for each in found] == [
        (new, "key_a", "web", 2),
        (old, "key_b", "", 1),
    ]
    assert found[0].last_ns > found[1].last_ns
    assert [each.code for each in kept.traces.announced(project, "bot", last_s=120)] == [new]
    assert kept.traces.announced("nobody", "bot", last_s=900) == []
