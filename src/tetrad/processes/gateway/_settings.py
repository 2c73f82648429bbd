"""What a gateway can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable
from tetrad.processes.gateway._origins import origins_of

MIB = 1024 * 1024

MAX_BODY = Setting(
    "gateway_max_body_bytes", int, 32 * MIB, "Largest request body, in bytes.", minimum=1024, maximum=1024 * MIB
)
MAX_ANSWER = Setting(
    "gateway_max_answer_bytes", int, 64 * MIB, "Largest answer that is not a stream, in bytes.", minimum=1024
)
MAX_IN_FLIGHT = Setting(
    "gateway_max_in_flight", int, 1024, "Requests that one worker works on at once; more get 429.", minimum=1
)
SHED_LAG_S = Setting(
    "gateway_shed_lag_s",
    float,
    1.0,
    "Seconds that a worker may be behind before calls get 429, those of low priority at half of it; 0: any.",
    minimum=0,
    maximum=60,
)
HEADER_TIMEOUT_S = Setting(
    "gateway_header_timeout_s", float, 10.0, "Seconds for a client to send the head of a request.", minimum=0.1
)
BODY_TIMEOUT_S = Setting(
    "gateway_body_timeout_s", float, 60.0, "Seconds for a client to send the body of a request.", minimum=0.1
)
KEEP_ALIVE_S = Setting(
    "gateway_keep_alive_s", float, 75.0, "Seconds for which an idle client connection is kept.", minimum=1
)
DRAIN_S = Setting("gateway_drain_s", float, 20.0, "Seconds for requests under way to end at a stop.", minimum=0)
SERVER = Setting(
    "gateway_server",
    str,
    "tetrad",
    "HTTP front end: the gateway's own, or uvicorn (slower; for a second opinion).",
    choices=("tetrad", "uvicorn"),
)
RECORD_BYTES = Setting(
    "gateway_record_bytes",
    int,
    MIB,
    "Most bytes of one input or output that a span keeps.",
    minimum=1024,
    maximum=8 * MIB,
)
SPOOL_BYTES = Setting(
    "gateway_spool_bytes", int, 1024 * MIB, "Most bytes of spans that wait on one worker's disk.", minimum=64 * 1024
)
SPOOL_SEGMENT_BYTES = Setting(
    "gateway_spool_segment_bytes", int, 8 * MIB, "Size at which a spool segment is finished.", minimum=16 * 1024
)

STORED_CONNECTIONS = Setting(
    "gateway_stored_connections",
    int,
    32,
    "Calls that one worker makes to control at once to keep and recall responses.",
    minimum=1,
    maximum=1024,
)
FOLLOWED_STREAMS = Setting(
    "gateway_followed_streams",
    int,
    256,
    "Clients of one worker that follow the events of responses in the background at once.",
    minimum=1,
    maximum=10_000,
)
RELAY_CONNECTIONS = Setting(
    "gateway_relay_connections",
    int,
    16,
    "Uploads, downloads and calls of batches that one worker passes on to control at once.",
    minimum=1,
    maximum=1024,
)
REGION = Setting(
    "gateway_region",
    str,
    "",
    "Where this gateway runs, as conditions of routes name it; for requests that name no region.",
)
CACHE_BYTES = Setting(
    "gateway_cache_bytes", int, 64 * MIB, "Most memory of one worker's cached answers; 0: nothing is cached.", minimum=0
)
CACHE_ENTRIES = Setting("gateway_cache_entries", int, 10_000, "Most answers that one worker keeps cached.", minimum=1)
CACHE_ENTRY_BYTES = Setting(
    "gateway_cache_entry_bytes", int, MIB, "Largest answer that is cached.", minimum=1024, maximum=16 * MIB
)
CACHE_DISK_BYTES = Setting(
    "gateway_cache_disk_bytes",
    int,
    0,
    "Most bytes of cached answers in the home folder, which the workers of a machine share; 0: none.",
    minimum=0,
)
CACHE_URL = Setting(
    "gateway_cache_url",
    str,
    "",
    "Valkey or Redis that gateways share cached answers in, such as redis://host:6379/1; empty: each keeps its own.",
    secret=True,
)
CACHE_PREFIX = Setting(
    "gateway_cache_prefix", str, "tetrad:answer:", "What names of cached answers begin with in that Valkey or Redis."
)
CACHE_DEADLINE_S = Setting(
    "gateway_cache_deadline_s",
    float,
    0.1,
    "Longest wait of a call for that Valkey or Redis; past it the model is asked.",
    minimum=0.001,
    maximum=10,
)
CACHE_WAIT_S = Setting(
    "gateway_cache_wait_s", float, 30.0, "Longest wait of a call for an equal one that is under way.", minimum=0
)
SIMILAR_DEADLINE_S = Setting(
    "gateway_similar_deadline_s",
    float,
    0.25,
    "Longest search for a similar question; past it there is none.",
    minimum=0.01,
    maximum=60,
)
TOOL_ANSWER_BYTES = Setting(
    "gateway_tool_answer_bytes",
    int,
    8 * MIB,
    "Largest answer of an MCP server, and largest event of its streams, in bytes.",
    minimum=1024,
    maximum=256 * MIB,
)
TOOL_STREAMS = Setting(
    "gateway_tool_streams",
    int,
    32,
    "Streams of MCP servers that one key may hold open at one worker.",
    minimum=1,
    maximum=10_000,
)
TOOL_LISTING_S = Setting(
    "gateway_tool_listing_s",
    float,
    10.0,
    "Seconds for one MCP server to answer where all are asked, at /mcp; one that is slower is left out of the answer.",
    minimum=0.1,
    maximum=600,
)
TOOL_ORIGINS = Setting(
    "gateway_tool_origins",
    str,
    "",
    "Web origins whose pages may call MCP servers, separated by commas, besides those of this machine.",
)
CORS_ORIGINS = Setting(
    "gateway_cors_origins",
    str,
    "",
    "Web origins whose pages may read the gateway's answers, such as https://app.example.com, separated by commas.",
    check=origins_of,
)

SETTINGS = SettingsTable(
    "Gateway",
    (
        MAX_BODY,
        MAX_ANSWER,
        MAX_IN_FLIGHT,
        SHED_LAG_S,
        HEADER_TIMEOUT_S,
        BODY_TIMEOUT_S,
        KEEP_ALIVE_S,
        DRAIN_S,
        SERVER,
        RECORD_BYTES,
        REGION,
        SPOOL_BYTES,
        SPOOL_SEGMENT_BYTES,
        CACHE_BYTES,
        CACHE_ENTRIES,
        CACHE_ENTRY_BYTES,
        CACHE_DISK_BYTES,
        CACHE_URL,
        CACHE_PREFIX,
        CACHE_DEADLINE_S,
        CACHE_WAIT_S,
        SIMILAR_DEADLINE_S,
        STORED_CONNECTIONS,
        FOLLOWED_STREAMS,
        RELAY_CONNECTIONS,
        TOOL_ANSWER_BYTES,
        TOOL_STREAMS,
        TOOL_LISTING_S,
        TOOL_ORIGINS,
        CORS_ORIGINS,
    ),
)
