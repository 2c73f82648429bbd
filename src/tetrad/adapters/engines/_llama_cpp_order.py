"""What the parent tells a llama.cpp child."""

from __future__ import annotations

import msgspec


class ServeOrder(msgspec.Struct, frozen=True, tag="serve", tag_field="do", forbid_unknown_fields=True):
    """Serve one model. `ctx` is the context of one slot; `report_fd` receives `{"url": …}` once it listens."""

    model_path: str
    served_name: str
    secret: str
    ctx: int
    slots: int
    threads: int
    batch_threads: int
    batch: int
    prompt_cache_mib: int
    sleep_s: int
    embeddings: bool
    report_fd: int

    def __repr__(self) -> str:
        return f"ServeOrder({self.model_path!r})"


class CalibrateOrder(msgspec.Struct, frozen=True, tag="calibrate", tag_field="do", forbid_unknown_fields=True):
    """Measure a model with each number of threads; `report_fd` receives a line for each."""

    model_path: str
    candidates: tuple[int, ...]
    tokens: int
    rounds: int
    report_fd: int


def encode_order(order: ServeOrder | CalibrateOrder) -> bytes:
    """Write an order for the child's standard input."""
    return msgspec.json.encode(order)


def decode_order(data: bytes) -> ServeOrder | CalibrateOrder:
    """Read it there."""
    return msgspec.json.decode(data, type=ServeOrder | CalibrateOrder)
