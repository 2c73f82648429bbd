"""The tables of the traces, the same for the embedded engine and for a server.

`spans` is wide and immutable: whatever a list, a filter or a chart needs stands in the row, contents only as previews.
The key is also the identity: a span that arrives twice is the same row of the same partition, which the engine folds
when it merges parts and every query folds before it counts (FINAL, or LIMIT 1 BY). Days are partitions, so that
retention drops files and rewrites nothing.
"""

from __future__ import annotations

from tetrad.kit.telemetry_db import Step

_SPANS = """
CREATE TABLE IF NOT EXISTS spans (
    project LowCardinality(String),
    trace_id String CODEC(ZSTD(1)),
    span_id String CODEC(ZSTD(1)),
    parent_id String CODEC(ZSTD(1)),
    entry UInt8,
    call UInt8,
    name LowCardinality(String),
    kind LowCardinality(String),
    status LowCardinality(String),
    status_message String CODEC(ZSTD(1)),
    start DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    duration_ns UInt64 CODEC(ZSTD(1)),
    ttft_ns UInt64 CODEC(ZSTD(1)),
    operation LowCardinality(String),
    provider LowCardinality(String),
    request_model LowCardinality(String),
    response_model LowCardinality(String),
    response_id String CODEC(ZSTD(1)),
    finish_reasons Array(LowCardinality(String)),
    has_usage UInt8,
    input_tokens UInt64 CODEC(ZSTD(1)),
    cache_read_tokens UInt64 CODEC(ZSTD(1)),
    cache_write_tokens UInt64 CODEC(ZSTD(1)),
    output_tokens UInt64 CODEC(ZSTD(1)),
    reasoning_tokens UInt64 CODEC(ZSTD(1)),
    cost Nullable(Decimal(18, 12)) CODEC(ZSTD(1)),
    currency LowCardinality(String),
    stream UInt8,
    attempt UInt16,
    http_status UInt16,
    error_type LowCardinality(String),
    app LowCardinality(String),
    ref LowCardinality(String),
    release LowCardinality(String),
    binding LowCardinality(String),
    variant LowCardinality(String),
    prompt_name LowCardinality(String),
    prompt_version LowCardinality(String),
    code_digest LowCardinality(String),
    code_match LowCardinality(String),
    session String CODEC(ZSTD(1)),
    user String CODEC(ZSTD(1)),
    unit String CODEC(ZSTD(1)),
    key_id LowCardinality(String),
    service LowCardinality(String),
    input_preview String CODEC(ZSTD(1)),
    input_digest String CODEC(ZSTD(1)),
    input_bytes UInt64 CODEC(ZSTD(1)),
    output_preview String CODEC(ZSTD(1)),
    output_digest String CODEC(ZSTD(1)),
    output_bytes UInt64 CODEC(ZSTD(1)),
    attributes Map(LowCardinality(String), String) CODEC(ZSTD(1)),
    ingested DateTime64(9, 'UTC') CODEC(Delta(8), ZSTD(1)),
    INDEX by_trace trace_id TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_session session TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 1,
    INDEX by_release release TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(ingested)
PARTITION BY toDate(start)
PRIMARY KEY (project, toStartOfMinute(start), xxHash32(trace_id))
ORDER BY (project, toStartOfMinute(start), xxHash32(trace_id), trace_id, span_id)
SETTINGS fsync_after_insert = 1, fsync_part_directory = 1
"""

_PAYLOADS = """
CREATE TABLE IF NOT EXISTS payloads (
    project LowCardinality(String),
    day Date,
    digest String CODEC(ZSTD(1)),
    size UInt64,
    data String CODEC(ZSTD(3))
)
ENGINE = ReplacingMergeTree
PARTITION BY day
ORDER BY (project, digest)
SETTINGS index_granularity = 256, index_granularity_bytes = 1048576, fsync_after_insert = 1, fsync_part_directory = 1
"""

STEPS = (Step(1, "spans and payloads", (_SPANS, _PAYLOADS)),)
