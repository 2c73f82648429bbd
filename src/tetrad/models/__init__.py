"""Models: weights and hosted models as versions, what they say of themselves, what they cost."""

from tetrad.models._model import (
    DERIVATIONS,
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
    "current_price",
    "hosted_document",
    "read_weights",
    "weights_digest",
]
