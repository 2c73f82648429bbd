"""What the inference process can be told."""

from __future__ import annotations

from tetrad.kit.settings import Setting, SettingsTable

INFERENCE_IDLE_S = Setting(
    "inference_idle_s", float, 300.0, "Idle seconds after which the embedding model is unloaded.", minimum=0.1
)
INFERENCE_THREADS = Setting("inference_threads", int, 1, "Threads of the embedding model.", minimum=1, maximum=256)
INFERENCE_QUEUE = Setting(
    "inference_queue", int, 32, "Embedding requests that may wait; more are refused.", minimum=0, maximum=10_000
)
INFERENCE_DEADLINE_S = Setting(
    "inference_deadline_s", float, 60.0, "Longest time for one embedding request, waiting included.", minimum=0.1
)
INFERENCE_MAX_INPUTS = Setting(
    "inference_max_inputs", int, 256, "Texts in one embedding request.", minimum=1, maximum=4096
)
INFERENCE_MAX_TOKENS = Setting(
    "inference_max_tokens", int, 512, "Tokens of one text; the model knows no more than 512.", minimum=8, maximum=512
)
INFERENCE_MAX_BODY_KB = Setting(
    "inference_max_body_kb", int, 4096, "Largest body of an embedding request, in kB.", minimum=1, maximum=1_000_000
)
INFERENCE_SIMILAR = Setting(
    "inference_similar_questions",
    int,
    16_384,
    "Questions that are remembered for the cache of similar ones, all together (1.5 kB each).",
    minimum=1,
    maximum=1_000_000,
)
INFERENCE_SIMILAR_EACH = Setting(
    "inference_similar_questions_each",
    int,
    1024,
    "Questions that are remembered of one partition: same project, app, release, model and earlier messages.",
    minimum=1,
    maximum=100_000,
)

SETTINGS = SettingsTable(
    "Inference",
    (
        INFERENCE_IDLE_S,
        INFERENCE_THREADS,
        INFERENCE_QUEUE,
        INFERENCE_DEADLINE_S,
        INFERENCE_MAX_INPUTS,
        INFERENCE_MAX_TOKENS,
        INFERENCE_MAX_BODY_KB,
        INFERENCE_SIMILAR,
        INFERENCE_SIMILAR_EACH,
    ),
)
