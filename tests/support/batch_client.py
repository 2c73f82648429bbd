"""Batches of a running product, by OpenAI's own client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai

from support.product import Product, environ_of
from support.wait import wait_until

ENDED = ("completed", "failed", "expired", "cancelled")


@contextmanager
def client_of(product: Product, *models: str) -> Iterator[openai.OpenAI]:
    """Lend a client of the installation's own key, once the gateway knows the models."""
    env = environ_of(product)
    with openai.OpenAI(base_url=env["OPENAI_BASE_URL"], api_key=env["OPENAI_API_KEY"], max_retries=3) as made:

        def known() -> bool:
            return set(models) <= {model.id for model in made.models.list()}

        wait_until(known, timeout_s=60, what="the providers at the gateway")
        yield made


@contextmanager
def client_of_a_key(product: Product, name: str) -> Iterator[tuple[openai.OpenAI, str]]:
    """Lend a client of a new key, and the key's id, once the gateway and control know it."""
    made = product.control("POST", "/api/v1/projects/default/keys", json={"name": name, "scopes": ["data"]}).json()
    with openai.OpenAI(base_url=f"{product.gateway_url}/v1", api_key=made["secret"], max_retries=3) as client:

        def known() -> bool:
            try:
                client.models.list()
                client.batches.list()
            except (openai.AuthenticationError, openai.PermissionDeniedError):
                return False
            return True

        wait_until(known, timeout_s=60, what="the key at the gateway and at control")
        yield client, made["key"]["id"]


def begun(client: openai.OpenAI, name: str, lines: int = 3, *models: str, max_tokens: int = 20) -> Any:
    """Begin a batch of lines that say their own names, of one model after the other."""
    calls = [
        {
            "custom_id": f"{name}-{number}",
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": {
                "model": models[number % len(models)],
                "messages": [{"role": "user", "content": f"{name}-{number}."}],
                "max_tokens": max_tokens,
            },
        }
        for number in range(lines)
    ]
    file = client.files.create(file=("in.jsonl", "\n".join(map(json.dumps, calls)).encode()), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")


def look(client: openai.OpenAI, batch: Any) -> Any:
    """Return the batch as it stands, or as it stood where control is away."""
    try:
        return client.batches.retrieve(batch.id)
    except (openai.InternalServerError, openai.APIConnectionError):  # control, or the gateway, starts again
        return batch


def ended(client: openai.OpenAI, batch: Any) -> Any:
    """Wait for the end of a batch, and return it."""

    def found() -> Any:
        now = look(client, batch)
        return now if now.status in ENDED else None

    return wait_until(found, timeout_s=120, what=f"the batch {batch.id} to end")


def results(client: openai.OpenAI, file: str | None) -> dict[str, Any]:
    """Return the lines of a file of results by their `custom_id`, in their order."""
    if file is None:
        return {}
    return {line["custom_id"]: line for line in map(json.loads, client.files.content(file).text.splitlines())}
