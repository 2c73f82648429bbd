"""What models refuse."""

from __future__ import annotations

from tetrad.kernel import Conflict, InvalidInput, NotFound


class BadModel(InvalidInput):
    """A model's description or file cannot be right."""

    code = "bad_model"
    status = 422


class BadPrice(InvalidInput):
    """A price that is no decimal, or a period that ends before it begins."""

    code = "bad_price"
    status = 422


class ModelNotFound(NotFound):
    """No such model in the project."""

    code = "model_not_found"


class PickledWeights(BadModel):
    """Weights that run code of their maker where they are loaded, and nobody has allowed that."""

    code = "pickled_weights"


class ModelConflict(Conflict):
    """The same files are known with another origin."""

    code = "model_conflict"
