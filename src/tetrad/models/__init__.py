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
from tetrad.models._prices import PublicPrices
from tetrad.models._service import Models
from tetrad.models._weights import read_weights
from tetrad.models.errors import BadModel, BadPrice, ModelNotFound

__all__ = [
    "DERIVATIONS",
    "AdapterFacts",
    "BadModel",
    "BadPrice",
    "Derivation",
    "ModelNotFound",
    "ModelPrice",
    "ModelRecord",
    "ModelVersion",
    "Models",
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
