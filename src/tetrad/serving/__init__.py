"""The runtime: route tables, providers, engines and the request pipeline."""

from tetrad.serving._model import (
    AppRoute,
    KeyEntry,
    MessageTemplate,
    ModelEntry,
    Price,
    ReleaseRoute,
    RouteTable,
    Upstream,
    Variable,
)

__all__ = [
    "AppRoute",
    "KeyEntry",
    "MessageTemplate",
    "ModelEntry",
    "Price",
    "ReleaseRoute",
    "RouteTable",
    "Upstream",
    "Variable",
]
