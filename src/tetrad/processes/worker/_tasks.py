"""The jobs that the product knows. Control reads their names and payloads from here, the worker runs them."""

from __future__ import annotations

from typing import Any

import msgspec

from tetrad.kit.jobs import JobRegistry, RunningJob
from tetrad.processes.worker._background import AnswerResponse, TendResponses, answer_response
from tetrad.processes.worker._batches import RunBatch, TendBatches, run_batch
from tetrad.processes.worker._reproduce import ReproduceRelease, reproduce

BATCHES_QUEUE = "batches"
RESPONSES_QUEUE = "responses"
_SHARDS = tuple(f"{number:02x}" for number in range(256))
_STEP = 16
_MOST_NAMED = 200


class VerifyBlobs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which blobs to read: those whose hex digits start with `prefix`; empty for all."""

    prefix: str = ""


class DropOldTraces(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many days to keep; null: as the setting says."""

    keep_days: int | None = None


def product_jobs(*, retention_cron: str = "", batches_cron: str = "", responses_cron: str = "") -> JobRegistry:
    """Return the product's jobs."""
    jobs = JobRegistry()

    @jobs.job("blobs.verify", version=1, payload=VerifyBlobs, queue="housekeeping")
    def verify_blobs(job: RunningJob, payload: VerifyBlobs) -> dict[str, Any]:
        """Read all blobs again and name those whose bytes are not what they were."""
        if len(payload.prefix) >= 2:
            groups: list[tuple[str, ...]] = [(payload.prefix,)]
        else:
            shards = [shard for shard in _SHARDS if shard.startswith(payload.prefix)]
            groups = [tuple(shards[at : at + _STEP]) for at in range(0, len(shards), _STEP)]
        blobs = size = 0
        damaged: list[str] = []
        for number, group in enumerate(groups, 1):
            found = job.step(f"read {group[0]}-{group[-1]}", _verify, job.services["blobs"], group)
            blobs, size = blobs + found["blobs"], size + found["bytes"]
            damaged += found["damaged"]
            job.progress(number, len(groups), f"{blobs} blobs read, {len(damaged)} damaged")
        return {"blobs": blobs, "bytes": size, "damaged": damaged[:_MOST_NAMED], "damaged_count": len(damaged)}

    @jobs.job("traces.retention", version=1, payload=DropOldTraces, queue="housekeeping", schedule=retention_cron)
    def drop_old_traces(job: RunningJob, payload: DropOldTraces) -> Any:
        """Drop telemetry that is older than the setting allows."""
        body = {"keep_days": payload.keep_days}
        return job.step("drop", job.services["control"], "POST", "/internal/v1/traces/retention", body)

    jobs.job("batch.run", version=1, payload=RunBatch, queue=BATCHES_QUEUE)(run_batch)

    @jobs.job("batches.tend", version=1, payload=TendBatches, queue="housekeeping", schedule=batches_cron)
    def tend_batches(job: RunningJob, _payload: TendBatches) -> Any:
        """See to it that every open batch is worked on, and forget files that have expired."""
        return job.step("tend", job.services["control"], "POST", "/internal/v1/batches/tend")

    jobs.job("response.answer", version=1, payload=AnswerResponse, queue=RESPONSES_QUEUE)(answer_response)

    @jobs.job("responses.tend", version=1, payload=TendResponses, queue="housekeeping", schedule=responses_cron)
    def tend_responses(job: RunningJob, _payload: TendResponses) -> Any:
        """See to it that every response in the background is worked on, or ends."""
        return job.step("tend", job.services["control"], "POST", "/internal/v1/background/tend")

    jobs.job("release.reproduce", version=1, payload=ReproduceRelease, queue="engines")(reproduce)
    return jobs


def _verify(open_store: Any, prefixes: tuple[str, ...]) -> dict[str, Any]:
    from tetrad.kit.blobs import BlobMismatch, BlobNotFound

    store = open_store()
    blobs = size = 0
    damaged: list[str] = []
    for prefix in prefixes:
        for stat in store.list(prefix):
            try:
                size += _read(store, stat.digest)
            except BlobMismatch:
                damaged.append(stat.digest)
            except BlobNotFound:
                continue  # deleted since it was listed
            blobs += 1
    return {"blobs": blobs, "bytes": size, "damaged": damaged}


def _read(store: Any, digest: str) -> int:
    """Read a blob in bounded memory; raise `BlobMismatch` where its bytes have another digest."""
    import hashlib

    from tetrad.kit.blobs import BlobMismatch

    whole, size = hashlib.sha256(), 0
    with store.open(digest) as source:
        while chunk := source.read(1 << 20):
            whole.update(chunk)
            size += len(chunk)
    if f"sha256:{whole.hexdigest()}" != digest:
        raise BlobMismatch(f"{digest} is damaged", hint="put the bytes again, or restore the last backup")
    return size
