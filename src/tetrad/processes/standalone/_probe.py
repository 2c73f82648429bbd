"""Ask a process whether it is ready, with nothing but a socket."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from tetrad.kit.children import Child

_INTERVAL_S = 0.05
_LIMIT = 4_000_000


async def get_json(address: tuple[str, int] | str, path: str, *, token: str = "", timeout_s: float = 5.0) -> Any:
    """GET a JSON document from a TCP address or a Unix socket; raise `OSError` for anything but a whole 200."""
    async with asyncio.timeout(timeout_s):
        if isinstance(address, str):
            reader, writer = await asyncio.open_unix_connection(address, limit=_LIMIT)
            host = "localhost"
        else:
            reader, writer = await asyncio.open_connection(*address, limit=_LIMIT)
            host = f"{address[0]}:{address[1]}"
        try:
            authorization = f"Authorization: Bearer {token}\r\n" if token else ""
            writer.write(
                f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{authorization}Accept: application/json\r\n"
                "Connection: close\r\n\r\n".encode()
            )
            await writer.drain()
            answer = await reader.read(_LIMIT)
            while chunk := await reader.read(_LIMIT):
                answer += chunk
        finally:
            writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ")[1:2] != ["200"]:
        raise OSError(f"{path} answered {status!r}")
    return json.loads(body) if body else None


async def answers(address: tuple[str, int] | str, timeout_s: float) -> bool:
    """Tell whether a process says anything at all."""
    try:
        await get_json(address, "/healthz", timeout_s=timeout_s)
    except TimeoutError:
        return False
    except OSError as error:
        return error.errno is None  # a status that is not 200 is an answer too
    except ValueError:
        return True
    return True


def ready_probe(address: tuple[str, int] | str, path: str = "/readyz") -> Any:
    """Return a probe that waits until `path` answers 200; whoever calls it holds the clock."""

    async def probe(_child: Child) -> None:
        while True:
            try:
                await get_json(address, path, timeout_s=2.0)
            except (OSError, TimeoutError, ValueError):
                await asyncio.sleep(_INTERVAL_S)
            else:
                return

    return probe
