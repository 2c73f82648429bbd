"""Paths of Azure OpenAI's clients: `/openai/deployments/NAME/…`, `/openai/v1/…` and `/openai/…`, said as ours.

A deployment is what is called a model elsewhere; what the body says of a model does not count, as on Azure. The version
of the API (`api-version`) changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tetrad.serving import BY_PATH, Exchange, Operation

PREFIX = "/openai/"
_DEPLOYMENTS = PREFIX + "deployments/"
_VERSIONED = PREFIX + "v1/"
_NAME = re.compile(r"[!-~]{1,300}")


class DeploymentExchange(Exchange):
    """An exchange whose path names the model."""

    __slots__ = ("deployment",)

    def __init__(self, operation: Operation, deployment: str, headers: Mapping[bytes, bytes], start_ns: int) -> None:
        super().__init__(operation, headers, start_ns)
        self.deployment = deployment


def usual_path(path: str) -> tuple[str, str]:
    """Return which of our paths one of Azure's means, and the deployment that it names; itself where it means none.

    >>> usual_path("/openai/deployments/local/small/chat/completions")
    ('/v1/chat/completions', 'local/small')
    """
    if path.startswith(_DEPLOYMENTS):
        parts = path.removeprefix(_DEPLOYMENTS).split("/")
        for length in (2, 1):
            name, meant = "/".join(parts[:-length]), "/v1/" + "/".join(parts[-length:])
            operation = BY_PATH.get(meant)
            if operation is not None and operation.dialect == "openai" and _NAME.fullmatch(name):
                return meant, name
        return path, ""
    if path.startswith(_VERSIONED):
        return "/v1/" + path.removeprefix(_VERSIONED), ""
    return "/v1/" + path.removeprefix(PREFIX), ""


def azure_exchange(method: str, path: str, headers: Mapping[bytes, bytes], start_ns: int) -> Exchange | None:
    """Return what a client of Azure's asks of a model; None where it asks for a page."""
    meant, deployment = usual_path(path)
    operation = BY_PATH.get(meant) if method == "POST" else None
    if operation is None:
        return None
    if deployment:
        return DeploymentExchange(operation, deployment, headers, start_ns)
    return Exchange(operation, headers, start_ns)
