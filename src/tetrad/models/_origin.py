"""What a model was made from, and whether an adapter fits its base."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from tetrad.kernel import Digest, InvalidInput
from tetrad.models._model import DERIVATIONS, Derivation, Kind, ModelRecord, WeightsFacts
from tetrad.models._weights import check_base, tensors_of
from tetrad.models.errors import BadModel
from tetrad.models.ports import Source
from tetrad.registry import Edge

MAX_INPUTS = 200
MAX_ORIGIN_BYTES = 64 << 10
MAX_PATH_CHARS = 255
MAX_PATH_PARTS = 4


class Origin(msgspec.Struct, frozen=True):
    """What a model was made from and how. `inputs` are datasets and the like, as edges that go in."""

    base: Digest | None = None
    derivation: Derivation = "none"
    inputs: tuple[Edge, ...] = ()
    params: Mapping[str, Any] = {}
    seeds: Mapping[str, int] = {}
    metrics: Mapping[str, float] = {}
    environment: Mapping[str, Any] = {}


def check_origin(kind: Kind, origin: Origin) -> None:
    """Refuse an origin that cannot be: a derivation of nothing, an adapter without a base, more than is kept."""
    if origin.derivation not in DERIVATIONS or (origin.derivation != "none" and origin.base is None):
        raise BadModel(f"the derivation {origin.derivation!r} without a base", hint=f"one of {', '.join(DERIVATIONS)}")
    if kind == "adapter" and origin.base is None:
        raise BadModel("an adapter without a base", hint="say which model it was trained on: --base MODEL@VERSION")
    if len(origin.inputs) > MAX_INPUTS:
        raise BadModel(f"a model made from {len(origin.inputs)} artifacts", hint=f"at most {MAX_INPUTS}")
    if any(edge.direction != "in" for edge in origin.inputs):
        raise InvalidInput("what a model is made from goes in", hint="the model itself comes out")
    said = (origin.params, origin.seeds, origin.metrics, origin.environment)
    if len(msgspec.json.encode(said)) > MAX_ORIGIN_BYTES:
        raise BadModel("the parameters of a model", hint=f"at most {MAX_ORIGIN_BYTES} bytes of JSON; use a run")


def check_file_path(path: str) -> str:
    """Return the path of a file of a model, or refuse: it becomes a path on the machines that load the model."""
    parts = path.split("/")
    sound = all(part and part not in (".", "..") and not part.startswith(" ") for part in parts)
    if not sound or len(path) > MAX_PATH_CHARS or len(parts) > MAX_PATH_PARTS or "\\" in path or not path.isprintable():
        raise BadModel(
            f"{path[:80]!r} is no path of a file of a model", hint=f"relative, at most {MAX_PATH_CHARS} characters"
        )
    return path


def check_adapter(
    facts: WeightsFacts, sources: Mapping[str, Source], base: ModelRecord, base_sources: Mapping[str, Source]
) -> WeightsFacts:
    """Compare an adapter with its base as far as their headers tell; `adapter.checked` says by what.

    Raises `BadModel` where they do not fit, where the files are no adapter, and where the base is one itself.
    """
    if facts.adapter is None:
        raise BadModel("the files are no adapter", hint="adapter_config.json and adapter_model.safetensors, or a GGUF")
    if base.kind != "weights":
        raise BadModel(f"the base {base.digest} is no weights", hint="an adapter is of weights")
    checked = ""
    if facts.format == "gguf" and base.facts.format == "gguf" and facts.architecture and base.facts.architecture:
        if facts.architecture != base.facts.architecture:
            raise BadModel(
                f"the adapter is for {facts.architecture!r}, its base is {base.facts.architecture!r}",
                hint="name the model that it was trained on",
            )
        checked = "architecture"
    if facts.format == base.facts.format == "safetensors" and check_base(tensors_of(sources), tensors_of(base_sources)):
        checked = "shapes"
    adapter = msgspec.structs.replace(facts.adapter, checked=checked)
    return msgspec.structs.replace(facts, adapter=adapter)
