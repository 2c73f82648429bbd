"""The child that holds the embedding model: `python -m tetrad.processes.inference._embedder_child <fd>`.

It answers one request after the other and ends when the front closes the socket. Whatever native code does wrong, or
keeps of memory, ends with it.
"""

from __future__ import annotations

import importlib
import socket
import sys
from typing import Any

from tetrad.processes.inference._wire import (
    HEAD,
    MAX_FRAME,
    Answer,
    Broken,
    Load,
    Loaded,
    TooLong,
    Vectors,
    frame,
    read_request,
)

_BATCH = 16


class MiniLm:
    """all-MiniLM-L6-v2: mean pooling over the attention mask, vectors of length 1, as sentence-transformers does."""

    def __init__(self, order: Load) -> None:
        import numpy as np
        from tokenizers import Tokenizer

        onnxruntime: Any = importlib.import_module("onnxruntime")
        self._np: Any = np
        self._max_tokens = order.max_tokens
        self._tokenizer = Tokenizer.from_file(order.tokenizer)
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = order.threads
        options.inter_op_num_threads = 1
        options.enable_cpu_mem_arena = False
        self._session = onnxruntime.InferenceSession(order.model, options, providers=["CPUExecutionProvider"])
        self.dimensions = int(self._session.get_outputs()[0].shape[-1])

    def embed(self, texts: list[str]) -> Vectors | TooLong:
        """Return the vectors in the order of the texts."""
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]
        for index, ids in enumerate(encoded):
            if len(ids) > self._max_tokens:
                return TooLong(index, len(ids))
        out = self._np.empty((len(texts), self.dimensions), "<f4")
        order = sorted(range(len(texts)), key=lambda index: len(encoded[index]))  # equal lengths waste no padding
        for start in range(0, len(order), _BATCH):
            batch = order[start : start + _BATCH]
            out[batch] = self._vectors([encoded[index] for index in batch])
        return Vectors(out.tobytes(), [len(ids) for ids in encoded])

    def _vectors(self, batch: list[list[int]]) -> Any:
        np = self._np
        width = max(len(ids) for ids in batch)
        tokens = np.zeros((len(batch), width), np.int64)
        mask = np.zeros_like(tokens)
        for row, ids in enumerate(batch):
            tokens[row, : len(ids)] = ids
            mask[row, : len(ids)] = 1
        feeds = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": np.zeros_like(tokens)}
        hidden = self._session.run(None, feeds)[0]
        pooled = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
        return pooled / np.maximum(np.linalg.norm(pooled, axis=1, keepdims=True), 1e-12)


def serve(connection: socket.socket) -> None:
    """Answer until the front goes."""
    model: MiniLm | None = None
    while True:
        head = _exactly(connection, HEAD)
        if head is None:
            return
        size = int.from_bytes(head, "big")
        body = _exactly(connection, size) if size <= MAX_FRAME else None
        if body is None:
            return
        request = read_request(body)
        answer: Answer
        try:
            if isinstance(request, Load):
                model = MiniLm(request)
                answer = Loaded(model.dimensions)
            elif model is None:
                answer = Broken("no model is loaded")
            else:
                answer = model.embed(request.texts)
        except Exception as error:  # noqa: BLE001 - whatever the runtime raises, the front must hear it
            answer = Broken(f"{type(error).__name__}: {error}"[:1000])
        connection.sendall(frame(answer))


def _exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        piece = connection.recv(min(size - len(parts), 1 << 20))
        if not piece:
            return None
        parts += piece
    return bytes(parts)


if __name__ == "__main__":
    with socket.socket(fileno=int(sys.argv[1])) as _connection:
        serve(_connection)
