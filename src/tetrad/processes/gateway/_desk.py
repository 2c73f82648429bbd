"""Providers' own batch APIs, for the workers that hand batches over: who has a batch's own key may ask, nobody else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping

from tetrad.kernel import TetradError
from tetrad.serving import AnswerTorn, CompiledTable, KeyEntry, Reply, RequestRefused

DESK = "/v1/tetrad-batches"
MODEL = b"x-tetrad-model"
"""The header that says by a model which provider is asked."""
_ID = "[A-Za-z0-9_-]{1,200}"
_SERVED = {
    "openai": (
        ("POST", re.compile("/files")),
        ("DELETE", re.compile(f"/files/{_ID}")),
        ("GET", re.compile(f"/files/{_ID}/content")),
        ("POST", re.compile("/batches")),
        ("GET", re.compile(f"/batches(?:/{_ID})?")),
        ("POST", re.compile(f"/batches/{_ID}/cancel")),
    ),
    "anthropic": (
        ("POST", re.compile("/messages/batches")),
        ("GET", re.compile(f"/messages/batches(?:/{_ID}(?:/results)?)?")),
        ("POST", re.compile(f"/messages/batches/{_ID}/cancel")),
    ),
}
"""What may be asked, by the adapter."""
_QUERY = re.compile(r"[A-Za-z0-9_=&-]{0,500}")


def at_desk(path: str) -> bool:
    """Tell whether a page is of a provider's batch API."""
    return path.startswith(DESK + "/")


async def pass_on(
    table: CompiledTable,
    key: KeyEntry,
    method: str,
    path: str,
    query: str,
    headers: Mapping[bytes, bytes],
    body: AsyncIterator[bytes],
    reply: Reply,
) -> None:
    """Ask a provider with its own login, and pass its answer on as it comes.

    Raises `TetradError` before anything is answered, and `AnswerTorn` in the middle.
    """
    if not key.batch:
        raise RequestRefused(f"there is nothing at {path[:200]}", status=404, code="unknown_url")
    model = table.batch_model(key.project, headers.get(MODEL, b"").decode("latin-1"))
    asked = path.removeprefix(DESK)
    served = _SERVED.get(model.upstream.adapter, ())
    if (
        model.lines is None
        or not _QUERY.fullmatch(query)
        or not any(method == each and pattern.fullmatch(asked) for each, pattern in served)
    ):
        raise RequestRefused(f"nothing of a batch API is asked by {method} {asked[:200]}", status=404)
    target = asked + (f"?{query}" if query else "")
    content_type = headers.get(b"content-type", b"").decode("latin-1")
    sends = method == "POST" and bool(content_type)
    response = await model.lines.ask(method, target, content_type if sends else "", body if sends else None)
    try:
        kept = [(name, value) for name, value in response.headers if name in (b"content-type", b"retry-after")]
        kept.append((b"x-tetrad-upstream-status", b"%d" % response.status))
        await reply.begin(response.status, kept)
        try:
            while piece := await response.read():
                await reply.write(piece)
        except (TetradError, OSError) as error:
            raise AnswerTorn(f"the provider's answer broke off: {error}") from error
        await reply.end(b"")
    finally:
        response.close()
