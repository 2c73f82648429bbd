"""The embedding model that comes with the product, as an engine of this machine."""

from __future__ import annotations

from tetrad.adapters.engines.bundled import EMBEDDING_MODEL, EMBEDDING_NAME, blob_path
from tetrad.kit.home import Home
from tetrad.serving import ModelEntry, Upstream
from tetrad.serving._engine_directory import FixedEngine


def has_embedder(home: Home) -> bool:
    """Tell whether its weights are on this machine."""
    return blob_path(home, EMBEDDING_MODEL.digest).is_file()


def embedder(home: Home) -> FixedEngine:
    """Return it as gateways reach it: by the inference process's socket."""
    upstream = Upstream(
        name="inference", base_url=f"unix://{home.run / 'inference.sock'}#/v1", provider="tetrad", max_connections=64
    )
    model = ModelEntry(
        name=EMBEDDING_NAME,
        upstream="inference",
        upstream_model=EMBEDDING_NAME,
        kinds=("embeddings",),
        digest=EMBEDDING_MODEL.digest,
    )
    return FixedEngine(upstream, (model,))
