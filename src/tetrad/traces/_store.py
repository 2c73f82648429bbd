"""Spans in the column store. Every statement names its project, and every value is a parameter."""

# ruff: noqa: S608 - statements are put together from this module's own text; every value is a parameter

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

from tetrad.kit.telemetry_db import TelemetryDb, TelemetryLimits, migrate_telemetry, open_telemetry
from tetrad.traces._rows import COLUMNS, DAY_NS, ROOT, SERVER, Prepared, encode_payloads
from tetrad.traces._schema import STEPS
from tetrad.traces._views import (
    Announced,
    CachedBy,
    CachePoint,
    CacheUse,
    CallFailure,
    CallPoint,
    Cost,
    Dropped,
    Measures,
    Overview,
    Point,
    Position,
    SortField,
    SpanContent,
    SpanRow,
    StoreSize,
    Tokens,
    Top,
    TraceFilter,
    TracePage,
    TraceSummary,
    TraceSums,
    Traffic,
    UpstreamTraffic,
    Used,
    UsedBy,
    Window,
)

log = logging.getLogger(__name__)
_EPOCH = date(1970, 1, 1)
_TOP = 10
_MOST_GROUPS = 10_000
_Group = tuple[Any, ...]
_TRACE_LEAD_NS = DAY_NS // 24
_TRACE_TAIL_NS = DAY_NS
"""How long before and after the span that stands for a trace others may begin; lists add up what lies within."""

_SPAN = """
    trace_id, span_id, parent_id, name, kind, status, status_message, toUnixTimestamp64Nano(start), duration_ns,
    ttft_ns, operation, provider, request_model, response_model, response_id, finish_reasons, has_usage, input_tokens,
    cache_read_tokens, cache_write_tokens, output_tokens, reasoning_tokens, toString(cost), currency, stream, attempt,
    http_status, error_type, app, ref, release, binding, variant, prompt_name, prompt_version, code_digest, code_match,
    session, user, unit, key_id, service, input_preview, input_digest, input_bytes, output_preview, output_digest,
    output_bytes, attributes, toUnixTimestamp64Nano(ingested)
"""
_IN_WINDOW = """
    project = {project:String}
    AND start >= fromUnixTimestamp64Nano({from:Int64}, 'UTC') AND start < fromUnixTimestamp64Nano({to:Int64}, 'UTC')
"""
_IN_SLICE = """
    start >= fromUnixTimestamp64Nano({slice_from:Int64}, 'UTC')
    AND start < fromUnixTimestamp64Nano({slice_to:Int64}, 'UTC')
"""
_IN_TAIL = """
    project = {project:String}
    AND start >= fromUnixTimestamp64Nano({from:Int64}, 'UTC') AND start < fromUnixTimestamp64Nano({tail:Int64}, 'UTC')
"""
# A trace is listed once, by its root; where no root is stored (the caller's own spans are in another system), by the
# first server's span.
_HEAD = f"""
    (entry = {ROOT} OR (entry = {SERVER} AND (trace_id, span_id) IN (
        SELECT trace_id, argMin(span_id, (start, span_id)) FROM spans
        WHERE {_IN_WINDOW} AND entry = {SERVER} AND trace_id NOT IN (
            SELECT trace_id FROM spans WHERE {_IN_WINDOW} AND entry = {ROOT} AND trace_id IN (
                SELECT trace_id FROM spans WHERE {_IN_WINDOW} AND entry = {SERVER}
            )
        )
        GROUP BY trace_id
    )))
"""
_TOKENS = "input_tokens + cache_read_tokens + cache_write_tokens + output_tokens + reasoning_tokens"
_SUMS = f"""
    count(), countIf(status = 'error'), countIf(call = 1), countIf(call = 1 AND cost IS NULL),
    countIf(call = 1 AND cost IS NULL AND (status != 'error' OR has_usage = 1)),
    sum(input_tokens), sum(cache_read_tokens), sum(cache_write_tokens), sum(output_tokens), sum(reasoning_tokens),
    sum({_TOKENS}), sumMapIf(map(toString(currency), assumeNotNull(cost)), cost IS NOT NULL) AS by_currency,
    mapKeys(by_currency), arrayMap(amount -> toString(amount), mapValues(by_currency))
"""
_MODELS = """
    arraySort(groupUniqArrayIf(16)(if(response_model != '', response_model, request_model), call = 1)),
    minIf(ttft_ns, call = 1 AND ttft_ns > 0)
"""
_ONCE = "LIMIT 1 BY trace_id, span_id"
_FILTERS: dict[str, str] = {
    "app": "app = {app:String}",
    "release": "release = {release:String}",
    "binding": "binding = {binding:String}",
    "ref": "ref = {ref:String}",
    "status": "status = {status:String}",
    "session": "session = {session:String}",
    "user": "user = {user:String}",
    "key": "key_id = {key:String}",
    "name": "positionCaseInsensitiveUTF8(name, {name:String}) > 0",
    "min_duration_ns": "duration_ns >= {min_duration_ns:UInt64}",
    "model": f"""trace_id IN (SELECT trace_id FROM spans WHERE {_IN_TAIL}
        AND (request_model = {{model:String}} OR response_model = {{model:String}}))""",
    "text": f"""trace_id IN (SELECT trace_id FROM spans WHERE {_IN_TAIL}
        AND (positionCaseInsensitiveUTF8(input_preview, {{text:String}}) > 0
            OR positionCaseInsensitiveUTF8(output_preview, {{text:String}}) > 0
            OR positionCaseInsensitiveUTF8(status_message, {{text:String}}) > 0))""",
    "min_cost": f"""trace_id IN (SELECT trace_id FROM spans FINAL WHERE {_IN_TAIL} AND currency = {{currency:String}}
        GROUP BY trace_id HAVING sum(cost) >= {{min_cost:Decimal(38, 12)}})""",
}
_ADDED_UP = f"""(
    SELECT trace_id AS summed_trace, sum({_TOKENS}) AS tokens, sumIf(cost, currency = {{currency:String}}) AS cost_sum,
        minIf(ttft_ns, call = 1 AND ttft_ns > 0) AS first_token
    FROM spans FINAL WHERE {_IN_TAIL} GROUP BY trace_id
)"""
# sort field: what it sorts by, the type of that, and whether it needs the sums of whole traces
_SORTS: dict[SortField, tuple[str, str, bool]] = {
    "start": ("toUnixTimestamp64Nano(start)", "Int64", False),
    "duration": ("duration_ns", "UInt64", False),
    "tokens": ("ifNull(tokens, 0)", "UInt64", True),
    "cost": ("ifNull(cost_sum, toDecimal128(-1, 12))", "Decimal(38, 12)", True),
    "first_token": ("if(ttft_ns > 0, ttft_ns, ifNull(first_token, 0))", "UInt64", True),
}


_USED_BY: dict[UsedBy, str] = {
    "key": "key_id",
    "app": "app",
    "model": "if(attributes['tetrad.model'] != '', attributes['tetrad.model'], request_model)",
    "user": "user",
    "release": "release",
}


class ColumnStore:
    """`SpanStore` on chDB or ClickHouse."""

    def __init__(self, db: TelemetryDb) -> None:
        self._db = db

    def migrate(self) -> list[int]:
        """Bring the tables to this code's schema and the first insert's costs to the start; return the steps taken."""
        steps = migrate_telemetry(self._db, STEPS)
        self._db.select(f"SELECT {_SPAN} FROM spans WHERE project = '' {_ONCE} LIMIT 1")
        damaged = self._damaged_parts()
        if damaged:
            log.error(
                "%d parts of the telemetry store are damaged and were set aside; their spans are not shown. "
                "Restore the folder `telemetry` from a copy, or live without them",
                damaged,
            )
        return steps

    def close(self) -> None:
        """Let go of the store."""
        self._db.close()

    def add(self, prepared: Prepared) -> None:
        # Payloads go first: a span that can be seen has its content.
        if prepared.payloads:
            rows = encode_payloads(list(prepared.payloads.values()))
            self._db.insert("payloads", ("project", "day", "digest", "size", "data"), rows, binary=True)
        if prepared.rows:
            self._db.insert("spans", COLUMNS, b"\n".join(prepared.rows))

    def traces(
        self,
        project: str,
        window: Window,
        only: TraceFilter,
        sort: SortField,
        descending: bool,
        after: Position | None,
        limit: int,
    ) -> TracePage:
        parameters: dict[str, object] = {**_window(project, window), "currency": only.currency, "limit": limit + 1}
        conditions = [_IN_WINDOW, _HEAD]
        for field, condition in _FILTERS.items():
            value = getattr(only, field)
            if value:
                conditions.append(condition)
                parameters[field] = value
        key, kind, summed = _SORTS[sort]
        direction, beyond = ("DESC", "<") if descending else ("ASC", ">")
        if after is not None:
            conditions.append(f"({key}, trace_id) {beyond} ({{value:{kind}}}, {{trace_id:String}})")
            parameters |= {"value": after.value, "trace_id": after.trace_id}
        source = f"spans LEFT JOIN {_ADDED_UP} AS sums ON trace_id = summed_trace" if summed else "spans"
        # Narrow columns first: the order needs few of them, and only the page's rows are read whole.
        statement = (
            f"SELECT trace_id, span_id, toUnixTimestamp64Nano(start), toString({key}) FROM {source} "
            f"WHERE {' AND '.join(conditions)} AND {_IN_SLICE} "
            f"ORDER BY {key} {direction}, trace_id {direction} LIMIT 1 BY trace_id LIMIT {{limit:UInt32}}"
        )
        found: list[list[Any]] = []
        for piece in _slices(window, sort, descending, after):
            bounds = {"slice_from": piece.from_ns, "slice_to": piece.to_ns}
            found = self._db.select(statement, {**parameters, **bounds})
            if len(found) > limit:
                break
        heads = self._rows(project, found[:limit])
        last = Position(str(found[limit - 1][3]), found[limit - 1][0]) if len(found) > limit else None
        return TracePage(self._with_sums(project, heads), last)

    def _rows(self, project: str, places: Sequence[Sequence[Any]]) -> list[SpanRow]:
        """Read spans whole, in the order of their places (trace, span, start)."""
        if not places:
            return []
        starts = [place[2] for place in places]
        found = self._db.select(
            f"SELECT {_SPAN} FROM spans WHERE {_IN_WINDOW} AND trace_id IN {{ids:Array(String)}} "
            f"AND span_id IN {{spans:Array(String)}} {_ONCE}",
            {
                **_window(project, Window(min(starts), max(starts) + 1)),
                "ids": [place[0] for place in places],
                "spans": [place[1] for place in places],
            },
        )
        spans = {(row[0], row[1]): _span(row) for row in found}
        return [spans[place[0], place[1]] for place in places if (place[0], place[1]) in spans]

    def summaries(self, project: str, trace_ids: Sequence[str], window: Window) -> list[TraceSummary]:
        found = self._db.select(
            f"SELECT {_SPAN} FROM spans WHERE {_IN_WINDOW} AND trace_id IN {{ids:Array(String)}} AND {_HEAD} "
            "ORDER BY start, trace_id LIMIT 1 BY trace_id",
            {**_window(project, window), "ids": list(trace_ids)},
        )
        return list(self._with_sums(project, [_span(row) for row in found]))

    def arrived_after(self, project: str, ingested_ns: int, trace_id: str, limit: int) -> list[TraceSummary]:
        # What arrives now began at most a few days ago: the bound spares the scan of everything older.
        window = Window(ingested_ns - 7 * DAY_NS, ingested_ns + 8 * DAY_NS)
        found = self._db.select(
            f"SELECT {_SPAN} FROM spans WHERE {_IN_WINDOW} AND {_HEAD} AND (ingested, trace_id) > "
            "(fromUnixTimestamp64Nano({ingested:Int64}, 'UTC'), {trace_id:String}) "
            "ORDER BY ingested, trace_id LIMIT 1 BY trace_id LIMIT {limit:UInt32}",
            {**_window(project, window), "ingested": ingested_ns, "trace_id": trace_id, "limit": limit},
        )
        return list(self._with_sums(project, [_span(row) for row in found]))

    def locate(self, project: str, trace_id: str, hint_ns: int | None) -> tuple[Window, TraceSums] | None:
        now_ns = int(datetime.now(UTC).timestamp()) * 1_000_000_000
        far = now_ns + 10 * DAY_NS
        stretches = [Window(now_ns - 3 * DAY_NS, far), Window(now_ns - 40 * DAY_NS, far), Window(0, far)]
        if hint_ns is not None:
            stretches.insert(0, Window(hint_ns - DAY_NS, hint_ns + DAY_NS))
        for stretch in stretches:
            found = self._db.select(
                f"SELECT toUnixTimestamp64Nano(min(start)), toUnixTimestamp64Nano(max(start)), "
                f"max(toUnixTimestamp64Nano(start) + toInt64(duration_ns)), {_SUMS}, {_MODELS} FROM "
                f"(SELECT * FROM spans WHERE {_IN_WINDOW} AND {_THIS_TRACE} {_ONCE}) HAVING count() > 0",
                {**_window(project, stretch), "trace_id": trace_id},
            )
            if found:
                first, _, end, *sums = found[0]
                return Window(first, max(end, found[0][1] + 1)), _sums(sums)
        return None

    def spans(
        self, project: str, trace_id: str, window: Window, after: tuple[int, str] | None, limit: int
    ) -> list[SpanRow]:
        start, span_id = after or (0, "")
        found = self._db.select(
            f"SELECT {_SPAN} FROM spans WHERE {_IN_WINDOW} AND {_THIS_TRACE} "
            "AND (start, span_id) > (fromUnixTimestamp64Nano({start:Int64}, 'UTC'), {span_id:String}) "
            f"ORDER BY start, span_id {_ONCE} LIMIT {{limit:UInt32}}",
            {**_window(project, window), "trace_id": trace_id, "start": start, "span_id": span_id, "limit": limit},
        )
        return [_span(row) for row in found]

    def content(self, project: str, trace_id: str, span_id: str, window: Window) -> SpanContent | None:
        found = self._db.select(
            f"SELECT {_SPAN} FROM spans WHERE {_IN_WINDOW} AND {_THIS_TRACE} AND span_id = {{span_id:String}} LIMIT 1",
            {**_window(project, window), "trace_id": trace_id, "span_id": span_id},
        )
        if not found:
            return None
        span = _span(found[0])
        day = str(_EPOCH + timedelta(days=span.start_ns // DAY_NS))
        return SpanContent(
            span, self._payload(project, day, span.input_digest), self._payload(project, day, span.output_digest)
        )

    def _payload(self, project: str, day: str, digest: str) -> bytes:
        if not digest:
            return b""
        return self._db.select_bytes(
            "SELECT data FROM payloads WHERE project = {project:String} AND day = {day:Date} "
            "AND digest = {digest:String} LIMIT 1",
            {"project": project, "day": day, "digest": digest},
        )

    def _with_sums(self, project: str, heads: Sequence[SpanRow]) -> tuple[TraceSummary, ...]:
        if not heads:
            return ()
        starts = [head.start_ns for head in heads]
        window = Window(min(starts) - _TRACE_LEAD_NS, max(starts) + _TRACE_TAIL_NS)
        found = self._db.select(
            f"SELECT trace_id, {_SUMS}, {_MODELS} FROM (SELECT * FROM spans WHERE {_IN_WINDOW} "
            f"AND trace_id IN {{ids:Array(String)}} {_ONCE}) GROUP BY trace_id",
            {**_window(project, window), "ids": [head.trace_id for head in heads]},
        )
        sums = {row[0]: _sums(row[1:]) for row in found}
        return tuple(TraceSummary(head, sums.get(head.trace_id, TraceSums())) for head in heads)

    def overview(self, project: str, window: Window, bucket_s: int, app: str) -> Overview:
        scope = {"app": app, "bucket": bucket_s}
        now = self._grouped({**_window(project, window), **scope})
        before = self._grouped({**_window(project, window.before()), **scope})
        return Overview(
            window=window,
            bucket_s=bucket_s,
            now=_pick(now, _WHOLE).get(("", "", "", 0), Measures()),
            before=_pick(before, _WHOLE).get(("", "", "", 0), Measures()),
            series=tuple(Point(key[3], found) for key, found in sorted(_pick(now, _BY_TIME).items())),
            models=_top(_pick(now, _BY_MODEL), name=2),
            releases=_top(_pick(now, _BY_RELEASE), name=1),
            apps=_top(_pick(now, _BY_APP), name=0),
        )

    def announced(self, project: str, window: Window, app: str, limit: int) -> list[Announced]:
        found = self._db.select(
            "SELECT code_digest, key_id, service, uniqExact(trace_id, span_id), "
            "toUnixTimestamp64Nano(max(start)) AS last "
            f"FROM spans WHERE {_IN_WINDOW} AND app = {{app:String}} AND code_digest != '' "
            "AND kind = 'SERVER' GROUP BY code_digest, key_id, service "
            "ORDER BY last DESC, code_digest, key_id, service LIMIT {limit:UInt32}",
            {**_window(project, window), "app": app, "limit": limit},
        )
        return [Announced(*row) for row in found]

    def used(self, project: str, window: Window, by: UsedBy, limit: int) -> list[Used]:
        found = self._db.select(
            f"SELECT toString({_USED_BY[by]}) AS used_by, {_SUMS} FROM spans FINAL WHERE {_IN_WINDOW} AND call = 1 "
            f"GROUP BY used_by ORDER BY countIf(call = 1) DESC, used_by LIMIT {{limit:UInt32}}",
            {**_window(project, window), "limit": limit},
        )
        return [_used(row) for row in found]

    def batch_sums(self, project: str, batch: str, key: str, window: Window) -> TraceSums:
        found = self._db.select(
            f"SELECT {_SUMS}, {_MODELS} FROM (SELECT * FROM spans WHERE {_IN_TAIL} AND trace_id IN ("
            f"SELECT trace_id FROM spans WHERE {_IN_WINDOW} AND key_id = {{key:String}} "
            f"AND attributes['tetrad.batch'] = {{batch:String}}) {_ONCE}) HAVING count() > 0",
            {**_window(project, window), "batch": batch, "key": key},
        )
        return _sums(found[0]) if found else TraceSums()

    def traffic(self, project: str, window: Window, bucket_s: int, failures: int) -> Traffic:
        parameters = {**_window(project, window), "bucket": bucket_s, "limit": _MOST_UPSTREAMS, "failures": failures}
        found = self._db.select(
            f"SELECT {_UPSTREAM} AS upstream, count(), countIf({_FAILED}), countIf({_GIVEN_UP}), "
            "quantilesIf(0.5, 0.95)(duration_ns / 1e6, status != 'error'), "
            "quantilesIf(0.5, 0.95)(ttft_ns / 1e6, ttft_ns > 0 AND status != 'error') "
            f"FROM spans FINAL WHERE {_IN_WINDOW} AND {_MADE} "
            "GROUP BY upstream ORDER BY count() DESC, upstream LIMIT {limit:UInt32}",
            parameters,
        )
        points: dict[str, list[CallPoint]] = {}
        for upstream, at, calls, errors in self._db.select(
            f"SELECT {_UPSTREAM} AS upstream, {_BUCKET} AS at, count(), countIf({_FAILED}) "
            f"FROM spans FINAL WHERE {_IN_WINDOW} AND {_MADE} GROUP BY upstream, at ORDER BY at, upstream "
            f"LIMIT {_MOST_GROUPS}",
            parameters,
        ):
            points.setdefault(upstream, []).append(CallPoint(at, calls, errors))
        failed: dict[str, list[CallFailure]] = {}
        for upstream, *failure in self._db.select(
            f"SELECT {_UPSTREAM} AS upstream, toUnixTimestamp64Nano(start), toString({_USED_BY['model']}), error_type, "
            f"status_message, http_status, trace_id FROM spans FINAL WHERE {_IN_WINDOW} AND {_MADE} AND {_FAILED} "
            "ORDER BY start DESC, span_id LIMIT {failures:UInt32} BY upstream LIMIT {limit:UInt32}",
            {**parameters, "limit": failures * _MOST_UPSTREAMS},
        ):
            failed.setdefault(upstream, []).append(CallFailure(*failure))
        upstreams = [
            UpstreamTraffic(
                name, calls, errors, given_up, p50, p95, first_p50, first_p95,
                tuple(failed.get(name, ())), tuple(points.get(name, ())),
            )
            for name, calls, errors, given_up, (p50, p95), (first_p50, first_p95) in found
        ]  # fmt: skip
        return Traffic(window, bucket_s, tuple(upstreams))

    def cache_use(self, project: str, window: Window, bucket_s: int) -> CacheUse:
        parameters = {**_window(project, window), "bucket": bucket_s}
        found = self._db.select(
            f"SELECT toString(app) AS by_app, {_CACHED} FROM spans FINAL WHERE {_IN_WINDOW} AND {_LOOKED_UP} "
            f"GROUP BY by_app ORDER BY count() DESC, by_app LIMIT {_MOST_GROUPS}",
            parameters,
        )
        points = self._db.select(
            f"SELECT {_BUCKET} AS at, countIf({_CACHE} = 'hit'), countIf({_CACHE} != 'hit') "
            f"FROM spans FINAL WHERE {_IN_WINDOW} AND {_LOOKED_UP} GROUP BY at ORDER BY at LIMIT {_MOST_GROUPS}",
            parameters,
        )
        apps = [
            CachedBy(app, hits, similar, shared, misses, refreshes, unpriced, tokens, ms, _costs(currencies, amounts))
            for app, hits, similar, shared, misses, refreshes, unpriced, tokens, ms, _, currencies, amounts in found
        ]
        return CacheUse(window, bucket_s, tuple(apps), tuple(CachePoint(*row) for row in points))

    def _grouped(self, parameters: Mapping[str, object]) -> dict[_Group, Measures]:
        """Add a window up in several ways in one pass: requests by the spans that stand for traces, the rest by calls.

        By models there are no requests: there, calls count as such.
        """
        scope = (
            f"FROM (SELECT *, {_MODEL} AS model, {_BUCKET} AS at FROM spans FINAL WHERE {_IN_WINDOW} "
            "AND ({app:String} = '' OR app = {app:String}) AND "
        )
        ending = f"GROUP BY GROUPING SETS ({_EVERY_WAY}) LIMIT {_MOST_GROUPS}"
        heads = self._db.select(
            f"SELECT {_GROUP}, count(), countIf(status = 'error'), {_LATENCY} {scope} {_HEAD}) {ending}", parameters
        )
        calls = self._db.select(
            f"SELECT {_GROUP}, {_SUMS}, quantilesIf(0.5, 0.95)(ttft_ns / 1e6, ttft_ns > 0), {_LATENCY} "
            f"{scope} call = 1) {ending}",
            parameters,
        )
        requests = {tuple(row[:5]): row[5:] for row in heads}
        called = {tuple(row[:5]): row[5:] for row in calls}
        measures: dict[_Group, Measures] = {}
        for key in {*requests, *called}:
            found = called.get(key)
            nothing = (0, 0, (None, None))
            asked = requests.get(key, nothing)
            if key[0] == _BY_MODEL and found is not None:
                asked = (found[2], found[1], found[15])
            elif key[0] == _BY_MODEL:
                continue
            measures[key] = _measure(asked, found)
        return measures

    def drop_before(self, day: int) -> Dropped:
        limit = (_EPOCH + timedelta(days=day)).isoformat()
        found = self._db.select(
            "SELECT table, partition, sum(rows) FROM system.parts WHERE active AND database = currentDatabase() "
            "AND table IN ('spans', 'payloads') AND partition < {limit:String} GROUP BY table, partition ORDER BY 1, 2",
            {"limit": limit},
        )
        for table, partition, _ in found:
            named = "spans" if table == "spans" else "payloads"
            self._db.command(f"ALTER TABLE {named} DROP PARTITION {{day:String}}", {"day": partition})
        spans = [row for row in found if row[0] == "spans"]
        return Dropped(tuple(row[1] for row in spans), sum(int(row[2]) for row in spans))

    def size(self) -> StoreSize:
        rows = self._db.select(
            "SELECT sumIf(rows, table = 'spans'), sum(bytes_on_disk), minIf(partition, table = 'spans') "
            "FROM system.parts WHERE active AND database = currentDatabase() AND table IN ('spans', 'payloads')"
        )
        spans, size, oldest = rows[0]
        return StoreSize(int(spans), int(size), str(oldest), self._damaged_parts())

    def _damaged_parts(self) -> int:
        """Count the parts that the engine set aside at its start because they cannot be read: it does so unsaid."""
        rows = self._db.select(
            "SELECT count() FROM system.detached_parts WHERE database = currentDatabase() "
            "AND table IN ('spans', 'payloads') AND startsWith(reason, 'broken')"
        )
        return int(rows[0][0])


_MOST_UPSTREAMS = 500
_UPSTREAM = "attributes['upstream']"
_CACHE = "attributes['tetrad.cache']"
# a call that left for an upstream: what the cache answered bears the upstream's name, and did not
_MADE = f"call = 1 AND {_UPSTREAM} != '' AND {_CACHE} != 'hit'"
_GIVEN_UP = "(status = 'error' AND error_type = 'cancelled')"
_FAILED = "(status = 'error' AND error_type != 'cancelled')"
_LOOKED_UP = f"call = 1 AND {_CACHE} IN ('hit', 'miss', 'refresh')"
_SAVED = "splitByChar(' ', attributes['cache.saved_cost'])"
_PRICED_HIT = f"{_CACHE} = 'hit' AND attributes['cache.saved_cost'] != ''"
_CACHED = f"""
    countIf({_CACHE} = 'hit'), countIf({_CACHE} = 'hit' AND attributes['cache.kind'] = 'similar'),
    countIf({_CACHE} = 'hit' AND attributes['cache.level'] = 'server'),
    countIf({_CACHE} = 'miss'), countIf({_CACHE} = 'refresh'),
    countIf({_CACHE} = 'hit' AND attributes['cache.saved_cost'] = ''),
    sum(toUInt64OrZero(attributes['cache.saved_tokens'])), sum(toUInt64OrZero(attributes['cache.saved_ms'])),
    sumMapIf(map({_SAVED}[2], toDecimal128OrZero({_SAVED}[1], 12)), {_PRICED_HIT}) AS by_currency,
    mapKeys(by_currency), arrayMap(amount -> toString(amount), mapValues(by_currency))
"""
_BUCKET = (
    "toInt64(intDiv(toUnixTimestamp64Nano(start) - {from:Int64}, toInt64({bucket:UInt32}) * 1000000000) "
    "* toInt64({bucket:UInt32}) * 1000000000 + {from:Int64})"
)
_MODEL = "if(response_model != '', response_model, request_model)"
_LATENCY = "quantiles(0.5, 0.95)(duration_ns / 1e6)"
_GROUP = "grouping(app, release, model, at), toString(app), toString(release), toString(model), at"
_EVERY_WAY = "(), (at), (model), (release, app), (app)"
# what grouping() says: one bit for each of app, release, model, time, set where it was not grouped by
_WHOLE, _BY_TIME, _BY_MODEL, _BY_RELEASE, _BY_APP = 0b1111, 0b1110, 0b1101, 0b0011, 0b0111
_THIS_TRACE = "trace_id = {trace_id:String} AND xxHash32(trace_id) = xxHash32({trace_id:String})"


def _window(project: str, window: Window) -> dict[str, object]:
    return {
        "project": project,
        "from": window.from_ns,
        "to": window.to_ns,
        "tail": window.to_ns + _TRACE_TAIL_NS,
    }


def _span(row: Sequence[Any]) -> SpanRow:
    reasons, has_usage, fresh, read, write, output, reasoning, cost, currency, stream = row[15:25]
    tokens = Tokens(fresh, read, write, output, reasoning, fresh + read + write + output + reasoning)
    values = (
        *row[:15],
        tuple(reasons),
        tokens if has_usage else None,
        None if cost is None else Cost(cost, currency),
        bool(stream),
        *row[25:50],
    )
    return SpanRow(*values)


def _costs(currencies: Sequence[str], amounts: Sequence[str]) -> tuple[Cost, ...]:
    return tuple(Cost(amount, currency) for currency, amount in zip(currencies, amounts, strict=True))


def _sums(row: Sequence[Any]) -> TraceSums:
    spans, errors, calls, unpriced, unpriced_answers, *tokens = row[:11]
    _, currencies, amounts, models, first = row[11:16]
    return TraceSums(
        spans, errors, calls, unpriced, Tokens(*tokens), _costs(currencies, amounts), tuple(models), int(first),
        unpriced_answers,
    )  # fmt: skip


def _used(row: Sequence[Any]) -> Used:
    sums = _sums([*row[1:15], [], 0])
    return Used(
        row[0], sums.calls, sums.errors, sums.calls_without_cost, sums.tokens, sums.costs, sums.answers_without_cost
    )


def _measure(heads: Sequence[Any], calls: Sequence[Any] | None) -> Measures:
    requests, errors, (p50, p95) = heads
    if calls is None:
        return Measures(requests, errors, p50, p95)
    sums = _sums([*calls[:14], [], 0])
    first_p50, first_p95 = calls[14]
    return Measures(
        requests, errors, p50, p95, first_p50, first_p95,
        sums.calls, sums.calls_without_cost, sums.tokens, sums.costs, sums.answers_without_cost,
    )  # fmt: skip


def _slices(window: Window, sort: SortField, descending: bool, after: Position | None) -> list[Window]:
    """Return the stretches to search one after another: by time, a page is mostly found in a small one at the edge."""
    if sort != "start":
        return [window]
    if descending:
        end = window.to_ns if after is None else min(window.to_ns, int(after.value) + 1)
        return [Window(max(window.from_ns, end - window.length_ns // 32), end), Window(window.from_ns, end)]
    begin = window.from_ns if after is None else max(window.from_ns, int(after.value))
    return [Window(begin, min(window.to_ns, begin + window.length_ns // 32)), Window(begin, window.to_ns)]


def _pick(measures: Mapping[_Group, Measures], way: int) -> dict[_Group, Measures]:
    return {key[1:]: found for key, found in measures.items() if key[0] == way}


def _top(measures: Mapping[_Group, Measures], *, name: int) -> tuple[Top, ...]:
    ranked = sorted(
        ((key, found) for key, found in measures.items() if key[name]),
        key=lambda item: (-max(item[1].requests, item[1].calls), item[0]),
    )
    return tuple(Top(key[name], found, key[0] if name == 1 else "") for key, found in ranked[:_TOP])


def open_column_store(url: str, limits: TelemetryLimits | None = None) -> ColumnStore:
    """Open a store and bring it to this code's schema."""
    db = open_telemetry(url, limits)
    store = ColumnStore(db)
    try:
        store.migrate()
    except BaseException:
        db.close()
        raise
    return store
