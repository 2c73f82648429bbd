"""Bindings: what the logical names of a release mean in an environment, as versions with a governed ref."""

from tetrad.bindings._diff import BindingChange, diff_bindings
from tetrad.bindings._environments import BindingSet, Bound, place_of, ref_of
from tetrad.bindings._model import (
    KIND,
    SCHEMA,
    Binding,
    IndexBinding,
    McpServerBinding,
    ProviderBinding,
    Target,
    ToolBinding,
    target_of,
)
from tetrad.bindings._read import read_binding, read_binding_file
from tetrad.bindings._secrets import looks_like_secret
from tetrad.bindings._service import BindingBack, Bindings, BoundRef, KeptBinding, PutBinding
from tetrad.bindings.errors import (
    BadBinding,
    BindingNotFound,
    BindingUnreadable,
    NeverBound,
    NothingToRollBack,
    Problem,
    TooManyBindings,
)

__all__ = [
    "KIND",
    "SCHEMA",
    "BadBinding",
    "Binding",
    "BindingBack",
    "BindingChange",
    "BindingNotFound",
    "BindingSet",
    "BindingUnreadable",
    "Bindings",
    "Bound",
    "BoundRef",
    "IndexBinding",
    "KeptBinding",
    "McpServerBinding",
    "NeverBound",
    "NothingToRollBack",
    "Problem",
    "ProviderBinding",
    "PutBinding",
    "Target",
    "TooManyBindings",
    "ToolBinding",
    "diff_bindings",
    "looks_like_secret",
    "place_of",
    "read_binding",
    "read_binding_file",
    "ref_of",
    "target_of",
]
