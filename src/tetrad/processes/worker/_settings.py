"""What the worker can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

WORKER_POLL_S = Setting(
    "worker_poll_s", float, 2.0, "Pause between two looks at which engines should run.", minimum=0.1, maximum=60
)
WORKER_REPORT_S = Setting(
    "worker_report_s", float, 10.0, "Pause between two reports of an engine that did not change.", minimum=1, maximum=30
)
JOBS_URL = Setting("jobs_url", str, "", "Database of durable jobs; empty: SQLite in the home folder.", secret=True)
JOBS_POLL_S = Setting("jobs_poll_s", float, 1.0, "Pause between two looks for new jobs.", minimum=0.1, maximum=60)
JOBS_AT_ONCE = Setting("jobs_at_once", int, 4, "Jobs of one queue that run at once.", minimum=1, maximum=64)
TRACES_RETENTION_CRON = Setting(
    "traces_retention_cron", str, "30 3 * * *", "When old telemetry is dropped (cron, UTC); empty: never."
)
BATCH_CONCURRENCY = Setting(
    "batch_concurrency", int, 8, "Requests of one batch that are under way at a time.", minimum=1, maximum=256
)
BATCHES_AT_ONCE = Setting(
    "batches_at_once", int, 32,
    "Batches that are looked after at once; of those whose lines are calls only `jobs_at_once` run, the others wait.",
    minimum=1, maximum=1024,
)  # fmt: skip
BATCH_POLL_S = Setting(
    "batch_poll_s", float, 30.0, "Longest pause between two looks at a batch that its provider does.",
    minimum=0.1, maximum=3600,
)  # fmt: skip
BATCH_DOUBT_S = Setting(
    "batch_doubt_s", float, 90_000.0,
    "How long a batch is looked for at a provider that was asked to do it and did not answer. Until then it is not "
    "asked again, and no line is called: either could be paid for twice.",
    minimum=1, maximum=8 * 86_400,
)  # fmt: skip
BATCHES_CRON = Setting(
    "batches_cron", str, "*/5 * * * *", "When batches are looked after and expired files forgotten (cron, UTC)."
)
BACKGROUND_AT_ONCE = Setting(
    "background_at_once", int, 32, "Responses in the background that are called at a time; the others wait.",
    minimum=1, maximum=256,
)  # fmt: skip
BACKGROUND_CRON = Setting(
    "background_cron", str, "*/5 * * * *", "When responses in the background are looked after (cron, UTC)."
)
REPRODUCE_THREADS = Setting(
    "reproduce_threads",
    int,
    1,
    "Threads of the isolated engine that requests are recorded on.",
    minimum=1,
    maximum=1024,
)
WEIGHTS_CACHE_BYTES = Setting(
    "weights_cache_bytes", int, 64 << 30, "Bytes of weights of a remote blob store that are kept on this machine.",
    minimum=1 << 20,
)  # fmt: skip

SETTINGS = SettingsTable(
    "Worker",
    (
        WORKER_POLL_S,
        WORKER_REPORT_S,
        JOBS_URL,
        JOBS_POLL_S,
        JOBS_AT_ONCE,
        TRACES_RETENTION_CRON,
        BATCH_CONCURRENCY,
        BATCHES_AT_ONCE,
        BATCH_POLL_S,
        BATCH_DOUBT_S,
        BATCHES_CRON,
        BACKGROUND_AT_ONCE,
        BACKGROUND_CRON,
        REPRODUCE_THREADS,
        WEIGHTS_CACHE_BYTES,
    ),
)
