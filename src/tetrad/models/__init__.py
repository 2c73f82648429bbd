"""Models: weights and hosted models as versions, what they say of themselves, what they cost."""

from tetrad.models._labels import check_label
from tetrad.models._licences import spdx_id
from tetrad.models._model import (
    DERIVATIONS,
    AdapterFacts,
    Derivation,
    ModelPrice,
    ModelRecord,
    ModelVersion,
    PriceEntry,
    PriceTier,
    WeightsFacts,
    WeightsFile,
    current_price,
    hosted_document,
    weights_digest,
)
from tetrad.models._origin import Origin
from tetrad.models._prices import SOURCE as PUBLIC_LIST
from tetrad.models._prices import PublicPrices
from tetrad.models._service import ModelLimits, Models
from tetrad.models._weights import read_weights
from tetrad.models.errors import BadModel, BadPrice, ModelConflict, ModelNotFound, PickledWeights

__all__ = [
    "DERIVATIONS",
    "PUBLIC_LIST",
    "AdapterFacts",
    "BadModel",
    "BadPrice",
    "Derivation",
    "ModelConflict",
    "ModelLimits",
    "ModelNotFound",
    "ModelPrice",
    "ModelRecord",
    "ModelVersion",
    "Models",
    "Origin",
    "PickledWeights",
    "PriceEntry",
    "PriceTier",
    "PublicPrices",
    "WeightsFacts",
    "WeightsFile",
    "check_label",
    "current_price",
    "hosted_document",
    "read_weights",
    "spdx_id",
    "weights_digest",
]
