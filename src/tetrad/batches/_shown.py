"""Files and batches in the words of OpenAI's and Anthropic's protocols."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tetrad.batches._model import Batch, StoredFile


def file_object(file: StoredFile) -> dict[str, Any]:
    """Return a file as OpenAI's protocol shows it."""
    shown = {
        "id": file.id,
        "object": "file",
        "bytes": file.size,
        "created_at": file.created_s,
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }
    return shown if file.expires_s is None else {**shown, "expires_at": file.expires_s}


def batch_object(batch: Batch) -> dict[str, Any]:
    """Return a batch as OpenAI's protocol shows it."""
    errors = [{"code": e.code, "message": e.message, "line": e.line, "param": e.param} for e in batch.errors]
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": {"object": "list", "data": errors} if errors else None,
        "input_file_id": batch.input_file,
        "completion_window": batch.window,
        "status": batch.status,
        "output_file_id": batch.output_file or None,
        "error_file_id": batch.error_file or None,
        "created_at": batch.created_s,
        "expires_at": batch.expires_s,
        **{
            f"{status}_at": batch.times.get(status)
            for status in ("in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
        },
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "metadata": batch.metadata,
        "tetrad": _carriage(batch),
    }


def message_batch_object(batch: Batch, origin: str) -> dict[str, Any]:
    """Return a batch as Anthropic's protocol shows it: what became of its requests is told at its end."""
    ended = not batch.open
    status = "ended" if ended else ("canceling" if batch.status == "cancelling" else "in_progress")
    left = batch.left if ended else 0
    return {
        "id": batch.id,
        "type": "message_batch",
        "processing_status": status,
        "request_counts": {
            "processing": 0 if ended else batch.total,
            "succeeded": batch.completed if ended else 0,
            "errored": (batch.failed + (left if batch.status == "failed" else 0)) if ended else 0,
            "canceled": left if batch.status == "cancelled" else 0,
            "expired": left if batch.status == "expired" else 0,
        },
        "created_at": _time(batch.created_s),
        "expires_at": _time(batch.expires_s),
        "ended_at": _time(batch.times[batch.status]) if ended else None,
        "cancel_initiated_at": _time(batch.times["cancelling"]) if "cancelling" in batch.times else None,
        "archived_at": None,
        "results_url": f"{origin}/v1/messages/batches/{batch.id}/results" if ended and batch.output_file else None,
        "tetrad": _carriage(batch),
    }


def _carriage(batch: Batch) -> dict[str, str]:
    """Return how the batch is done, which the protocols have no words for."""
    carried = batch.carriage
    said = {"way": carried.way, "why": carried.why, "provider": carried.provider, "provider_batch": carried.batch}
    return {name: text for name, text in said.items() if text}


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")
